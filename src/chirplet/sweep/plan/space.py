"""The search space: converts Hydra's sweep overrides to Optuna distributions, and parameters to overrides."""

import importlib
import inspect
import math
import sys
import sysconfig
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from chirplet.system.command_line import override_of
from chirplet.system.error import ConfigError

Space = dict[str, BaseDistribution]

TAGS = frozenset({"log", "int"})
"""The tags that `tag(...)` accepts."""


def split_overrides(overrides: Sequence[Override]) -> tuple[list[str], Space]:
    """Split overrides into the fixed ones, as text, and the search space. The last override of a key counts.

    `choice(a, b)` and `a,b` are categories; `range(start, stop, step)` excludes `stop`, as in Hydra;
    `interval(low, high)` includes both ends; `tag(log, ...)` searches on a logarithmic scale, `tag(int, interval(...))`
    and `int(interval(...))` search whole numbers.

    Raises:
        ConfigError: a sweep that cannot be searched.
    """
    fixed: dict[str, str] = {}
    space: dict[str, tuple[str, BaseDistribution]] = {}
    for override in overrides:
        key = override.get_key_element()
        name = plain_key(key)
        fixed.pop(name, None)
        space.pop(name, None)
        if override.is_sweep_override():
            space[name] = (key, distribution(override))
        else:
            fixed[name] = override.input_line or f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), dict(space.values())


def plain_key(key: str) -> str:
    """A key without its prefix `+`, `++` or `~`."""
    return key.lstrip("+~")


def distribution(override: Override) -> BaseDistribution:
    """The distribution that one sweep override describes.

    Raises:
        ConfigError: no values, a step on a logarithmic scale, an unknown tag, or an unsupported sweep.
    """
    sweep = override.value()
    text = override.input_line
    if isinstance(sweep, Glob):
        raise ConfigError(f"{text}: cannot be searched; use choice, range or interval")
    if not isinstance(sweep, ChoiceSweep | RangeSweep | IntervalSweep):
        raise ConfigError(f"{text}: is not a sweep; use choice, range or interval")
    unknown = sweep.tags - TAGS
    if unknown:
        raise ConfigError(f"{text}: got tag {sorted(unknown)[0]!r}, should be one of log, int")
    try:
        if isinstance(sweep, ChoiceSweep):
            return _categories(sweep)
        return _steps(override, sweep) if isinstance(sweep, RangeSweep) else _interval(sweep)
    except (ValueError, TypeError, HydraException) as error:
        raise ConfigError(f"{text}: cannot be searched ({' '.join(str(error).split())})") from None


def _categories(sweep: ChoiceSweep) -> CategoricalDistribution:
    if sweep.tags:
        raise ValueError(f"categories have no scale, so tag {sorted(sweep.tags)[0]} does not apply")
    # Optuna stores numbers, booleans, None and text; anything else is stored as the text of its override.
    values = [
        value if value is None or isinstance(value, bool | int | float) else as_text(value) for value in sweep.list
    ]
    if not values:
        raise ValueError("it has no values")
    for index, value in enumerate(values):
        if any(value == other for other in values[:index]):
            raise ValueError(f"Optuna cannot distinguish {value!r} from another of its values")
    return CategoricalDistribution(values)


def _steps(override: Override, sweep: RangeSweep) -> BaseDistribution:
    # Hydra counts the values, so that they are those of a plain multirun.
    count = len(list(override.sweep_string_iterator()))
    if count == 0:
        raise ValueError("it has no values")
    # Decimal, so that 0.1 is exact and Optuna accepts the range as a multiple of the step.
    start, step = Decimal(str(sweep.start)), Decimal(str(sweep.step))
    low, high = sorted((start, start + (count - 1) * step))
    log = "log" in sweep.tags
    if all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), log=log, step=abs(int(step)))
    if log:
        raise ValueError("a logarithmic scale has no steps; use interval(low, high)")
    if "int" in sweep.tags:
        raise ValueError("tag int needs whole numbers")
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def _interval(sweep: IntervalSweep) -> BaseDistribution:
    assert sweep.start is not None and sweep.end is not None
    log = "log" in sweep.tags
    # Without a cast Hydra reads both ends as floats.
    if "int" in sweep.tags or (isinstance(sweep.start, int) and isinstance(sweep.end, int)):
        return IntDistribution(math.ceil(sweep.start), math.floor(sweep.end), log=log)
    return FloatDistribution(float(sweep.start), float(sweep.end), log=log)


