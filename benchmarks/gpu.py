"""Training on a GPU: chirplet, `transformers.Trainer`, and a bare loop of CUDA graphs, on the same texts.

`python benchmarks/gpu.py` takes the default texts, `--data DIR` the two Corona CSVs in DIR, the bundled MiniLM and a
model of BERTweet's size (12 layers, 768 wide, 64,001 words) with random weights. It also counts what waits for the
device, resumes to the bit, distils, prunes, trains quantization-aware, infers, and searches with two workers.
`--only PART` measures one part. What fails is reported, with a figure that does not hold, and the rest is measured;
after each part all figures so far are printed. `--quick` runs all of it on any machine in a few steps, with two layers
of the large model; without a GPU it calls what would be captured.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from gpu_bench import Bench
from gpu_parts import PARTS
from gpu_ways import on_gpu
from measuring import figure


def main() -> None:
    """Measure, and print the figures so far as one line of JSON after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of Corona_NLP_train.csv and Corona_NLP_test.csv")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing more is started")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if not on_gpu() and not arguments.quick:
        raise SystemExit("gpu.py: torch finds no GPU; --quick runs everything in a few steps without one")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started ends with it
    minutes = 600.0 if arguments.quick else arguments.minutes
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        bench = Bench(arguments.data, Path(name), arguments.quick, minutes)
        for part in arguments.only:
            started, count = time.monotonic(), len(bench.figures)
            try:
                PARTS[part](bench)
            except Exception:
                traceback.print_exc()
                bench.figures.append(figure(f"{part}: not measured", 0.0, "parts") | {"holds": False})
            bench.rows[f"{part}, s"] = {"seconds": time.monotonic() - started}
            print(f"{part}: {len(bench.figures) - count} figures", file=sys.stderr)
            print(json.dumps({"figures": bench.figures, "context": context(bench) | {"rows": bench.rows}}), flush=True)


def context(bench: Bench) -> dict[str, Any]:
    """The machine, the libraries and the texts."""
    import torch
    import transformers

    from chirplet.system.hardware import cpu_cores, cpu_name

    return {
        "device": torch.cuda.get_device_name() if on_gpu() else "none",
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": "vader_tweets" if bench.corona is None else "corona_nlp",
        "quick": bench.quick,
    }


if __name__ == "__main__":
    main()
