"""The server that tutorials show: FastAPI around `transformers.pipeline` in fp32, one text or list a request.

`python benchmarks/serving_tutorial.py ARTIFACT PORT`; `benchmarks/serve.py` compares with it.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Body(BaseModel):
    """A request."""

    inputs: str | list[str]


def application(folder: str) -> FastAPI:
    """The app for the model in `folder`."""
    app = FastAPI()
    classifier = pipeline("text-classification", model=folder, top_k=None, truncation=True, device="cpu")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    def predict(body: Body) -> Any:
        return classifier(body.inputs)

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
