"""What a valid configuration is; importable without torch.

Every `_target_` of chirplet's own names a subclass of `Settings`: a frozen pydantic model whose annotated
fields are the keys of its YAML file, with their types, ranges and choices. Defaults stand in the YAML alone, so
fields have none. `bind` turns a composed configuration into such objects and reports all that is wrong with it
at once, before anything heavy is imported: modules that hold `Settings` import torch where work starts, not at
their top.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chirplet.system.error import ConfigError, near
from chirplet.system.optional_dependency import check_installed

ALLOWED_PACKAGES = ("chirplet", "torch", "pytorch_lightning", "torchmetrics", "transformers", "optuna")

MOST_FILES = 5
"""Files of a folder that an error names."""

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share of something: 0 <= x < 1."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
"""A whole number from 1."""
Index = Annotated[int, Field(ge=0)]
"""A whole number from 0."""


class Settings(BaseModel):
    """One configurable part: immutable, every key known, every type exact (an int passes for a float)."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), arbitrary_types_allowed=True
    )

    extra: ClassVar[str | None] = None
    """The extra of chirplet that its work needs; None if it needs none."""

    @property
    def option(self) -> str:
        """The name of its option in its group, which is that of its module."""
        return type(self).__module__.rpartition(".")[2]

    def check_needs(self) -> None:
        """Check that what it needs besides the configuration is here: packages, files, hardware. So for parts in it.

        A run calls it before any work. It is cheap, and imports torch only where torch alone knows.

        Raises:
            UserError: something is missing; says what to do.
        """
        if self.extra is not None:
            check_installed(self.extra, "=".join(type(self).__module__.split(".")[-2:]))
        for _, value in self:
            for part in value.values() if isinstance(value, dict) else [value]:
                if isinstance(part, Settings):
                    part.check_needs()


class Foreign(Settings):
    """A class of an allowed library with its arguments, checked against its signature when it is built."""

    target: str
    arguments: dict[str, Any]
    key: str

    def kind(self, base: type = object) -> type:
        """Import the class.

        Raises:
            ConfigError: the target does not exist, is no class, comes from elsewhere, or is no `base`.
        """
        loaded = _locate(self.target, self.key)
        if not inspect.isclass(loaded) or loaded.__module__.split(".")[0] not in ALLOWED_PACKAGES:
            raise ConfigError(f"{self.key}._target_: got {self.target!r}, should name a class of its library")
        if not issubclass(loaded, base):
            raise ConfigError(f"{self.key}._target_: got {self.target!r}, should name a {base.__name__}")
        return loaded

    def build(self, base: type = object) -> Any:
        """Import the class, bind the arguments to its signature, and make the object.

        Raises:
            ConfigError: as `kind`, or the class refuses the arguments.
        """
        made = self.kind(base)
        self._check_arguments(made)
        return made(**self.arguments)

    def check_needs(self) -> None:
        """Check that the class is installed and takes the arguments; imports it.

        Raises:
            ConfigError: it does not exist, or refuses them.
        """
        self._check_arguments(self.kind())

    def _check_arguments(self, kind: type) -> None:
        try:
            signature = inspect.signature(kind)
        except ValueError:  # of some built-in classes, which `build` refuses
            return
        try:
            signature.bind(**self.arguments)
        except TypeError as error:
            known = signature.parameters
            unknown = [name for name in self.arguments if name not in known]
            hint = near(unknown[0], known) if unknown else ""
            raise ConfigError(f"{self.key}: {self.target} {error}{hint}") from None


def as_list(value: str | list[str] | None) -> list[str]:
    """One text, several or none, as a list."""
    return [value] if isinstance(value, str) else value or []


def existing_file(path: str, what: str) -> str:
    """`path`, if it is a file.

    Raises:
        ValueError: it is not a file; the message suggests a file with a similar name, or names files in the folder.
    """
    file = Path(path).expanduser()
    if file.is_file():
        return path
    if file.is_dir():
        held = sorted(one.name for one in file.iterdir() if one.is_file() and not one.name.startswith("."))
        inside = f"; in it are {', '.join(held[:MOST_FILES])}{', ...' * (len(held) > MOST_FILES)}" if held else ""
        raise ValueError(f"got {path!r}, which is a folder; should be {what}{inside}")
    siblings = [sibling.name for sibling in file.parent.iterdir()] if file.parent.is_dir() else []
    raise ValueError(f"got {path!r}, which is no file; should be {what}{near(file.name, siblings)}")


