"""Errors that are the input's fault, told in one line."""


class UserError(Exception):
    """Something the user can mend: the message is one line that names what is wrong and what would be right.

    `run.py` prints it without a traceback and ends with `exit_code`.
    """

    exit_code = 2


class ConfigError(UserError):
    """The configuration is not valid. Several faults come as several lines, one each."""


class DataError(UserError):
    """A data file is missing, damaged, or not what its source says it is."""


class ModelError(UserError):
    """Weights or a tokenizer are missing, damaged, or do not fit."""


class ArtifactError(UserError):
    """A folder is not an artifact, or one could not be written."""


class QuantizationError(UserError):
    """A model cannot be quantized as was asked."""


class PruningError(UserError):
    """A model cannot be pruned as was asked."""


class SweepError(UserError):
    """A sweep ended without what it was for."""

    exit_code = 1


class PushError(UserError):
    """The hub did not take an artifact, which is still there."""

    exit_code = 1


class ProcessError(UserError):
    """A process that trained along ended before its time."""

    exit_code = 1


class Interrupted(UserError):
    """Ctrl-C or SIGTERM; the message says how to go on."""

    exit_code = 130
