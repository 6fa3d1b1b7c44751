"""Serve artifacts over HTTP: `chirplet.server` does it."""

import logging
import os
import re
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from chirplet.artifact.artifact import Artifact
from chirplet.artifact.find import find_artifacts, names_of
from chirplet.config.schema import Count, NonNegative, Positive, as_list
from chirplet.stage.base import Stage
from chirplet.stage.run.context import ArtifactFolder, Run
from chirplet.system.console import console
from chirplet.system.error import ConfigError
from chirplet.system.progress import silence

if TYPE_CHECKING:
    from chirplet.server.answers import OpenModel
    from chirplet.server.models import ServedModel

logger = logging.getLogger(__name__)

TOKEN = "CHIRPLET_SERVE_TOKEN"


class Serve(Stage):
    """The artifacts, the address, and limits. `conf/stage/serve.yaml` describes each key."""

    extra: ClassVar[str | None] = "serve"
    reads_data: ClassVar[bool] = False

    artifact: ArtifactFolder | None
    artifacts: str | list[str] | None
    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    max_wait_ms: NonNegative
    max_texts: Count
    max_characters: Count
    max_body_mb: Positive
    queue: NonNegative

    def check_needs(self) -> None:
        super().check_needs()
        from chirplet.runtime.open import check_runtime

        for artifact in self._artifacts():
            check_runtime(artifact.folder, "artifact")

    def run(self, run: Run) -> None:
        """Open each artifact, which answers its probe, and serve until a signal comes."""
        openers = self._openers(run)
        token = token_of_environment()
        from chirplet.server.app import make_app
        from chirplet.server.batching import Batcher
        from chirplet.server.limits import Limits
        from chirplet.server.listen import bind, is_loopback, listen, serve, url_of
        from chirplet.server.metrics import Metrics
        from chirplet.server.models import Models, ServedModel

        limits = Limits(self.max_texts, self.max_characters, self.max_body_mb, self.queue)
        with bind(self.host, self.port) as bound, closing(Batcher(self.max_wait_ms)) as batcher:
            silence()
            metrics = Metrics()
            models = [ServedModel(name, opener, batcher, limits, metrics) for name, opener in openers.items()]
            app = make_app(Models(models), limits, metrics, token)
            listen(bound)
            if token is None and not is_loopback(bound):
                logger.warning("stage.host: other machines reach %s, and without %s all may ask", self.host, TOKEN)
            _print(models, url_of(bound))
            serve(app, bound)

    def _artifacts(self) -> list[Artifact]:
        """The artifacts to serve.

        Raises:
            ConfigError: no artifact is given, or both keys are.
            ArtifactError: a folder is no artifact, or a pattern matches none.
        """
        if (self.artifact is None) == (not self.artifacts):
            what = "is missing" if self.artifact is None else "should be left out with artifacts="
            raise ConfigError(f"artifact: {what}; give artifact=DIR, or several: artifacts='outputs/**/artifact'")
        given = as_list(self.artifacts) if self.artifact is None else [self.artifact]
        return [Artifact.open(folder) for folder in find_artifacts(given)]

    def _openers(self, run: Run) -> "dict[str, Callable[[], OpenModel]]":
        """What opens each artifact, by its name."""
        from chirplet.server.answers import OpenModel

        artifacts = self._artifacts()

        def opened(folder: Path) -> "OpenModel":
            return OpenModel.open(Artifact.open(folder), run.trainer.accelerator, run.trainer.threads, run.verify)

        names = names_of(artifacts)
        return {name: partial(opened, one.folder.absolute()) for name, one in zip(names, artifacts, strict=True)}


def token_of_environment() -> str | None:
    """The token that requests should bear; None serves everybody.

    Raises:
        ConfigError: it is empty, or has characters that a header cannot have.
    """
    token = os.environ.get(TOKEN)
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise ConfigError(f"{TOKEN}: should be ASCII characters without spaces; unset it to serve everybody")
    return token


def _print(models: "list[ServedModel]", url: str) -> None:
    out = console()
    for model in models:
        runtime = model.predictor.runtime
        out.print(f"model     {model.name} ({runtime.name}, {runtime.precision}, {runtime.threads} threads)")
    out.print(f"serving   {url}")
