"""Stages that train nothing tell of their tables and pages those loggers that show them."""

import json

import pytest

from chirplet.cli.experiment import execute
from chirplet.stage import quantize
from comparisons import family
from offline_runs import read_run
from records import make_record

pytest.importorskip("wandb")


def test_a_comparison_is_tracked_with_its_fronts(compose_config, tmp_path):
    folders = family(tmp_path / "made")
    named = f"artifacts=[{','.join(map(str, folders))}]"
    execute(compose_config("stage=compare", named, "stage.texts=false", "logger=[csv,wandb]"), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".lock", "comparison.csv", "comparison.md", "report.html", "wandb",
    }  # fmt: skip
    seen = read_run(tmp_path / "out")
    assert seen.started["job_type"] == "compare"
    assert seen.exit_code == 0
    assert sorted(parent[:3] for parent in seen.config["parents"]) == ["aaa", "bbb", "ccc"]
    [media] = (tmp_path / "out" / "wandb").glob("offline-run-*/files/media")
    [report] = (media / "html").glob("report_*.html")
    assert report.read_text() == (tmp_path / "out" / "report.html").read_text()
    assert len(list((media / "html" / "pareto").glob("*.html"))) == 3
    [table] = (media / "table").glob("comparison_*.json")
    shown = json.loads(table.read_text())
    place = shown["columns"].index("cost/mb")
    assert 90.0 in [row[place] for row in shown["data"]]


def test_sensitivities_are_a_file_beside_the_run_and_a_page(tmp_path):
    layers = {"encoder.layer.0": {"divergence": 0.2, "loss_rise": 0.1}, "head": {"divergence": 0.1, "loss_rise": 0.0}}
    record = make_record(
        stage="quantize", method="onnx_int8", training={"sensitivity": layers, "excluded_layers": ["head"]}
    )
    pages = quantize._figures(record, tmp_path / "sensitivity.svg")
    saved = (tmp_path / "sensitivity.svg").read_text()
    assert saved[saved.index("<svg") :] in pages["sensitivity"]
    assert pages["sensitivity"].startswith("<!doctype html>")
    none = record.model_copy(update={"training": {"sensitivity": {}, "excluded_layers": []}})
    assert quantize._figures(none, tmp_path / "other.svg") == {}
    assert not (tmp_path / "other.svg").exists()
