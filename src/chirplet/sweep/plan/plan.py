"""The plan of a sweep: its checked settings, with everything that a worker needs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import distribution_to_json

from chirplet.config.schema import Foreign
from chirplet.metric.names import monitor_mode
from chirplet.sweep.plan.space import Space, as_override
from chirplet.system.error import ConfigError
from chirplet.system.hashing import json_hash

Direction = Literal["maximize", "minimize"]

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
    """The direction in which a metric gets better: losses, errors, and costs except the throughput are minimized."""
    is_cost = metric.startswith("cost/") and not metric.endswith("texts_per_s")
    return "minimize" if is_cost or monitor_mode(metric) == "min" else "maximize"


@dataclass(frozen=True)
class Plan:
    """One sweep.

    Attributes:
        folder: absolute; trial n writes to `folder/n`.
        storage: a URL of SQLite or PostgreSQL, or the path of a journal file; may contain `${oc.env:NAME}`.
        space: the searched parameters.
        trial_overrides: overrides of trials alone, applied before `fixed`.
        fixed: the user's overrides, also applied to the refit.
        objectives: the optimised metrics, in the order of `directions`.
        from_record: read the objectives from the record of the trial's artifact; else from the run's return value.
        lease_s: seconds without a heartbeat after which a trial counts as abandoned.
        discard: subfolders that are deleted from a finished trial's folder.
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

        The number of trials, the workers, the sampler and the pruner may change when a study is resumed.
        """
        identity = {
            "config": self.config,
            "space": {name: distribution_to_json(part) for name, part in sorted(self.space.items())},
            "custom_search_space": self.custom_search_space,
            "objectives": list(self.objectives),
            "directions": list(self.directions),
            "constraints": [constraint.text for constraint in self.constraints],
        }
        # As a storage returns it.
        stored: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        return stored

    def overrides(self, parameters: Mapping[str, Any]) -> list[str]:
        """The fixed overrides, then these parameters."""
        return [*self.fixed, *(as_override(name, value) for name, value in parameters.items())]

    @property
    def failures_allowed(self) -> int:
        """The number of failed trials that does not yet end the sweep."""
        return int(self.max_failure_rate * self.n_trials + 1e-9)


def digest(identity: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that identify a study."""
    return json_hash(identity, default=str)[:8]


def differences(before: Any, now: Any, key: str = "") -> Sequence[str]:
    """One `key: was X, is Y` for each leaf in which two pieces of plain data differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in sorted(set(before) | set(now))
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else str(name))
        ]
    # Compared as text, since NaN is not equal to itself.
    return [] if json.dumps(before) == json.dumps(now) else [f"{key} was {before!r}, is {now!r}"]
