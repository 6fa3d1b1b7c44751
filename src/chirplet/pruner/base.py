"""What a pruner is: settings that find out what a model can do without, and take it away."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chirplet.config.schema import Count, Fraction, Settings
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chirplet.pruner.masking.schedule import Masking
    from chirplet.pruner.masking.sparsity_curve import CurveEvaluator

Masks = Mapping[str, "Tensor"]
"""By the name of a parameter, which of its numbers are kept: boolean, of the parameter's shape."""


@dataclass(frozen=True)
class Pruned:
    """What is left of a model: itself, the tokenizer that goes along, the masks that recovery has to keep to.

    `facts` is what was decided on the way, for the record.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    masks: Masks
    facts: dict[str, Any]


class Pruner(Settings, ABC):
    """Settings of one way to prune."""

    at_once: ClassVar[str] = ""
    """The override for `trained` to be false, where there is one."""

    @property
    def trained(self) -> bool:
        """Whether pruning goes on during the recovery, which there has to be then."""
        return False

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """See that model and tokenizer can be pruned so, before anything is computed.

        Raises:
            PruningError: it cannot.
        """

    def reached(self, model: "PreTrainedModel") -> float | None:
        """The share of zeros among the weights in scope, where single ones are pruned."""
        return None

    def trials(
        self,
        model: "PreTrainedModel",
        calibration: CalibrationData,
        sparsities: Sequence[float],
        evaluator: "Callable[[], CurveEvaluator]",
    ) -> dict[str, Any]:
        """What pruning to these sparsities, without any training, does to validation texts; the model stays as it is.

        Returns:
            `curve`, `layer_losses` and `breaks_first`, for the record; nothing for a pruner without such trials.
        """
        return {}

    @abstractmethod
    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        """Take away what can go before any training.

        Args:
            model: a trained classifier in fp32, on the CPU, in evaluation mode; it may be changed.
            evidence: train texts.

        Raises:
            PruningError: the model cannot be pruned so.
        """

    def masking(self, pruned: Pruned, calibration: CalibrationData, steps: int) -> "Masking":
        """What holds the masks over so many optimizer steps of recovery."""
        from chirplet.pruner.masking.schedule import Masking

        return Masking(pruned.model, pruned.masks)


class ScoredPruner(Pruner, ABC):
    """Sets the weights with the lowest scores to zero, `sparsity` of all in `scope`.

    `one_shot` does it at once. `cubic` raises sparsity over the first `ramp_fraction` of the recovery's steps and
    scores anew every `every_steps`. Weights that are zero before stay zero and count.
    """

    sparsity: Fraction
    scope: Literal["body", "linear", "all"]
    schedule: Literal["one_shot", "cubic"]
    ramp_fraction: Fraction
    every_steps: Count

    at_once = "pruner.schedule=one_shot"

    @property
    def trained(self) -> bool:
        """With a schedule."""
        return self.schedule == "cubic"

    def check(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        from chirplet.pruner.masking.masks import check_sparsity, prunable

        check_sparsity(prunable(model, self.scope), self.sparsity)

    def reached(self, model: "PreTrainedModel") -> float | None:
        from chirplet.pruner.masking.masks import prunable, sparsity_of

        return sparsity_of(prunable(model, self.scope))

    @abstractmethod
    def masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        """Masks that keep what scores highest in `model` as it is now."""

    def checked_masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        """The same.

        Raises:
            PruningError: they would leave nothing of a layer.
        """
        from chirplet.pruner.masking.masks import check_alive

        masks = self.masks(model, calibration, sparsity)
        check_alive(masks, sparsity)
        return masks

    def trials(
        self,
        model: "PreTrainedModel",
        calibration: CalibrationData,
        sparsities: Sequence[float],
        evaluator: "Callable[[], CurveEvaluator]",
    ) -> dict[str, Any]:
        """Each sparsity that is not below the model's, and each layer alone at `sparsity`."""
        from chirplet.pruner.masking.masks import prunable, takes_back
        from chirplet.pruner.masking.sparsity_curve import curve, layer_losses

        evaluated = evaluator()
        losses = layer_losses(model, self.checked_masks(model, calibration, self.sparsity), evaluated)
        weights = prunable(model, self.scope)
        possible = [sparsity for sparsity in sparsities if not takes_back(weights, sparsity)]
        return {
            "curve": curve(model, partial(self.masks, model, calibration), possible, evaluated),
            "layer_losses": losses,
            "breaks_first": losses.index(max(losses)),
        }

    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        from chirplet.pruner.masking.masks import apply_masks, prunable

        weights = prunable(model, self.scope)
        masks = self.checked_masks(model, calibration, self.sparsity)
        if self.trained:
            masks = {name: weight != 0 for name, weight in weights.items()}
        apply_masks(weights, masks)
        return Pruned(model, calibration.tokenizer, masks, {})

    def masking(self, pruned: Pruned, calibration: CalibrationData, steps: int) -> "Masking":
        if not self.trained:
            return super().masking(pruned, calibration, steps)
        from chirplet.pruner.masking.masks import Ramp, prunable, sparsity_of
        from chirplet.pruner.masking.schedule import Rising

        initial = sparsity_of(prunable(pruned.model, self.scope))
        ramp = Ramp(initial, self.sparsity, int(self.ramp_fraction * steps), self.every_steps)
        return Rising(pruned.model, pruned.masks, partial(self.checked_masks, pruned.model, calibration), ramp)
