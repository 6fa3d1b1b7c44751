"""Names of metrics, those of labels among them."""

import pytest

from chirplet.metric.classification import evaluate
from chirplet.metric.names import METRICS, check_labels, known_metric, label_names, monitor_mode, of_labels, scalars
from chirplet.system.error import ConfigError


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["Extremely Negative", "N/A", "x"], ["extremely_negative", "n_a", "x"]),
        (["A", "a"], ["A", "a"]),
        (["😀", "b c"], ["😀", "b c"]),
    ],
)
def test_labels_in_names_are_in_snake_case_unless_two_would_be_the_same(labels, names):
    assert label_names(labels) == names


def test_scalars_are_the_metrics_of_the_split_and_of_each_label():
    logits = [[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [2.0, 0.0]]
    metrics = evaluate(logits, [0, 0, 0, 1, 1], ("Very bad", "macro"))
    numbers = scalars(metrics)
    assert set(numbers) == {*METRICS, *of_labels(["Very bad", "macro"])}
    assert numbers["recall_very_bad"] == pytest.approx(2 / 3)
    # A label that has the name of a mean does not replace it.
    assert numbers["f1_macro"] == metrics["f1_macro"] != metrics["per_class"]["macro"]["f1"]


def test_a_record_of_an_earlier_version_has_fewer():
    metrics = evaluate([[2.0, 0.0], [0.0, 2.0]], [0, 1], "ab")
    del metrics["mcc"]
    assert "mcc" not in scalars(metrics) and "f1_a" in scalars(metrics)


def test_losses_and_errors_are_minimized():
    less = [name for name in (*METRICS, "f1_loss", "recall_a/loss") if monitor_mode(f"val/{name}") == "min"]
    assert less == ["loss", "calibration_error"]
    assert known_metric("f1_loss") and not known_metric("f2_loss") and not known_metric("f1_")


def test_a_label_that_the_texts_do_not_have():
    monitors = {"objective": "val/f1_Odd", "callback.a.monitor": "val/f1_Odd", "callback.b.monitor": "val/loss"}
    with pytest.raises(ConfigError) as caught:
        check_labels(monitors, ["odd", "usual"])
    line = str(caught.value)
    assert line.startswith("objective: got 'val/f1_Odd', should be one of val/accuracy, val/loss,")
    assert line.endswith("val/recall_odd, val/recall_usual; did you mean 'val/f1_odd'?") and "\n" not in line
    check_labels({"objective": "val/precision_usual"}, ["odd", "usual"])
