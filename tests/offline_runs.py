"""An offline W&B run read back with wandb's own reader."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OfflineRun:
    """Everything that `wandb sync` would send: records as `wandb leet inspect` gives them."""

    records: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def started(self) -> dict[str, Any]:
        return self.of("run")[0]

    @property
    def tags(self) -> list[str]:
        return [run["tags"] for run in self.of("run") if "tags" in run][-1]

    @property
    def config(self) -> dict[str, Any]:
        return {key: value for update in self.of("config") for key, value in update["update"].items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [row["item"] for row in self.of("history")]

    @property
    def summary(self) -> dict[str, Any]:
        return {key: value for update in self.of("summary") for key, value in update["update"].items()}

    @property
    def exit_code(self) -> int:
        [end] = self.of("exit")
        return end["exit_code"]


def read_run(output_dir: Path) -> OfflineRun:
    """The one run below a folder."""
    [kept] = (output_dir / "wandb").glob("offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return OfflineRun([json.loads(line) for line in done.stdout.splitlines()])
