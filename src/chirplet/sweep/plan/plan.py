"""What a sweep is to do, checked; everything that one of its workers must know."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import distribution_to_json

from chirplet.config.schema import Foreign
from chirplet.sweep.plan.space import Space, as_override
from chirplet.system.error import ConfigError
from chirplet.system.hashing import json_hash

Direction = Literal["maximize", "minimize"]

LESS_IS_BETTER = re.compile(r"/(loss|calibration_error)$|^cost/(?!texts_per_s$)")
"""Metrics that are minimised where no direction is given: losses, errors, and costs but for the throughput."""

CONSTRAINT = re.compile(r"\s*(?P<metric>\S+?)\s*(?P<sense><=|>=)\s*(?P<bound>[-+\d.eE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, as in `cost/mb <= 25`."""

    text: str
    metric: str
    sense: str
    bound: float

    @classmethod
    def parse(cls, text: str, key: str) -> "Constraint":
        """Read `METRIC <= NUMBER` or `METRIC >= NUMBER`.

        Raises:
            ConfigError: it is neither.
        """
        match = CONSTRAINT.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            return cls(text, match["metric"], match["sense"], float(match["bound"]))
        except ValueError:
            raise ConfigError(f"{key}: got {text!r}, should be METRIC <= NUMBER or METRIC >= NUMBER") from None

    def excess(self, value: float) -> float:
        """How far `value` is beyond the bound; the constraint holds at 0 and below."""
        return value - self.bound if self.sense == "<=" else self.bound - value


def natural_direction(metric: str) -> Direction:
    """The direction in which a metric gets better."""
    return "minimize" if LESS_IS_BETTER.search(metric) else "maximize"


@dataclass(frozen=True)
class Plan:
    """One sweep.

    `folder` is absolute; trial n writes to `folder/n`. `storage` is a URL of SQLite or PostgreSQL, or the path of a
    journal file; it may hold `${oc.env:NAME}`. `fixed` are the user's overrides that every trial is given, after
    `trial_overrides`, which belong to trials alone; `space` is what is searched. `objectives` names what is optimised,
    `directions` says how; with `from_record` the values are read from the record of the trial's artifact, else they
    are what the run returns. `lease_s` are seconds without a sign of life after which a trial counts as cut off.
    `discard` names what is deleted from a finished trial's folder.
    """

    folder: Path
    study_name: str
    storage: str
    space: Space
    trial_overrides: tuple[str, ...]
    fixed: tuple[str, ...]
    config: dict[str, Any]
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    from_record: bool
    constraints: tuple[Constraint, ...]
    enqueue: tuple[dict[str, Any], ...]
    custom_search_space: str | None
    sampler: Foreign
    pruner: Foreign
    n_trials: int
    max_failure_rate: float
    lease_s: float
    discard: tuple[str, ...]

    def identity(self) -> dict[str, Any]:
        """What makes two sweeps the same study: settings, search space and objectives, as plain data.

        How many trials, who runs them, sampler and pruner may change while a study goes on.
        """
        identity = {
            "config": self.config,
            "space": {name: distribution_to_json(part) for name, part in sorted(self.space.items())},
            "custom_search_space": self.custom_search_space,
            "objectives": list(self.objectives),
            "directions": list(self.directions),
            "constraints": [constraint.text for constraint in self.constraints],
        }
        # As a storage gives it back.
        stored: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        return stored

    def overrides(self, parameters: Mapping[str, Any]) -> list[str]:
        """What the user fixed, then these parameters."""
        return [*self.fixed, *(as_override(name, value) for name, value in parameters.items())]

    @property
    def failures_allowed(self) -> int:
        """Failed trials that the sweep outlives."""
        return int(self.max_failure_rate * self.n_trials + 1e-9)


def digest(identity: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that tell one study from another."""
    return json_hash(identity, default=str)[:8]


def differences(before: Any, now: Any, key: str = "") -> Sequence[str]:
    """One `key: was X, is Y` for each leaf in which two pieces of plain data differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted(set(before) | set(now))
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
        ]
    # By their text, since NaN is not equal to itself.
    return [] if json.dumps(before) == json.dumps(now) else [f"{key} was {before!r}, is {now!r}"]
