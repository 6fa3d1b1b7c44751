"""An application whose runs sleep for `sleep_s` seconds, for `benchmarks/sweep.py`."""

import json
import math
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Sleep, write `times.json` (seconds since the epoch) to the run's folder, and return a function of the keys."""
    started = time.time()
    time.sleep(cfg.sleep_s)
    value: float = (math.log10(cfg.rate) + 3) ** 2 + (cfg.share - 0.3) ** 2 + abs(cfg.depth - 4) + (cfg.kind != "b")
    path = Path(HydraConfig.get().runtime.output_dir) / "times.json"
    path.write_text(json.dumps({"started": started, "ended": time.time()}), encoding="utf-8")
    return value


if __name__ == "__main__":
    main()