def bind(node: Any, key: str = "") -> Any:
    """Turn a resolved, plain configuration into the objects it describes.

    A mapping with `_target_` becomes that class (chirplet's own `Settings`, validated now, or a `Foreign`); other
    mappings and lists are walked.

    Args:
        node: what `OmegaConf.to_container(config, resolve=True)` gave.
        key: the dotted name of the node, for messages.

    Raises:
        ConfigError: one line per fault, all of them together.
    """
    if isinstance(node, list):
        return [bind(item, f"{key}[{position}]") for position, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    faults: list[str] = []
    fields: dict[str, Any] = {}
    for name, value in node.items():
        try:
            fields[name] = bind(value, f"{key}.{name}" if key else str(name))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    target = fields.pop("_target_", None)
    return fields if target is None else _bind_target(target, fields, key)


def validate(settings: type[Settings], fields: Mapping[str, Any], key: str = "") -> Any:
    """An instance of `settings`, or a `ConfigError` with one line per fault."""
    try:
        return settings.model_validate(dict(fields))
    except ValidationError as error:
        lines: dict[str, list[str]] = {}
        for fault in _innermost(error.errors()):
            where, what = _explain(settings, fault, key)
            lines.setdefault(where, []).append(what)
        # A union's members each complain of the same value.
        merged = (f"{where}{' or '.join([first, *map(_allowed, rest)])}" for where, (first, *rest) in lines.items())
        raise ConfigError("\n".join(merged)) from None


def _innermost(faults: Sequence[Any]) -> list[Any]:
    """Without the faults of a whole value that has faults inside: another member of a union has its type."""
    inside = {_place(fault)[:length] for fault in faults for length in range(len(_place(fault)))}
    return [fault for fault in faults if _place(fault) not in inside]


def _place(fault: Any) -> tuple[str, ...]:
    return tuple(str(part) for part in fault["loc"] if not _names_a_branch(str(part)))


def _bind_target(target: Any, fields: dict[str, Any], key: str) -> Any:
    if _package(target) not in ALLOWED_PACKAGES:
        allowed = ", ".join(ALLOWED_PACKAGES)
        raise ConfigError(f"{key}._target_: got {target!r}, should be in one of the packages {allowed}")
    if _package(target) != "chirplet":
        return Foreign(target=target, arguments=fields, key=key)
    settings = _locate(target, key)
    module = target.rpartition(".")[0]
    # A Foreign of the configuration's own making would name its target unchecked.
    bases = (Settings, Foreign)
    concrete = inspect.isclass(settings) and not inspect.isabstract(settings) and settings not in bases
    if not (concrete and issubclass(settings, Settings) and settings.__module__ == module):
        raise ConfigError(f"{key}._target_: got {target!r}, which is not a settings class of chirplet")
    return validate(settings, fields, key)


def _package(target: Any) -> str:
    return target.split(".")[0] if isinstance(target, str) else ""


def _locate(target: str, key: str) -> Any:
    assert _package(target) in ALLOWED_PACKAGES, target
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}._target_: got {target!r}, which cannot be imported ({error})") from None


def _explain(settings: type[Settings], fault: Any, key: str) -> tuple[str, str]:
    """The key at fault and what is wrong with it; one after the other they make a line."""
    location = _place(fault)
    where = ".".join(part for part in (key, *location) if part) or "config"
    kind, got = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        known = list(settings.model_fields)
        return where, f": no such key{near(location[-1], known)}; known here: {', '.join(known)}"
    if kind == "missing":
        return where, ": is missing"
    if kind == "value_error":
        # A check of several keys together names them itself.
        return where, f"{':' if location else '.'}{' ' if location else ''}{fault['ctx']['error']}"
    should = fault["msg"].replace("Input should", "should")
    hint = ""
    if kind == "literal_error" and isinstance(got, str):
        hint = near(got, fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
    shown = repr(got) if len(repr(got)) <= 80 else repr(got)[:77] + "..."
    return where, f": got {shown}, {should}{hint}"


def _allowed(what: str) -> str:
    """The end of an explanation, without the value that another member of the union named already."""
    return what.rpartition(", should ")[2]


def _names_a_branch(part: str) -> bool:
    """Whether pydantic put this into a fault's location to name a union's member rather than a key."""
    named = part in {"str", "int", "float", "bool", "none"} or part.startswith("constrained-") or "[" in part
    # A class, where keys are in lower case; a list's index is neither.
    return named or part[:1].isupper()
