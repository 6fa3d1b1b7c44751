"""A card says what the record says and no more."""

import re
from html import unescape

import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from chirplet.artifact.artifact import Ancestor
from chirplet.report.card import model_card
from chirplet.system.escaping import markdown
from records import LABELS, make_record


def tables(card: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in card.splitlines() if line[:1] == "|"
    ]


def test_the_hub_reads_its_metadata():
    data = ModelCard(model_card(make_record())).data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.language == "en" and data.library_name == "transformers" and data.pipeline_tag == "text-classification"
    assert data.license is None, "nobody recorded one"
    results = {result.metric_type: result for result in data.eval_results}
    assert results["accuracy"].metric_value == 0.5 and results["accuracy"].dataset_split == "test"
    assert set(results) == {"accuracy", "f1", "precision", "recall"}


def test_figures_and_classes_are_the_records():
    rows = tables(model_card(make_record()))
    assert ["accuracy", "1.0000", "0.7500", "0.5000"] in rows
    assert ["Negative", "1", "0.5000", "0.3333", "1.0000"] in rows
    assert ["learning_rate", "0.0001"] in rows and ["latency_ms.p50", "4.25"] in rows
    assert ["params_total", "22,714,757"] in rows


def test_it_says_how_to_use_it_and_what_was_done_to_the_text():
    card = model_card(make_record())
    assert "chirplet stage=predict artifact=DIR input=texts.csv output=labeled.csv" in card
    assert "max_length=32" in card and "preset `twitter_roberta`" in card and "entities were repaired" in card
    assert "does not do this, only chirplet does" in card
    assert "tokenizer cleans texts as in training" in model_card(make_record(tokenizer_cleans=True))
    assert "repaired:" not in model_card(make_record(config={"data": {"repair": False}}))
    assert "Findings: 3 duplicate." in card and "Dropped from train: 1 duplicate." in card
    assert "is wrong on 50 of 100 texts of the test split" in card


def test_a_quantized_model_is_not_said_to_run_by_transformers():
    assert 'pipeline("text-classification"' in model_card(make_record())
    found = {"layer.0": {"divergence": 0.25, "loss_rise": 0.125}}
    training = {
        "runtime": "onnxruntime",
        "excluded_layers": [],
        "sensitivity": found,
        "tried": [{"excluded_layers": 0}],
        "seconds": 41.25,
    }
    card = model_card(make_record(stage="quantize", method="onnx_int8", training=training))
    assert "pipeline(" not in card and "the model runs in onnxruntime" in card
    assert 'chirplet.load("DIR")(["a text"]).labels' in card
    assert ModelCard(card).data.library_name == "chirplet"
    rows = [row[0] for row in tables(card)]
    assert "seconds" in rows and "tried" not in rows and not any("sensitivity" in row for row in rows)


def test_without_test_figures_it_does_not_pretend():
    only_val = {"val": make_record().metrics["val"]}
    card = model_card(make_record(metrics=only_val))
    assert "The test split was not read" in card and "is wrong on 25 of 100 texts of the val split" in card
    nothing = model_card(make_record(metrics={}, cost={}, training={}))
    assert (
        "evaluated on no held-out split" in nothing
        and "The model was not evaluated." in nothing
        and "## Cost" not in nothing
    )
    assert "is wrong on" not in nothing and "model-index" not in nothing


def test_random_weights_are_named_and_name_no_base_model():
    base = Ancestor(
        name="vinai/bertweet-base", revision=None, weights_sha256=None, pretrained=False, artifact=None, stage=None
    )
    card = model_card(make_record(pretrained=False, lineage=[base]))
    assert "**Not pretrained: this model started from random weights.**" in card
    assert "base_model" not in card
    assert ["this model", "finetune", "`0123456789ab`", "no: random weights"] in tables(card)


def test_hostile_labels_stay_in_their_cells():
    label = "a|b <script>\n# x ![y](http://z) `code`"
    record = make_record()
    metrics = record.metrics["test"] | {"per_class": {}}
    metrics["per_class"] = {
        (label if name == "Negative" else name): scores for name, scores in record.metrics["test"]["per_class"].items()
    }
    card = model_card(make_record(labels=[label, *LABELS[1:]], metrics={"test": metrics}))
    assert "<script>" not in card and "\n# x" not in card and "![y]" not in card
    assert [markdown(label), "1", "0.5000", "0.3333", "1.0000"] in tables(card)


def test_nothing_of_a_record_is_live_in_a_card():
    """Its lineage may be a stranger's. What is shown is what was written."""
    hostile = "![x](http://h/i.png) <img src=x> [a](b) `c` **d** &lt; a|b \x1b[31m"
    base = make_record().lineage[0].model_copy(update={"name": f"org/{hostile}", "revision": hostile, "stage": hostile})
    told = {"teachers": {hostile: {"stage": hostile}}}
    card = model_card(
        make_record(
            lineage=[base, base],
            stage=hostile,
            method=hostile,
            settings={hostile: hostile},
            training=told,
            versions={hostile: hostile},
            labels=[hostile, *LABELS[1:]],
            metrics={},
        )
    )
    body = card.split("---\n", 2)[2]
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(body)
    assert not re.search(r"<(img|a|strong|em)\b", html) and "\x1b" not in card
    assert unescape(re.sub("<[^>]*>", "", html)).count("![x](http://h/i.png) <img src=x> [a](b) `c` **d** &lt; a|b") > 9


def test_the_metadata_is_yaml():
    head = model_card(make_record()).split("---\n")[1]
    assert yaml.safe_load(head)["model-index"][0]["name"] == "finetune (full) on vader_tweets"
