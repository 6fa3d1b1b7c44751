"""Search the fewest layers to exclude from quantization, the most sensitive first."""

from collections.abc import Callable, Collection
from typing import Any

from chirplet.evaluation.evaluator import Quality
from chirplet.system.error import QuantizationError
from chirplet.system.progress import Progress

ROUNDING = 1e-6
"""Allowance for accuracies rounded to fp32, equal to one text in a million."""


def sensitivities(
    layers: Collection[str], fp32: Quality, evaluate_splits: Callable[[Collection[str]], Quality]
) -> dict[str, dict[str, float]]:
    """`divergence` and `loss_rise`, in nats, when each layer alone is quantized; the most sensitive first.

    Layers are ordered by divergence, since on few texts the loss falls about as often as it rises.

    Args:
        layers: all layers that can be quantized.
        fp32: the quality of the fp32 model, on the texts of `evaluate_splits`.
        evaluate_splits: returns the quality of the model with the given layers excluded.
    """
    results = {}
    with Progress("measuring how sensitive layers are", len(layers), "layers") as progress:
        for layer in progress(layers):
            quality = evaluate_splits([other for other in layers if other != layer])
            results[layer] = {"divergence": quality.divergence, "loss_rise": quality.loss - fp32.loss}
    return dict(sorted(results.items(), key=lambda pair: -pair[1]["divergence"]))


def fewest_excluded(
    by_sensitivity: Collection[str],
    fp32: Quality,
    tolerance: float,
    evaluate_splits: Callable[[Collection[str]], Quality],
) -> tuple[list[str], list[dict[str, Any]]]:
    """The layers to exclude, and the results of all trials.

    The search excludes the most sensitive layers, doubling their number until the drop of accuracy
    (`Quality.drop_from`) is within `tolerance`, and then bisects for the smallest number.

    Raises:
        QuantizationError: the drop exceeds `tolerance` with all layers excluded, or there are no layers to exclude.
    """
    order = list(by_sensitivity)
    tried: list[dict[str, Any]] = []

    def within(count: int) -> bool:
        quality = evaluate_splits(order[:count])
        metrics = {"accuracy": quality.accuracy, "expected_drop": quality.expected_drop, "loss": quality.loss}
        tried.append({"excluded_layers": count} | metrics)
        return quality.drop_from(fp32) <= tolerance + ROUNDING

    failed, count = -1, 0
    while not within(count):
        if count == len(order):
            measured, expected = fp32.accuracy - tried[-1]["accuracy"], tried[-1]["expected_drop"]
            drop = f"{measured:.4f}" if expected is None else f"{measured:.4f} (measured) and {expected:.4f} (expected)"
            excluded = f"with all {count} layers excluded" if order else "and this quantizer has no layers to exclude"
            raise QuantizationError(
                f"stage.tolerance: got {tolerance}, but accuracy on val drops by {drop} {excluded}; "
                "should be more, or null, which accepts any drop"
            )
        failed, count = count, min(max(1, 2 * count), len(order))
    while count - failed > 1:
        middle = (count + failed) // 2
        failed, count = (failed, middle) if within(middle) else (middle, count)
    return order[:count], tried
