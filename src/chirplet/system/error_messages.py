"""One-line messages for errors that the user can fix, from chirplet or a library."""

import errno
import re
import shlex
from collections.abc import Iterator
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from chirplet.system.command_line import argument
from chirplet.system.error import UserError, near

CONFIG_EXIT_CODE = 2

CHAIN = "chirplet.stage.chain.Chain"

ACCESS_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no space
    *(errno.EACCES, errno.EPERM, errno.EROFS),  # no permission
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),  # a file where a folder should be, or the reverse
}
"""Errors of a disk or path, which are never a bug of chirplet."""
NAME_ERRORS = {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO}
"""Errors of a file, explained only if the error names the file."""


def explain(error: BaseException) -> tuple[str, int] | None:
    """Message and exit code of an error that the user can fix; None for any other error."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return "a group got null, should be one of its options; to remove it, give ~GROUP", CONFIG_EXIT_CODE
    if isinstance(error, TypeError) and _raised_in(error) == "hydra._internal.defaults_list":
        return "a group got a list with other values than names, should be one or more of its options", CONFIG_EXIT_CODE
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _configuration(error), CONFIG_EXIT_CODE
    message = _input_output(error)
    return None if message is None else (message, CONFIG_EXIT_CODE)


def _input_output(error: BaseException) -> str | None:
    """The message for an error of the file system, or for a value that a parser rejects."""
    if isinstance(error, OSError):
        named = error.filename is not None
        if error.errno in ACCESS_ERRORS or (named and error.errno in NAME_ERRORS):
            where = f"{_short(str(error.filename))}: " if named else ""
            return f"{where}cannot be written or read ({error.strerror})"
    if isinstance(error, RecursionError):
        return "a value is nested too deeply"
    if isinstance(error, ValueError) and str(error).startswith("Exceeds the limit (4300 digits)"):
        return "an integer has more than 4300 digits"
    return None


def _raised_in(error: BaseException) -> str:
    """The name of the module that raised the error."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module, trace = trace.tb_frame.f_globals.get("__name__", ""), trace.tb_next
    return module


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _configuration(error: BaseException) -> str:
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(error, OverrideParseException):
        given = str(error.override)
        key, _, value = given.partition("=")
        # Text that may be a path; brackets, quotes and functions were meant for Hydra.
        hint = f"; quote text: {argument(key, value)}" if re.match(r"[^\[{('\"]+[/\s=]", value) else ""
        if "NoneType is incompatible" in str(error):
            hint = f"; null is a choice only without choice(): {key}=A,null"
        return f"{given if given.isprintable() else repr(given)}: is not KEY=VALUE ({_line(error)}){hint}"
    several = re.match(r"Ambiguous value for argument '([^=]+)=(.*?)'\n1\. ", str(error), re.DOTALL)
    if several:
        key, value = several.groups()
        return (
            f"{key}: got {value}, which are several values; for a list give {shlex.quote(f'{key}=[{value}]')}, "
            f"for one text {argument(key, value)}, for one run with each -m"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options if not option.startswith("_")]
        return f"{group}: got {name!r}, should be one of {', '.join(options)}{near(name, options)}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and OmegaConf.is_dict(cause.parent_node):
        known = [str(key) for key in cause.parent_node]
        # Hydra's settings share the root with chirplet's, but do not help here.
        shown = ", ".join(key for key in known if key not in {"hydra", "_target_"})
        if cause.parent_node.get("_target_") == CHAIN and not near(str(cause.key), known):
            hint = "set it in the overrides of a step, or choose another stage"
            return f"{cause.full_key}: no such key of stage=chain; {hint}; known here: {shown}"
        if not known:
            where = str(cause.full_key).rpartition(".")[0]
            hint = "; set model@student=NAME first" if where == "student" else ""
            return f"{cause.full_key}: no such key, because {where} is null{hint}"
        elsewhere = [key for key in _keys_below(cause.parent_node._get_root()) if key.endswith(f".{cause.key}")]
        hint = f"; did you mean {' or '.join(map(repr, elsewhere))}?" if elsewhere else near(str(cause.key), known)
        if not hint and "stage" in known and cause.parent_node.stage.get("_target_") == CHAIN:
            hint = "; a key of a stage is stage.KEY, with stage=chain in the overrides of a step"
        return f"{cause.full_key}: no such key{hint}; known here: {shown}"
    return _line(error) if cause is None or cause is error else f"{_line(error)}: {_line(cause)}"


def _keys_below(config: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a configuration, without Hydra's and those that refer to others."""
    for key in config if OmegaConf.is_dict(config) else ():
        if f"{prefix}{key}" != "hydra":
            yield f"{prefix}{key}"
            if not (OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, key)):
                yield from _keys_below(config[key], f"{prefix}{key}.")


def _line(error: BaseException) -> str:
    """The message on one line, without Hydra's hint on stack traces."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and "HYDRA_FULL_ERROR" not in line)
