"""Which layers bear being quantized: each alone is asked, and the most sensitive are kept until the whole is right."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from chirplet.error import QuantizationError


@dataclass(frozen=True)
class Quality:
    """How right a model is: mean cross-entropy in nats, and the share of tweets that it labels rightly."""

    loss: float
    accuracy: float


def sensitivities(
    layers: Collection[str], fp32: Quality, judge: Callable[[Collection[str]], Quality]
) -> dict[str, float]:
    """How much the loss rises, in nats, when each layer alone is quantized; the most sensitive first.

    Args:
        layers: all that can be quantized.
        fp32: of the model as it was, on the tweets that `judge` looks at.
        judge: the quality of the model with these layers kept.
    """
    rises = {layer: judge([other for other in layers if other != layer]).loss - fp32.loss for layer in layers}
    return dict(sorted(rises.items(), key=lambda pair: -pair[1]))


def fewest_kept(
    by_sensitivity: Collection[str],
    fp32: Quality,
    tolerance: float,
    judge: Callable[[Collection[str]], Quality],
) -> tuple[list[str], list[dict[str, Any]]]:
    """The layers to keep, and an account of what was tried.

    The most sensitive are kept, twice as many each time, until the drop of accuracy is within `tolerance`; then the
    fewest that do are looked for by bisection.

    Raises:
        QuantizationError: it never is, or there are no layers that could be kept.
    """
    order = list(by_sensitivity)
    tried: list[dict[str, Any]] = []

    def within(count: int) -> bool:
        quality = judge(order[:count])
        tried.append({"kept": count, "accuracy": quality.accuracy, "loss": quality.loss})
        return fp32.accuracy - quality.accuracy <= tolerance

    failed, count = -1, 0
    while not within(count):
        if count == len(order):
            drop = fp32.accuracy - tried[-1]["accuracy"]
            kept = f"with all {count} layers kept" if order else "and this quantizer has no layers to keep"
            raise QuantizationError(
                f"stage.tolerance: got {tolerance}, but accuracy on val drops by {drop:.4f} {kept}; "
                "should be more, or null, which takes any"
            )
        failed, count = count, min(max(1, 2 * count), len(order))
    while count - failed > 1:
        middle = (count + failed) // 2
        failed, count = (failed, middle) if within(middle) else (middle, count)
    return order[:count], tried
