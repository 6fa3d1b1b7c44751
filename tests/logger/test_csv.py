"""The CSV file of a run that was interrupted is that of one that was not."""

import csv
import warnings
from pathlib import Path

import pytest

from chirplet.logger.base import End, Identity, Results, Sheet
from chirplet.logger.csv import CsvSettings


def session(folder: Path, steps: list[int], end: int = 0) -> None:
    """Tell a logger of these steps, as training does, and of a validation at the last."""
    settings = CsvSettings(name="metrics")
    logger = settings.build(Identity(folder, folder, "group", "finetune", None, (), ()))
    _ = logger.experiment
    for step in steps:
        logger.log_metrics({"train/batch_loss": float(step)}, step=step)
    logger.log_metrics({"val/accuracy": 0.5}, step=steps[-1])
    settings.close(logger, End(end, pruned=False))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_what_was_told_before_stands_before_what_comes(tmp_path):
    session(tmp_path, [4, 9, 14], end=130)
    session(tmp_path, [14, 19])  # the checkpoint was of step 10
    assert [row.get("train/batch_loss") for row in rows(tmp_path)] == ["4.0", "9.0", "14.0", "19.0", None]
    assert [row["step"] for row in rows(tmp_path)] == ["4", "9", "14", "19", "19"]
    assert rows(tmp_path)[-1]["val/accuracy"] == "0.5"


def test_a_run_that_begins_anew_has_its_own_rows_alone(tmp_path):
    session(tmp_path, [4, 9])
    session(tmp_path, [4])
    assert [row["step"] for row in rows(tmp_path)] == ["4", "4"]


@pytest.mark.parametrize("torn", ["", "step,train/batch_loss\n4,1.5\n9", "nothing of the kind\n\0"])
def test_a_torn_file_costs_what_is_torn(tmp_path, torn):
    path = tmp_path / "metrics" / "metrics.csv"
    path.parent.mkdir()
    path.write_text(torn)
    session(tmp_path, [14])
    kept = ["4"] if "9" in torn else []
    assert [row["step"] for row in rows(tmp_path)] == [*kept, "14", "14"]


def test_a_session_that_ends_before_its_first_step_loses_nothing(tmp_path):
    session(tmp_path, [4, 9])
    before = rows(tmp_path)
    _ = CsvSettings(name="metrics").build(Identity(tmp_path, tmp_path, "group", "finetune", None, (), ())).experiment
    assert rows(tmp_path) == before
    session(tmp_path, [9])
    assert [row["step"] for row in rows(tmp_path)] == ["4", "9", "9"]


def test_each_row_is_written_at_once(tmp_path):
    logger = CsvSettings(name="metrics").build(Identity(tmp_path, tmp_path, "group", "finetune", None, (), ()))
    logger.log_metrics({"train/batch_loss": 1.5}, step=7)
    assert rows(tmp_path) == [{"step": "7", "train/batch_loss": "1.5"}]


def test_nothing_is_said_of_files_to_be_deleted(tmp_path, monkeypatch):
    from chirplet.system.console import quiet_libraries

    session(tmp_path, [4])
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        quiet_libraries()
        session(tmp_path, [9])
    assert not [warning for warning in told if "deleted" in str(warning.message)]


def test_formulas_in_texts_and_labels_are_text(tmp_path):
    settings = CsvSettings(name="metrics")
    logger = settings.build(Identity(tmp_path, tmp_path, "group", "finetune", None, (), ()))
    _ = logger.experiment
    sheet = Sheet(["row", "text", "true", "loss"], [["a.csv:1", "=1+1", "@x", -0.5], ["a.csv:2", "fine", "-1", 0.5]])
    settings.show(logger, Results(mistakes={"val": sheet}))
    with (Path(logger.log_dir) / "worst_mistakes_val.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [["a.csv:1", "'=1+1", "'@x", "-0.5"], ["a.csv:2", "fine", "-1", "0.5"]]
