"""Several stages in one run: each step is the stage itself, in a folder of its own, and starts from earlier ones."""

import gc
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from chirplet.config import Settings, near
from chirplet.error import ArtifactError, ConfigError, UserError
from chirplet.stage.base import ArtifactFolder, Checkpoint, Composed, Run, Stage

if TYPE_CHECKING:
    from chirplet.artifact import Artifact

StageName = Literal["finetune", "distill", "prune", "quantize"]

FIRST: StageName = "finetune"
"""The stage that starts from a model, not from a step."""
START = "artifact"
"""What the artifact that was given is called, beside the steps."""


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
    """A file of `conf/chain`: its steps, `settings` of its own that their overrides refer to, and the comparison's."""

    settings: dict[str, str | int | float | bool | None]
    steps: Steps
    compare_overrides: list[str]


class Chain(Stage):
    """The steps, and whether their artifacts are compared at the end; `conf/stage/chain.yaml` tells of each key."""

    artifact: ArtifactFolder | None
    steps: Steps | None
    compare: bool
    compare_overrides: list[str]
    resume: Checkpoint | None

    @model_validator(mode="after")
    def _steps_follow(self) -> Self:
        before = [] if self.artifact is None else [START]
        for name, step in self.named.items():
            parents = _listed(step.of)
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
        found: dict[str, Step] = {}
        for place, stage in enumerate(self.steps):
            again = self.steps[:place].count(stage)
            found[stage if again == 0 else f"{stage}{again + 1}"] = Step(stage=stage)
        return found

    def run(self, run: Run) -> float | None:
        """Carry out the steps that were not carried out before, then compare; the last step's objective."""
        steps = self.named
        if not steps:
            raise ConfigError("chain: is missing; give chain=NAME, or stage.steps=[finetune,distill,prune,quantize]")
        for name, step in steps.items():
            _compose(run, name, step, [])  # all that is wrong is told before the first step starts
        return Walk(self, run, steps).walk()


@dataclass
class Walk:
    """One chain under way."""

    chain: Chain
    run: Run
    steps: Mapping[str, Step]

    def walk(self) -> float | None:
        """Every step in its turn, and the comparison."""
        from chirplet.console import console
        from chirplet.sweep.trial import unreported

        out, done = console(), self._start()
        resume = self.chain.resume
        for number, (name, step) in enumerate(self.steps.items(), start=1):
            parents = self._parents(name)
            told = f" of {', '.join(parents)}" if parents else ""
            out.rule(f"{name}: {step.stage}{told} ({number} of {len(self.steps)})", align="left")
            given = [done[parent] for parent in parents]
            composed = _compose(self.run, name, step, _starting(step, given, resume))
            memory = Memory(self.run.cache_dir, composed, given)
            artifact = memory.recalled(self.run.output_dir / name)
            if artifact is not None:
                out.print(f"as before, {memory.told}")
            else:
                with unreported():
                    composed.run(self.run.output_dir / name)
                artifact = memory.keep(self.run.output_dir / name / "artifact")
                resume = None  # it was of the first step that had to be carried out
            done[name] = artifact
            gc.collect()  # the step's model; the next one needs the room
        if self.chain.compare and len(done) > 1:
            out.rule("comparison", align="left")
            self._compare(list(done.values()))
        return artifact.metric(self.run.objective)

    def _start(self) -> "dict[str, Artifact]":
        """The artifact that the first step starts from, where it is no training of a model."""
        from chirplet.artifact import Artifact

        folder = self.chain.artifact
        return {} if folder is None else {START: Artifact.open(Path(folder))}

    def _parents(self, name: str) -> list[str]:
        """The steps that a step starts from: those it names, else the one before."""
        step, names = self.steps[name], [START, *self.steps]
        if step.stage == FIRST:
            return []
        return _listed(step.of) or [names[names.index(name) - 1]]

    def _compare(self, artifacts: "Sequence[Artifact]") -> None:
        folders = ",".join(_quoted(artifact.folder) for artifact in artifacts)
        overrides = ["stage=compare", f"artifacts=[{folders}]", *self.chain.compare_overrides]
        self.run.compose(overrides).run(self.run.output_dir)


def _compose(run: Run, name: str, step: Step, starting: Sequence[str]) -> Composed:
    """The step's configuration.

    Raises:
        ConfigError: it is not valid; each line begins with the step's name.
    """
    from chirplet.explain import explain

    try:
        return run.compose([f"stage={step.stage}", *step.overrides, *starting])
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        raise ConfigError("\n".join(f"step {name}: {line}" for line in told[0].splitlines())) from error


def _starting(step: Step, parents: "Sequence[Artifact]", resume: str | None) -> list[str]:
    """The overrides that name what a step starts from."""
    folders = [_quoted(parent.folder) for parent in parents]
    told = [] if resume is None or step.stage == "quantize" else [f"resume={_quoted(Path(resume))}"]
    if step.stage == "distill":
        return [*told, f"teacher=[{','.join(folders)}]" if len(folders) > 1 else f"teacher={folders[0]}"]
    return [*told, *(f"artifact={folder}" for folder in folders)]


def _quoted(path: Path) -> str:
    from chirplet.sweep.composing import quoted

    return quoted(str(path.absolute()))


def _listed(names: str | list[str] | None) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else names


class Memory:
    """Where the artifact of the same step lies that was made before, of the same settings, data, parents and versions.

    What is kept is the way to it; an artifact that is no longer there, or no longer what it was, is made again.
    """

    def __init__(self, cache_dir: Path, composed: Composed, parents: "Sequence[Artifact]") -> None:
        from chirplet.data.prepare import prepare
        from chirplet.hardware import cpu_name
        from chirplet.stage.outcome import versions

        data = prepare(composed.data, cache_dir).fingerprint
        told = [composed.config, data, [parent.record.id for parent in parents], versions(), cpu_name()]
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        self.entry = cache_dir / "chain" / f"{key[:32]}.json"
        self.told = ""

    def recalled(self, folder: Path) -> "Artifact | None":
        """The artifact as `folder/artifact`, copied from where it was made; None if there is none."""
        from chirplet.artifact import Artifact, content_id, whole_or_absent
        from chirplet.console import shown_path

        try:
            known = json.loads(self.entry.read_text(encoding="utf-8"))
            source = Path(known["folder"])
            same = Artifact.open(source).record.id == known["id"] == content_id(source)
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None
        if not same:
            return None
        self.told = f"from {shown_path(source)}"
        place = folder / "artifact"
        if place.resolve() != source.resolve():
            with whole_or_absent(place) as temporary:
                shutil.copytree(source, temporary, dirs_exist_ok=True)
        return Artifact.open(place)

    def keep(self, folder: Path) -> "Artifact":
        """Remember the artifact that was just made."""
        from chirplet.artifact import Artifact
        from chirplet.whole import whole_file

        artifact = Artifact.open(folder)
        told = {"folder": str(folder.absolute()), "id": artifact.record.id}
        try:
            self.entry.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.entry) as stream:
                stream.write(json.dumps(told).encode("utf-8"))
        except OSError as error:
            raise ArtifactError(f"could not write {str(self.entry)!r}: {error.strerror}") from error
        return artifact