def as_text(value: Any) -> str:
    """A parsed value as the part of an override after `=`."""
    return Override._get_value_element_as_str(value)


def as_override(key: str, value: Any) -> str:
    """The override that sets `key` to a value from its distribution."""
    # Text is that of an override already.
    return f"{key}={value}" if isinstance(value, str) else override_of(key, value)


def example(distribution: BaseDistribution) -> Any:
    """One value of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def checked_points(
    points: Sequence[Mapping[str, Any]], space: Space, key: str, pinned: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Points to try first, each with values for some of the parameters, written as in YAML.

    Values of `pinned` parameters, which the command line fixed, are dropped.

    Raises:
        ConfigError: a name that is not searched, or a value outside its distribution.
    """
    names = {plain_key(name): name for name in space}
    checked: list[dict[str, Any]] = []
    for index, point in enumerate(points):
        checked.append({})
        for written, value in point.items():
            name = names.get(plain_key(written))
            if name is None and plain_key(written) in pinned:
                continue
            if name is None:
                raise ConfigError(f"{key}[{index}].{written}: is not searched, should be one of {', '.join(space)}")
            matches = _matches(space[name], value)
            if not matches:
                raise ConfigError(f"{key}[{index}].{written}: got {value!r}, should lie in {space[name]}")
            checked[-1][name] = matches[0]
    return checked


def _matches(distribution: BaseDistribution, value: Any) -> list[Any]:
    """A list with the value as the distribution represents it; empty if the value is outside."""
    if isinstance(distribution, CategoricalDistribution):
        return [choice for choice in distribution.choices if _is_same(choice, value)]
    try:
        return [value] if distribution._contains(distribution.to_internal_repr(value)) else []
    except (ValueError, TypeError):
        return []


def _is_same(choice: Any, value: Any) -> bool:
    """Whether a category, which may be the text of an override, has the value `value`."""
    if isinstance(choice, str):
        return bool(category(choice) == value) and type(category(choice)) is type(value)
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)


def category(choice: Any) -> Any:
    """The value of a category, which may be the text of an override."""
    if not isinstance(choice, str):
        return choice
    return _plain(OverridesParser.create().parse_override(f"key={choice}").value())


def _plain(value: Any) -> Any:
    """A parsed value without its quotes."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def space_function(target: str, key: str) -> Callable[..., Any]:
    """Import the function MODULE.FUNCTION that extends the search space.

    Only modules of the user are allowed: a configuration could otherwise call functions like `os.system`.

    Raises:
        ConfigError: it cannot be imported, is not a function, or is defined in Python, a library or chirplet.
    """
    module, _, name = target.rpartition(".")
    if not _is_user_module(module):
        raise ConfigError(f"{key}: got {target!r}, should be MODULE.FUNCTION in your own module, not in a library")
    try:
        target_object = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module's code can raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(f"{key}: got {target!r}, which cannot be imported ({reason})") from error
    if not (inspect.isfunction(target_object) and _is_user_module(target_object.__module__)):
        raise ConfigError(f"{key}: got {target!r}, should be a function defined in your own module")
    function: Callable[..., Any] = target_object
    return function


def _is_user_module(module: str) -> bool:
    """Whether a module exists and belongs neither to Python nor to chirplet nor to an installed library."""
    root = module.partition(".")[0]
    if not root or root in {*sys.stdlib_module_names, "chirplet"}:
        return False
    try:
        spec = find_spec(root)  # does not import it
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    paths = [Path(path) for path in (spec.submodule_search_locations or [spec.origin or ""])]
    libraries = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    installed = ("site-packages", "dist-packages")
    return not any(path.is_relative_to(library) for path in paths for library in libraries) and not any(
        name in path.parts for path in paths for name in installed
    )
