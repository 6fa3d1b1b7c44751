"""Which layers bear being quantized: each alone is asked, and the most sensitive are kept until the whole is right."""

from collections.abc import Callable, Collection
from typing import Any

from chirplet.evaluation.evaluator import Quality
from chirplet.system.error import QuantizationError

ROUNDING = 1e-6
"""Accuracies are logged in fp32; one text of a million weighs as much."""


def sensitivities(
    layers: Collection[str], fp32: Quality, evaluate_splits: Callable[[Collection[str]], Quality]
) -> dict[str, dict[str, float]]:
    """`divergence` and `loss_rise`, in nats, when each layer alone is quantized; the most sensitive first.

    Layers are ordered by divergence: on few texts the loss falls about as often as it rises, whatever a layer loses.

    Args:
        layers: all that can be quantized.
        fp32: of the model as it was, on the texts that `judge` looks at.
        judge: the quality of the model with these layers kept.
    """
    found = {}
    for layer in layers:
        quality = evaluate_splits([other for other in layers if other != layer])
        found[layer] = {"divergence": quality.divergence, "loss_rise": quality.loss - fp32.loss}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]["divergence"]))


def fewest_excluded(
    by_sensitivity: Collection[str],
    fp32: Quality,
    tolerance: float,
    evaluate_splits: Callable[[Collection[str]], Quality],
) -> tuple[list[str], list[dict[str, Any]]]:
    """The layers to keep, and an account of what was tried.

    The most sensitive are kept, twice as many each time, until the drop of accuracy (`Quality.drop_from`) is within
    `tolerance`; then the fewest that do are looked for by bisection.

    Raises:
        QuantizationError: it never is, or there are no layers that could be kept.
    """
    order = list(by_sensitivity)
    tried: list[dict[str, Any]] = []

    def within(count: int) -> bool:
        quality = evaluate_splits(order[:count])
        told = {"accuracy": quality.accuracy, "expected_drop": quality.expected_drop, "loss": quality.loss}
        tried.append({"excluded_layers": count} | told)
        return quality.drop_from(fp32) <= tolerance + ROUNDING

    failed, count = -1, 0
    while not within(count):
        if count == len(order):
            counted, expected = fp32.accuracy - tried[-1]["accuracy"], tried[-1]["expected_drop"]
            drop = f"{counted:.4f}" if expected is None else f"{counted:.4f} as counted, {expected:.4f} as expected,"
            excluded = f"with all {count} layers kept" if order else "and this quantizer has no layers to keep"
            raise QuantizationError(
                f"stage.tolerance: got {tolerance}, but accuracy on val drops by {drop} {excluded}; "
                "should be more, or null, which takes any"
            )
        failed, count = count, min(max(1, 2 * count), len(order))
    while count - failed > 1:
        middle = (count + failed) // 2
        failed, count = (failed, middle) if within(middle) else (middle, count)
    return order[:count], tried
