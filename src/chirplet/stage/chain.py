"""Several stages in one run: each step is a stage with its own folder, and starts from earlier steps."""

import gc
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from chirplet.artifact.artifact import Artifact, atomic_folder, content_id
from chirplet.artifact.local_files import write_local_files
from chirplet.config.schema import Settings, as_list
from chirplet.model.pretrained import Pretrained
from chirplet.stage.base import Stage
from chirplet.stage.run.context import AUTO, ArtifactFolder, Checkpoint, Composed, Run
from chirplet.system.command_line import override_of
from chirplet.system.console import console, shown_path
from chirplet.system.error import ConfigError, near
from chirplet.system.error_messages import explain

StageName = Literal["finetune", "distill", "prune", "quantize"]

FIRST: StageName = "finetune"
"""The stage that starts from a model, not from a step."""
START = "artifact"
"""The name of the given artifact among the steps."""


class Step(Settings):
    """One step: a stage with `overrides` as on the command line, `of` the artifact of an earlier step.

    `of: null` is the step before, or `artifact=DIR` for the first one; for `distill` it is the teacher, and a list is
    several of them.
    """

    stage: StageName
    of: str | Annotated[list[str], Field(min_length=1)] | None = None
    overrides: tuple[str, ...] = Field(default=(), strict=False)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w-]*$")]


def _some(steps: dict[str, Step] | list[StageName]) -> dict[str, Step] | list[StageName]:
    if not steps:
        raise ValueError("is empty, should have a step")
    return steps


Steps = Annotated[dict[Name, Step] | list[StageName], AfterValidator(_some)]
"""Steps by name, or stages one after the other."""


class ChainSettings(Settings):
    """A file of `conf/chain`: its steps, `settings` that their overrides refer to, and overrides of the comparison."""

    settings: dict[str, str | int | float | bool | None]
    steps: Steps
    compare_overrides: list[str]


class Chain(Stage):
    """The steps, and whether their artifacts are compared at the end; `conf/stage/chain.yaml` explains each key."""

    also_takes: ClassVar[tuple[str, ...]] = (
        *("model", "student", "unlabeled_files", "distiller", "pruner", "quantizer", "task"),  # of its steps
        "baseline",  # of its comparison
    )

    teacher: Pretrained | str | list[str] | None
    artifact: ArtifactFolder | None
    steps: Steps | None
    compare: bool
    compare_overrides: list[str]
    resume: Checkpoint | None

    @model_validator(mode="after")
    def _steps_follow(self) -> Self:
        if isinstance(self.teacher, str | list):
            raise ValueError(
                f"teacher: got {self.teacher!r}, but the teacher of a step is an earlier step; "
                "should be a model (model@teacher=NAME), or give artifact=DIR, which the first step starts from"
            )
        before = [] if self.artifact is None else [START]
        for name, step in self.named.items():
            parents = as_list(step.of)
            if name == START:
                raise ValueError(f"steps.{name}: should have another name; artifact=DIR is called that")
            for parent in parents:
                if parent not in before:
                    raise ValueError(
                        f"steps.{name}.of: got {parent!r}, should be an earlier step"
                        f"{': ' + ', '.join(before) if before else ''}{near(parent, before)}"
                    )
            if step.stage == FIRST and parents:
                raise ValueError(f"steps.{name}.of: got {step.of!r}, but finetune starts from a model")
            if step.stage != FIRST and not before:
                raise ValueError(
                    f"steps.{name}: {step.stage} needs an artifact; should come after a step, or give artifact=DIR"
                )
            if len(parents) > 1 and step.stage != "distill":
                raise ValueError(f"steps.{name}.of: got {len(parents)} steps, should be one for {step.stage}")
            before.append(name)
        return self

    @property
    def named(self) -> dict[str, Step]:
        """Steps by name; those of a list are called as their stages, numbered where a stage comes again."""
        if self.steps is None or isinstance(self.steps, dict):
            return self.steps or {}
        steps: dict[str, Step] = {}
        for index, stage in enumerate(self.steps):
            again = self.steps[:index].count(stage)
            steps[stage if again == 0 else f"{stage}{again + 1}"] = Step(stage=stage)
        return steps

    def check(self, run: Run) -> None:
        """Check every step, and the comparison's configuration, before the first step starts."""
        super().check(run)
        steps = self.named
        if not steps:
            raise ConfigError("chain: is missing; give chain=NAME, or stage.steps=[finetune,distill,prune,quantize]")
        composed = {name: _compose(run, name, step, []) for name, step in steps.items()}
        if self.compare:
            with _named("comparison"):
                run.compose_comparison([], self.compare_overrides)
        Walk(self, run, steps).check(composed)

    def run(self, run: Run) -> float | None:
        """Carry out the steps that were not carried out before, then compare; the last step's objective."""
        return Walk(self, run, self.named).walk()


