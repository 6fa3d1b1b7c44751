"""One line for each error that is the user's to mend, whoever raised it."""

import errno

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from chirplet.system.error import UserError, near

CONFIG_EXIT_CODE = 2

PLACE_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room
    *(errno.EACCES, errno.EPERM, errno.EROFS),  # no right
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),  # a file where a folder should be, or the other way round
}
"""What is wrong with a disk or a place on it, and no fault of ours."""
NAME_ERRORS = {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO}
"""What is wrong with a file, where the error says which."""


def explain(error: BaseException) -> tuple[str, int] | None:
    """The message and the exit code for an error of the user's, or None for one of ours."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return "a group got null, should be one of its options; ~GROUP leaves it out", CONFIG_EXIT_CODE
    if isinstance(error, TypeError) and _raised_in(error) == "hydra._internal.defaults_list":
        return "a group got a list of more than names, should be one or several of its options", CONFIG_EXIT_CODE
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _configuration(error), CONFIG_EXIT_CODE
    line = _anywhere(error)
    return None if line is None else (line, CONFIG_EXIT_CODE)


def _anywhere(error: BaseException) -> str | None:
    """What anyone may meet, whatever is read or written: the file system's refusals, and values that break parsers."""
    if isinstance(error, OSError):
        named = error.filename is not None
        if error.errno in PLACE_ERRORS or (named and error.errno in NAME_ERRORS):
            where = f"{_short(str(error.filename))}: " if named else ""
            return f"{where}cannot be written or read ({error.strerror})"
    if isinstance(error, RecursionError):
        return "a value is nested too deeply to be read"
    if isinstance(error, ValueError) and str(error).startswith("Exceeds the limit (4300 digits)"):
        return "a whole number has more digits than can be read"
    return None


def _raised_in(error: BaseException) -> str:
    """The module whose code raised it."""
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
        return f"{given if given.isprintable() else repr(given)}: is not KEY=VALUE ({_line(error)})"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options if not option.startswith("_")]
        return f"{group}: got {name!r}, should be one of {', '.join(options)}{near(name, options)}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and OmegaConf.is_dict(cause.parent_node):
        known = [str(key) for key in cause.parent_node]
        # Hydra's own settings share the root with chirplet's and are no help here.
        shown = ", ".join(key for key in known if key not in {"hydra", "_target_"})
        if cause.parent_node.get("_target_") == "chirplet.stage.chain.Chain" and not near(str(cause.key), known):
            others = "stage=finetune and others have their own, a chain's steps have overrides"
            return f"{cause.full_key}: no such key of stage=chain; {others}; known here: {shown}"
        if not known:
            where = str(cause.full_key).rpartition(".")[0]
            gives = "; model@student=NAME gives the student keys" if where == "student" else ""
            return f"{cause.full_key}: no such key, since {where} is null{gives}"
        return f"{cause.full_key}: no such key{near(str(cause.key), known)}; known here: {shown}"
    return _line(error) if cause is None or cause is error else f"{_line(error)}: {_line(cause)}"


def _line(error: BaseException) -> str:
    """The message on one line, without Hydra's advice to look at a stack trace."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and "HYDRA_FULL_ERROR" not in line)
