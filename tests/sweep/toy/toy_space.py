"""Search spaces in code, for `hydra.sweeper.custom_search_space`."""

from pathlib import Path

from omegaconf import DictConfig
from optuna.trial import Trial


def only_where_y_is_2(config: DictConfig, trial: Trial) -> None:
    """Search `sleep_s` too, but only in half of the space."""
    if config.y == 2:
        trial.suggest_float("sleep_s", 0.0, 0.01)


def cut_off_once(config: DictConfig, trial: Trial) -> None:
    """Search `x`, then `y`; simulates Ctrl-C between them if the file `cut` is next to the ledger."""
    trial.suggest_float("x", 0.0, 1.0)
    cut = Path(config.ledger).with_name("cut")
    if cut.exists():
        cut.unlink()
        raise KeyboardInterrupt
    trial.suggest_float("sleep_s", 0.0, 0.01)


def broken(config: DictConfig, trial: Trial) -> None:
    raise ZeroDivisionError("no space")


def misspelt(config: DictConfig, trial: Trial) -> None:
    trial.suggest_float("sleeps", 0.0, 0.01)
