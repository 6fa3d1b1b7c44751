"""Overrides that the stage does not use."""

from collections.abc import Iterator, Sequence

from chirplet.stage.base import Stage

INSTEAD = {
    "model": {"student": "model@student=NAME names the student", "artifact": "artifact=DIR has a model of its own"},
    "artifact": {"teacher": "teacher=DIR names the teacher"},
    "task": {
        "artifact": "the record of artifact=DIR names the task",
        "artifacts": "the records of artifacts name the task",
    },
    "teacher": {"artifact": "artifact=DIR is what it starts from"},
    "trainer.max_epochs": {"quantizer": "quantizer=qat trains for quantizer.epochs"},
}
"""Of a key that changes nothing: what does, where the stage has a setting of that name."""


def ignored(stage: Stage, name: str, overrides: Sequence[str]) -> Iterator[str]:
    """A line for each key that `stage`, called `name`, does not use, with its overrides."""
    given: dict[str, list[str]] = {}
    for override in overrides:
        group = override.lstrip("+~").partition("=")[0]
        key = group.partition("@")[2] or group
        unused = next((one for one in (key.partition(".")[0], key) if one in stage.ignores()), None)
        if unused is not None:
            given.setdefault(unused, []).append(override)
    for key, unused_overrides in given.items():
        hints = (why for setting, why in INSTEAD.get(key, {}).items() if setting in type(stage).model_fields)
        why = next(hints, None)
        verb = "changes" if len(unused_overrides) == 1 else "change"
        yield f"{', '.join(unused_overrides)}: {verb} nothing with stage={name}" + (f"; {why}" if why else "")
