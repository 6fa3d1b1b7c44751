"""An application whose runs last as long as they are told, for `benchmarks/sweep.py`."""

import json
import math
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Sleep, leave `times.json` (seconds since 1970) in the run's folder, and give a value that depends on the keys."""
    started = time.time()
    time.sleep(cfg.sleep_s)
    value: float = (math.log10(cfg.rate) + 3) ** 2 + (cfg.share - 0.3) ** 2 + abs(cfg.depth - 4) + (cfg.kind != "b")
    path = Path(HydraConfig.get().runtime.output_dir) / "times.json"
    path.write_text(json.dumps({"started": started, "ended": time.time()}), encoding="utf-8")
    return value


if __name__ == "__main__":
    main()
