"""Exploring from configuration to page."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoints import tiny_bert
from chirplet.cli.binding import parse
from chirplet.cli.experiment import run_of
from chirplet.data.base import SPLITS
from chirplet.data.preparation.prepare import prepare
from chirplet.model.loading.tokenizer import load_tokenizer
from chirplet.stage.explore import PAGE, Explore
from chirplet.stage.run.context import Run


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def run(compose_config: Any, encoder: Path, tmp_path: Path) -> tuple[Explore, Run]:
    """The stage and its run on forty texts of two classes, one of them long and one dangerous."""
    rows = ["text,label,day"]
    rows += [f"text number {i} #Tag{i % 3} @user,{'bad' if i % 2 else 'good'},2020-03-0{1 + i % 5}" for i in range(40)]
    rows += [f"{'long ' * 100},bad,2020-03-01", "<script>alert(1)</script> &amp; more,bad,"]
    (tmp_path / "texts.csv").write_text("\n".join(rows) + "\n")
    experiment = parse(
        compose_config(
            "stage=explore",
            "model=local",
            f"model.name_or_path={encoder}",
            "model.max_length=32",
            "data=csv",
            f"data.train={tmp_path / 'texts.csv'}",
            "data.label_column=label",
            "data.date_column=day",
        )
    )
    assert isinstance(experiment.stage, Explore)
    output = tmp_path / "output"
    output.mkdir()
    return experiment.stage, replace(run_of(experiment, output, {}), cache_dir=tmp_path / "cache")


def test_tables_and_a_page_are_written(run, capsys):
    stage, arguments = run
    assert stage.run(arguments) is None
    message = capsys.readouterr().out
    text = (arguments.output_dir / PAGE).read_text(encoding="utf-8")
    assert f"page      {arguments.output_dir / PAGE}\n" in message
    assert "next      the same command with stage=finetune" in message
    assert "Classes of csv" in message and "cut at 32" in message and "#tag1" in message
    assert "texts     1 of 42 texts are longer than 32 tokens; they would be truncated" in message
    assert re.search("tokens .* are unknown to the tokenizer; training with model.cleaning=emoji", message)
    assert "<script>" not in text and text.count("<svg") == 4


def test_token_lengths_are_those_before_truncation(run):
    stage, arguments = run
    corpus = prepare(arguments.data, arguments.cache_dir)
    seen, counts = stage.explore(arguments, corpus)
    assert sum(each.longer for each in counts.values()) == 1
    tokenizer = load_tokenizer(arguments.model)
    for split in SPLITS:
        expected = [len(tokenizer(text)["input_ids"]) for text in corpus.split(split).text]
        assert seen.tokens[split].values.tolist() == expected
    longest = max(lengths.longest for lengths in seen.tokens.values())
    assert longest > 100
    cut = sum(lengths.share_above(32) * len(lengths.values) for lengths in seen.tokens.values())
    assert round(cut) == 1
    assert sum(seen.sizes.values()) == 42
