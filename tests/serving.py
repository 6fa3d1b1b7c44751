"""A real server in a thread of the test's process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import uvicorn
from safetensors.numpy import load_file, save_file

from artifacts import tiny_artifact
from chirplet.artifact.artifact import Artifact
from chirplet.runtime.predictor import Predictor
from chirplet.server.answers import OpenModel
from chirplet.server.app import make_app
from chirplet.server.batching import Batcher
from chirplet.server.limits import Limits
from chirplet.server.listen import bind, listen, url_of
from chirplet.server.metrics import Metrics
from chirplet.server.models import Models, ServedModel

LIMITS = Limits(max_texts=64, max_characters=400, max_body_mb=0.1, queue=64)


def open_model(folder: Path) -> OpenModel:
    """Opens the artifact in fp32, whose answers do not depend on the batch, and without its probe."""
    artifact = Artifact.open(folder)
    predictor = Predictor.open(artifact, batch_size=16, accelerator="cpu", threads=1, precision="32-true", verify=False)
    return OpenModel(artifact, predictor)


def decided_artifact(checkpoint: Path, folder: Path) -> Path:
    """A tiny artifact whose probabilities are not all alike."""
    tiny_artifact(checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    heads = [name for name in weights if name.startswith("classifier.") and "dense" not in name]
    save_file(weights | {name: 20 * weights[name] for name in heads}, folder / "model.safetensors", {"format": "pt"})
    return folder


@contextmanager
def serving(
    folders: Mapping[str, Path],
    token: str | None = None,
    limits: Limits = LIMITS,
    opening: Callable[[Path], OpenModel] = open_model,
    drain_s: int | None = None,
) -> Iterator[str]:
    """The address of a server of these artifacts, by name; `opening` opens each.

    At its end it answers what was asked before, for at most `drain_s`.
    """
    metrics = Metrics()
    with bind("127.0.0.1", 0) as bound, closing(Batcher(2)) as batcher:
        models = [
            ServedModel(name, partial(opening, folder), batcher, limits, metrics) for name, folder in folders.items()
        ]
        app = make_app(Models(models), limits, metrics, token)
        listen(bound)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=drain_s)
        )
        thread = Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            yield url_of(bound)
        finally:
            server.should_exit = True
            thread.join()
