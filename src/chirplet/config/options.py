"""The options of a config group: its YAML files, but for those that options share (`_training.yaml`)."""

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType

from chirplet.system.error import ConfigError, near


def is_group(loader: ConfigLoader, key: str) -> bool:
    """Whether a key of an override, with or without a package, names a group."""
    return bool(loader.get_group_options(key.lstrip("+~").partition("@")[0], results_filter=None))


def check_option(loader: ConfigLoader, group: str, name: str) -> None:
    """Check that the group has this option.

    Raises:
        ConfigError: it does not.
    """
    known = options(loader, group)
    if name not in known:
        raise ConfigError(f"{group}: got {name!r}, should be one of {', '.join(known)}{near(name, known)}")


def options(loader: ConfigLoader, group: str) -> list[str]:
    """The names of the options, those in folders of the group as `FOLDER/NAME`."""
    own = [name for name in loader.get_group_options(group) if not name.startswith("_")]
    folders = loader.get_group_options(group, results_filter=ObjectType.GROUP)
    return own + [f"{folder}/{name}" for folder in folders for name in options(loader, f"{group}/{folder}")]
