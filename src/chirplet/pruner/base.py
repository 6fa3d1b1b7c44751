"""The interface of pruners."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chirplet.config.schema import Count, Fraction, Settings
from chirplet.model.loading.blueprint import Blueprint
from chirplet.pruner.masking.calibration import CalibrationData

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chirplet.pruner.masking.schedule import Masking
    from chirplet.pruner.masking.sparsity_curve import CurveEvaluator

Masks = Mapping[str, "Tensor"]
"""By the name of a parameter, whether each of its weights is kept: boolean, of the parameter's shape."""


@dataclass(frozen=True)
class Pruned:
    """A pruned model, its tokenizer, the masks that recovery must respect, and facts for the record."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    masks: Masks
    facts: dict[str, Any]


class Pruner(Settings, ABC):
    """Settings of one pruning method."""

    at_once: ClassVar[str] = ""
    """The override that makes `trained` false, if there is one."""

    @property
    def trained(self) -> bool:
        """Whether the method prunes during the recovery, which is then required."""
        return False

    def check(self, model: Blueprint) -> Blueprint:
        """Check that the method supports a model, before it has weights.

        Returns:
            The blueprint of the pruned model.

        Raises:
            PruningError: it does not.
        """
        return model

    def check_weights(self, model: "PreTrainedModel") -> None:
        """Check that the method can prune the model's weights further, before anything is computed.

        Raises:
            PruningError: it cannot.
        """

    def reached(self, model: "PreTrainedModel") -> float | None:
        """The share of zeros among the weights in scope; None for methods that do not prune single weights."""
        return None

    def trials(
        self,
        model: "PreTrainedModel",
        calibration: CalibrationData,
        sparsities: Sequence[float],
        evaluator: "Callable[[], CurveEvaluator]",
    ) -> dict[str, Any]:
        """Evaluate the model pruned to each sparsity, without training. The model is restored afterwards.

        Returns:
            `curve`, `layer_losses` and `breaks_first` for the record; empty for methods without such trials.
        """
        return {}

    @abstractmethod
    def prune(self, model: "PreTrainedModel", calibration: CalibrationData) -> Pruned:
        """Prune as far as possible without training.

        Args:
            model: a trained classifier in fp32, on the CPU, in evaluation mode. It may be modified.
            calibration: train texts.

        Raises:
            PruningError: the method cannot prune the model.
        """

    def masking(self, pruned: Pruned, calibration: CalibrationData, steps: int) -> "Masking":
        """The module that applies the masks over `steps` optimizer steps of recovery."""
        from chirplet.pruner.masking.schedule import Masking

        return Masking(pruned.model, pruned.masks)


class ScoredPruner(Pruner, ABC):
    """Sets the weights with the lowest scores to zero, a share `sparsity` of all weights in `scope`.

    `one_shot` prunes before the recovery. `cubic` raises sparsity over the first `ramp_fraction` of the recovery's
    steps and computes the scores again every `every_steps`. Weights that are zero before stay zero and count.
    """

    sparsity: Fraction
    scope: Literal["body", "linear", "all"]
    schedule: Literal["one_shot", "cubic"]
    ramp_fraction: Fraction
    every_steps: Count

    at_once = "pruner.schedule=one_shot"

    @property
    def trained(self) -> bool:
        """Whether the schedule is `cubic`."""
        return self.schedule == "cubic"

    def check_weights(self, model: "PreTrainedModel") -> None:
        from chirplet.pruner.masking.masks import check_sparsity, prunable

        check_sparsity(prunable(model, self.scope), self.sparsity)

    def reached(self, model: "PreTrainedModel") -> float | None:
        from chirplet.pruner.masking.masks import prunable, sparsity_of

        return sparsity_of(prunable(model, self.scope))

    @abstractmethod
    def masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        """Masks that keep the weights with the highest scores in the current `model`."""

    def checked_masks(self, model: "PreTrainedModel", calibration: CalibrationData, sparsity: float) -> Masks:
        """`masks`, checked.

        Raises:
            PruningError: a layer would have no weight left.
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
        """Evaluate each sparsity that is not below the model's, and each layer alone at `sparsity`."""
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
