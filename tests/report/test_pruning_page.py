"""The page and tables of a pruned model, from records alone."""

import pytest

from chirplet.report.pruning import cost_line, page, sparsity_rows, tables
from records import make_record

SPARSITY = {
    "bert.embeddings.word_embeddings": 0.0001,
    "bert.encoder.layer.0.attention.self.query": 0.25,
    "bert.encoder.layer.0.output.dense": 0.5,
    "bert.encoder.layer.1.output.dense": 0.75,
    "bert.pooler.dense": 0.3,
}


def pruned(sparsity: float, identity: str, recovery: str = "distill", **pruning):
    told = {"sparsity": SPARSITY, "reached": sparsity + 0.01} | pruning
    settings = {"recovery": recovery, "curve_texts": 100, "pruner": {"sparsity": sparsity, "scope": "body"}}
    cost = {"params_total": 10, "params_nonzero": 4, "bytes_compressed": 2_000_000, "bytes_on_disk": 4_000_000}
    cost |= {"texts_per_s": 100.0, "compared_with": {"times_texts_per_s": 0.99}}
    training = {"steps": 300, "pruning": told}
    return make_record(
        id=identity * 64, stage="prune", method="magnitude", settings=settings, training=training, cost=cost
    )


CURVE = {
    "curve": [{"sparsity": 0.2, "accuracy": 0.8, "loss": 0.5}, {"sparsity": 0.6, "accuracy": 0.4, "loss": 1.5}],
    "layer_losses": [0.5, 0.1],
    "breaks_first": 0,
}


def test_zeros_stand_by_layer_and_matrix_and_padding_is_not_told_of():
    columns, rows = sparsity_rows(pruned(0.5, "a"))
    assert columns == ["module", "query", "down", "whole"]
    assert rows == [
        ("layer 0", [0.25, 0.5, None]),
        ("layer 1", [None, 0.75, None]),
        ("bert.pooler.dense", [None, None, 0.3]),
    ]


def test_the_page_has_every_run_the_curve_and_the_layer_that_breaks_first():
    html = page(pruned(0.5, "a", **CURVE), make_record(), [pruned(0.9, "b")])
    for told in ("sparsity 0.5", "sparsity 0.9", "layer 0 breaks first", "20% 0.800, 60% 0.400", "+0.5000", "0.99"):
        assert told in html
    assert "<svg" in html
    assert "recovery\nfrom the parent,\n300 steps" in html
    # Where they are, not where they were to be.
    assert "these runs: 51% 0.750, 91% 0.750" in html


def test_a_page_without_recovery_and_losses_does_not_speak_of_them():
    html = page(pruned(0.5, "a", recovery="none"), make_record(), [])
    assert "· no recovery</p>" in html
    assert "loss" not in html.partition("Sparsity by layer")[2]
    (table,) = tables(pruned(0.5, "a"))
    assert table.title == "Share of zeros in each matrix"


@pytest.mark.parametrize("pruning", [{}, CURVE], ids=["without a curve", "with one"])
def test_tables(pruning):
    assert len(tables(pruned(0.5, "a", **pruning))) == (2 if pruning else 1)


def test_nothing_is_called_faster_than_it_was_measured():
    assert cost_line(pruned(0.5, "a")).endswith("0.99 times the parent's texts/s")


def test_what_nothing_is_known_of_takes_no_column_and_a_single_point_no_figure():
    record, parent = pruned(0.5, "a").model_copy(update={"cost": {}}), make_record(cost={})
    html = page(record, parent, [])
    assert "<svg" not in html and "One-shot" not in html
    assert '<th scope="col">run</th><th scope="col">val</th><th scope="col">test</th></tr>' in html
    assert "<svg" in page(record, parent, [pruned(0.9, "b")])
