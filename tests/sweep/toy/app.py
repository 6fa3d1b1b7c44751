"""The smallest application that a sweeper can be tried on; `value` is what a run of it gives."""

import os
import signal
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from chirplet.sweep.trial.trial import current


def value(x: float, y: int) -> float:
    return (x - 0.3) ** 2 + y


def run(cfg: DictConfig) -> float | tuple[float, float] | None:
    """Report three times, and give the value; the second one, where it is asked for, is better for a larger x."""
    trial = current()
    if cfg.ledger is not None:
        with Path(cfg.ledger).open("a") as ledger:
            ledger.write(f"{'alone' if trial is None else trial.number}\n")
    if cfg.gate is not None and (trial is None or trial.number >= cfg.gate_from):
        while not Path(cfg.gate).exists():
            time.sleep(0.01)
    for step in (1, 2, 3):
        time.sleep(cfg.sleep_s / 3)
        if trial is not None:
            trial.report(value(cfg.x, cfg.y) + 3 - step, step)
    print(f"x={cfg.x} y={cfg.y} value={value(cfg.x, cfg.y)}")
    print({name: value for name, value in os.environ.items() if name.endswith(("_NUM_THREADS", "_VISIBLE_DEVICES"))})
    if cfg.y == cfg.fail_at:
        if cfg.how == "error":
            raise ValueError(f"y may not be {cfg.y}")
        if cfg.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return float("nan") if cfg.how == "nan" else None
    return (value(cfg.x, cfg.y), cfg.x) if cfg.two else value(cfg.x, cfg.y)


main = hydra.main(version_base="1.3", config_path="conf", config_name="config")(run)

if __name__ == "__main__":
    main()