@dataclass
class Walk:
    """A chain that runs."""

    chain: Chain
    run: Run
    steps: Mapping[str, Step]

    def check(self, composed: Mapping[str, Composed]) -> None:
        """Check that what every step needs is here, and that it supports the models that it starts from.

        Raises:
            ConfigError: it is not, or does not; names the step.
        """
        from chirplet.model.loading.blueprint import Blueprint
        from chirplet.stage.run.parent import artifact_blueprint

        for name, step in composed.items():
            with _named(f"step {name}"):
                step.check_parts()
        made: dict[str, Blueprint] = {}
        if self.chain.artifact is not None:
            made[START] = artifact_blueprint(self.chain.artifact)
        for name, step in composed.items():
            with _named(f"step {name}"):
                made[name] = step.check_start(self.run.output_dir / name, [made[one] for one in self._parents(name)])

    def walk(self) -> float | None:
        """Every step in its turn, and the comparison."""
        from chirplet.stage.run.identity import identity_of
        from chirplet.stage.run.step_cache import Memory
        from chirplet.sweep.trial.trial import unreported

        out, done = console(), self._start()
        resume = self.chain.resume
        for number, (name, step) in enumerate(self.steps.items(), start=1):
            parents = self._parents(name)
            message = f" of {', '.join(parents)}" if parents else ""
            out.heading(f"{name}: {step.stage}{message} ({number} of {len(self.steps)})")
            given, folder = [done[parent] for parent in parents], self.run.output_dir / name
            composed = _compose(self.run, name, step, _starting(step, given))
            memory = Memory(self.run.cache_dir, identity_of(composed.inputs))
            source = memory.source()
            if source is not None:
                out.print(f"as before, from {shown_path(source)}")
                artifact = _copied(source, folder / "artifact")
                write_local_files(artifact, composed.inputs.data)
            else:
                if resume != AUTO:
                    from_there = override_of("resume", None if resume is None else _absolute(resume))
                    composed = _compose(self.run, name, step, [*_starting(step, given), from_there])
                if resume is not None:  # a checkpoint is of the first step that is not done
                    resume = AUTO
                # An artifact that is already there may be from another version, so other chains do not reuse it.
                made_now = not (folder / "artifact").exists()
                if made_now:
                    memory.expect(folder / "artifact")
                with unreported():
                    composed.run(folder)
                artifact = memory.keep(folder / "artifact") if made_now else Artifact.open(folder / "artifact")
                gc.collect()  # the step's model; the next one needs the room
            done[name] = artifact
        if self.chain.compare and len(done) > 1:
            out.heading("comparison")
            self._compare(list(done.values()))
        return artifact.metric(self.run.objective)

    def _start(self) -> dict[str, Artifact]:
        """The artifact that the first step starts from, if it does not train a model."""

        folder = self.chain.artifact
        return {} if folder is None else {START: Artifact.open(Path(folder))}

    def _parents(self, name: str) -> list[str]:
        """The steps that a step starts from: those it names, else the one before."""
        step, names = self.steps[name], [START, *self.steps]
        if step.stage == FIRST:
            return []
        return as_list(step.of) or [names[names.index(name) - 1]]

    def _compare(self, artifacts: Sequence[Artifact]) -> None:
        folders = [artifact.folder for artifact in artifacts]
        self.run.compose_comparison(folders, self.chain.compare_overrides).run(self.run.output_dir)


def _compose(run: Run, name: str, step: Step, starting: Sequence[str]) -> Composed:
    """The step's configuration.

    Raises:
        ConfigError: it is not valid.
    """
    with _named(f"step {name}"):
        return run.compose([f"stage={step.stage}", *step.overrides], starting)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Let each line about a configuration begin with what it is of."""

    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ConfigError("\n".join(f"{what}: {line}" for line in message[0].splitlines())) from error


def _starting(step: Step, parents: Sequence[Artifact]) -> list[str]:
    """The overrides that name what a step starts from."""
    folders = [_absolute(parent.folder) for parent in parents]
    if step.stage == "distill":
        return [override_of("teacher", folders if len(folders) > 1 else folders[0])]
    return [override_of("artifact", folder) for folder in folders]


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _copied(source: Path, folder: Path) -> Artifact:
    """The artifact at `source`, copied to `folder` unless it is already there.

    Raises:
        ArtifactError: another one is there.
    """

    if not (folder.is_dir() and content_id(folder) == content_id(source)):
        with atomic_folder(folder) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    return Artifact.open(folder)
