"""The search space: Hydra's sweep overrides as Optuna's distributions, and parameters as overrides again."""

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

from chirplet.system.error import ConfigError

Space = dict[str, BaseDistribution]

TAGS = frozenset({"log", "int"})
"""What `tag(...)` may say of a sweep."""


def split_overrides(overrides: Sequence[Override]) -> tuple[list[str], Space]:
    """What every trial is given, as override texts, and what is searched; of two overrides of a key the later counts.

    `choice(a, b)` and `a,b` are categories; `range(start, stop, step)` leaves `stop` out, as everywhere in Hydra;
    `interval(low, high)` holds both ends; `tag(log, ...)` searches on a logarithmic scale, `tag(int, interval(...))`
    and `int(interval(...))` among whole numbers.

    Raises:
        ConfigError: a sweep that cannot be searched.
    """
    fixed: dict[str, str] = {}
    space: dict[str, tuple[str, BaseDistribution]] = {}
    for override in overrides:
        key = override.get_key_element()
        same = plain_key(key)
        fixed.pop(same, None)
        space.pop(same, None)
        if override.is_sweep_override():
            space[same] = (key, distribution(override))
        else:
            fixed[same] = override.input_line or f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), dict(space.values())


def plain_key(key: str) -> str:
    """A key without the `+`, `++` or `~` that says what is done with it."""
    return key.lstrip("+~")


def distribution(override: Override) -> BaseDistribution:
    """The distribution that one sweep override describes.

    Raises:
        ConfigError: no value, a step on a logarithmic scale, an unknown tag, or a kind of sweep without distribution.
    """
    sweep = override.value()
    text = override.input_line
    if isinstance(sweep, Glob):
        raise ConfigError(f"{text}: cannot be searched; choice, range and interval can")
    if not isinstance(sweep, ChoiceSweep | RangeSweep | IntervalSweep):
        raise ConfigError(f"{text}: is no sweep")
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
        raise ValueError(f"categories have no scale, so tag {sorted(sweep.tags)[0]} says nothing of them")
    # Optuna stores numbers, truth values, None and text; anything else is kept as the text of its override.
    values = [
        value if value is None or isinstance(value, bool | int | float) else as_text(value) for value in sweep.list
    ]
    if not values:
        raise ValueError("it holds no value")
    for place, value in enumerate(values):
        if any(value == other for other in values[:place]):
            raise ValueError(f"Optuna cannot tell {value!r} from another value of it")
    return CategoricalDistribution(values)


def _steps(override: Override, sweep: RangeSweep) -> BaseDistribution:
    # Counted by Hydra itself, so that the same values are searched that a plain multirun would run through.
    count = len(list(override.sweep_string_iterator()))
    if count == 0:
        raise ValueError("it holds no value")
    # Decimal, so that 0.1 is a tenth and Optuna finds the ends whole steps apart.
    start, step = Decimal(str(sweep.start)), Decimal(str(sweep.step))
    low, high = sorted((start, start + (count - 1) * step))
    log = "log" in sweep.tags
    if all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), log=log, step=abs(int(step)))
    if log:
        raise ValueError("a logarithmic scale has no steps; interval(low, high) does without")
    if "int" in sweep.tags:
        raise ValueError("its steps are no whole numbers, as tag int says")
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
    """The override that gives `key` a value from its distribution."""
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={value!r}" if isinstance(value, float | list | dict) else f"{key}={value}"


def example(distribution: BaseDistribution) -> Any:
    """One value of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def checked_points(
    points: Sequence[Mapping[str, Any]], space: Space, key: str, pinned: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Known points to try first, each a value for some of the parameters, written as in YAML.

    Values of `pinned` parameters, which the command line has fixed, are left out.

    Raises:
        ConfigError: a name that is not searched, or a value outside its distribution.
    """
    names = {plain_key(name): name for name in space}
    checked: list[dict[str, Any]] = []
    for place, point in enumerate(points):
        checked.append({})
        for written, value in point.items():
            name = names.get(plain_key(written))
            if name is None and plain_key(written) in pinned:
                continue
            if name is None:
                raise ConfigError(f"{key}[{place}].{written}: is not searched; searched are {', '.join(space)}")
            known = _within(space[name], value)
            if not known:
                raise ConfigError(f"{key}[{place}].{written}: got {value!r}, should lie in {space[name]}")
            checked[-1][name] = known[0]
    return checked


def _within(distribution: BaseDistribution, value: Any) -> list[Any]:
    """The value as the distribution has it, in a list; an empty one where it lies outside."""
    if isinstance(distribution, CategoricalDistribution):
        return [choice for choice in distribution.choices if _means(choice, value)]
    try:
        return [value] if distribution._contains(distribution.to_internal_repr(value)) else []
    except (ValueError, TypeError):
        return []


def _means(choice: Any, value: Any) -> bool:
    """Whether a category, where it is text that of an override, stands for `value`."""
    if isinstance(choice, str):
        parsed = OverridesParser.create().parse_overrides([f"choice={choice}"])[0].value()
        return bool(_plain(parsed) == value) and type(_plain(parsed)) is type(value)
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A parsed value without what only tells how it was quoted."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def space_function(target: str, key: str) -> Callable[..., Any]:
    """The function MODULE.FUNCTION that adds to the space, from a module of the user's own.

    Of what is installed nothing is a search space, and much of it, such as `os.system`, had better not be called.

    Raises:
        ConfigError: it cannot be imported, is no function, or is defined in Python, a library or chirplet.
    """
    module, _, name = target.rpartition(".")
    if not _is_own(module):
        raise ConfigError(f"{key}: got {target!r}, should be MODULE.FUNCTION with a module of your own, of no library")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module's own code raises
        reason = " ".join(str(error).split())
        raise ConfigError(f"{key}: got {target!r}, which is no function that can be imported ({reason})") from error
    if not (inspect.isfunction(found) and _is_own(found.__module__)):
        raise ConfigError(f"{key}: got {target!r}, should be a function that is defined in a module of your own")
    function: Callable[..., Any] = found
    return function


def _is_own(module: str) -> bool:
    """Whether a module is there, and neither of Python nor of chirplet nor in a folder for installed libraries."""
    root = module.partition(".")[0]
    if not root or root in {*sys.stdlib_module_names, "chirplet"}:
        return False
    try:
        spec = find_spec(root)  # does not import it
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin or ""])]
    libraries = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    installed = ("site-packages", "dist-packages")
    return not any(place.is_relative_to(library) for place in places for library in libraries) and not any(
        name in place.parts for place in places for name in installed
    )
