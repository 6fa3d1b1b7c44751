"""Runtime for models of `transformers` in PyTorch, with weights from safetensors."""

import logging
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForSequenceClassification

from chirplet.data.batching.padding import Ids
from chirplet.model.family import PostNormFamily, family_of
from chirplet.model.fast_forward.encoder import first_token_states
from chirplet.model.loading.foreign_code import refuse_code
from chirplet.model.loading.quiet import quiet
from chirplet.model.loading.sizes import check_sizes
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.runtime.device_queue import Batch, DeviceQueue
from chirplet.system.error import ConfigError, ModelError, kind_and_message
from chirplet.system.hardware import automatic_precision, device_of, set_torch_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel


logger = logging.getLogger(__name__)

ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""The dtype of matrix products by mixed precision."""


class PyTorchRuntime(Runtime):
    """A model in memory, computed under autocast to `half`, or in the dtype of its weights.

    On a GPU, chirplet's encoder computes the models of a `PostNormFamily`, captured in CUDA graphs. On other devices
    `transformers` does.
    """

    name: ClassVar[RuntimeName] = "pytorch"

    def __init__(self, model: "PreTrainedModel", half: torch.dtype | None = None) -> None:
        self.model = model
        self.half = half
        weights = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[model.dtype]
        self.precision = next((name for name, dtype in HALF.items() if dtype == half), weights)
        self.device = model.device.type
        self.threads = torch.get_num_threads()
        self.queue = self.device_queue() if self.device == "cuda" else None

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """Open the model as `chirplet.runtime.open.open_runtime` does; sets the number of threads of the process."""
        device = device_of(accelerator)
        if precision == "16-mixed" and device.type == "cpu":
            raise ConfigError("stage.precision: got '16-mixed', should be auto or bf16-mixed without a GPU")
        set_torch_threads(threads)
        model = load_model(folder)
        if precision in HALF and model.dtype != torch.float32:
            raise ConfigError(
                f"stage.precision: got {precision!r}, but the weights are {model.dtype}; auto computes in their dtype"
            )
        if precision == "32-true":
            model = model.float()
        if precision == "auto" and model.dtype == torch.float32:
            precision = automatic_precision(device)
        return cls(model.to(device).eval(), HALF.get(precision))  # type: ignore[arg-type]

    @property
    def batch_texts(self) -> int:
        """More on a GPU, which launches the kernels of a large batch in the time of those of a small one."""
        return super().batch_texts if self.queue is None else 256

    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        return next(iter(self.logits_of_each([(input_ids, attention_mask)])))

    def logits_of_each(self, batches: Iterable[tuple[Ids, Ids]]) -> Iterator[NDArray[np.float32]]:
        """Logits of each batch; on a GPU nothing waits for one before the next is sent."""
        return map(self._logits, batches) if self.queue is None else self.queue.logits_of_each(batches)

    @torch.inference_mode()
    def _logits(self, batch: tuple[Ids, Ids]) -> NDArray[np.float32]:
        device = self.model.device
        ids, mask = (torch.from_numpy(values).to(device) for values in batch)
        logits = _by_transformers(self.model, self.half, {"input_ids": ids, "attention_mask": mask})["logits"]
        values: NDArray[np.float32] = logits.cpu().numpy()
        return values

    def device_queue(self) -> DeviceQueue:
        """What computes on a GPU: captured if the family has a fast forward pass, which reads nothing from it."""
        model, half, family = self.model, self.half, family_of(self.model)
        if not isinstance(family, PostNormFamily):
            _warn_uncaptured(model.config.model_type)
            return DeviceQueue(partial(_by_transformers, model, half), model.device, None)
        if half is None:
            half = None if model.dtype == torch.float32 else model.dtype
        else:
            model = _in_half(model, family, half)
        function = partial(_by_chirplet, model, half, family)
        return DeviceQueue(function, model.device, family.longest_input(model.config))


def _by_transformers(model: "PreTrainedModel", half: torch.dtype | None, batch: Batch) -> Batch:
    with torch.autocast(model.device.type, half, enabled=half is not None):
        return {"logits": model(**batch).logits.float()}


def _by_chirplet(model: "PreTrainedModel", half: torch.dtype | None, family: PostNormFamily, batch: Batch) -> Batch:
    # cuDNN's attention prepares a plan for every shape.
    with sdpa_kernel(ATTENTION), torch.autocast(model.device.type, half, enabled=half is not None):
        states = first_token_states(model, batch["input_ids"], batch["attention_mask"], packed=False)
        return {"logits": family.head_logits(model, states).float()}


def _in_half(model: "PreTrainedModel", family: PostNormFamily, half: torch.dtype) -> "PreTrainedModel":
    """The model with its layers' weights in `half`, which autocast would cast in every batch; the rest is shared."""
    of_layers = {id(parameter) for layer in family.layers(model) for parameter in layer.parameters()}
    shared: dict[int, Any] = {id(one): one for one in model.parameters() if id(one) not in of_layers}
    halved = deepcopy(model, shared)
    for layer in family.layers(halved):
        layer.to(half)
    return halved


@cache
def _warn_uncaptured(kind: str) -> None:
    logger.warning("models of type %r have no fast forward pass: their inference is not captured in CUDA graphs", kind)


def load_model(folder: Path) -> "PreTrainedModel":
    """The classifier saved in `folder`, in the dtype of its weights.

    Raises:
        ModelError: the files are damaged, or weights are missing.
    """
    refuse_code(folder)
    check_sizes(folder, [folder / "model.safetensors"])
    try:
        with quiet():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype="auto",
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many classes for damaged files
        raise ModelError(f"artifact: {str(folder)!r} cannot be opened ({kind_and_message(error)})") from error
    # transformers initialises missing weights at random and continues.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(f"artifact: {str(folder)!r} lacks {len(missing)} weights ({missing[0]}, ...)")
    loaded: PreTrainedModel = model
    return loaded
