"""What a key of the whole configuration means to a run: declared on its field, and asked for everywhere else."""

from enum import Enum, auto
from functools import cache
from typing import Annotated, Any

from chirplet.config.schema import Settings


class Role(Enum):
    """What a key means to a run; a key may have several roles."""

    LOCAL = auto()
    """Names something on one machine: it is in no record and no part of a run's identity, nor is a stage's key of that
    name."""
    HIDDEN = auto()
    """An override of it is not shown in a record."""
    UNRECORDED = auto()
    """A record holds it elsewhere: the steps of a chain are in its stage."""
    PARENT = auto()
    """Names artifacts that a run starts from."""
    THIS_RUN = auto()
    """Belongs to one run: the steps of a chain and comparisons do not inherit it."""
    NO_RESULT = auto()
    """Changes no result: it is no part of a run's identity, and `reproduce` leaves it to the user."""
    REPEATED_BELOW = auto()
    """A stage's file includes it as it is, so it is checked first and reported once."""
    BY_STAGE = auto()
    """Some stages use it; with others it changes nothing."""
    OPTION = auto()
    """A group whose options `reproduce` takes from the record."""


class RunKeys(Settings):
    """The keys of `conf/config.yaml` that have roles; `chirplet.cli.binding.Experiment` gives their types."""

    model: Annotated[Any, Role.BY_STAGE]
    data: Annotated[Any, Role.OPTION]
    task: Annotated[Any, Role.OPTION, Role.BY_STAGE]
    pruner: Annotated[Any, Role.OPTION, Role.BY_STAGE, Role.REPEATED_BELOW]
    quantizer: Annotated[Any, Role.OPTION, Role.BY_STAGE, Role.REPEATED_BELOW]
    distiller: Annotated[Any, Role.OPTION, Role.BY_STAGE, Role.REPEATED_BELOW]
    callback: Annotated[Any, Role.OPTION]
    student: Annotated[Any, Role.BY_STAGE, Role.REPEATED_BELOW]
    logger: Annotated[Any, Role.NO_RESULT]
    verify: Annotated[Any, Role.NO_RESULT]
    stage: Annotated[Any, Role.THIS_RUN]
    chain: Annotated[Any, Role.THIS_RUN, Role.UNRECORDED]
    cache_dir: Annotated[Any, Role.LOCAL, Role.HIDDEN]
    artifact: Annotated[Any, Role.LOCAL, Role.PARENT, Role.THIS_RUN, Role.BY_STAGE]
    teacher: Annotated[Any, Role.LOCAL, Role.PARENT, Role.THIS_RUN, Role.BY_STAGE]
    artifacts: Annotated[Any, Role.LOCAL, Role.THIS_RUN, Role.BY_STAGE]
    baseline: Annotated[Any, Role.LOCAL, Role.BY_STAGE]
    unlabeled_files: Annotated[Any, Role.LOCAL, Role.BY_STAGE]
    input: Annotated[Any, Role.LOCAL, Role.THIS_RUN, Role.BY_STAGE]
    output: Annotated[Any, Role.LOCAL, Role.HIDDEN, Role.THIS_RUN, Role.BY_STAGE]
    target: Annotated[Any, Role.THIS_RUN, Role.BY_STAGE]
    resume: Annotated[Any, Role.LOCAL, Role.HIDDEN, Role.THIS_RUN]
    reproduce: Annotated[Any, Role.LOCAL, Role.THIS_RUN]
    push: Annotated[Any, Role.LOCAL, Role.HIDDEN, Role.THIS_RUN]
    push_private: Annotated[Any, Role.LOCAL, Role.HIDDEN]


@cache
def keys_with(*roles: Role) -> tuple[str, ...]:
    """The keys that have one of the roles, in the order of their fields."""
    return tuple(name for name, field in RunKeys.model_fields.items() if set(roles) & set(field.metadata))
