"""Runtime for models of `transformers` in PyTorch, with weights from safetensors."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from chirplet.data.batching.padding import Ids
from chirplet.model.loading.foreign_code import refuse_code
from chirplet.model.loading.quiet import quiet
from chirplet.model.loading.sizes import check_sizes
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.system.error import ConfigError, ModelError, kind_and_message
from chirplet.system.hardware import bf16_is_native, device_of, set_torch_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PyTorchRuntime(Runtime):
    """A model in memory, computed under bf16 autocast if `bf16` is true, else in the dtype of its weights."""

    name: ClassVar[RuntimeName] = "pytorch"

    def __init__(self, model: "PreTrainedModel", bf16: bool) -> None:
        self.model = model
        self.bf16 = bf16
        weights = str(model.dtype).removeprefix("torch.")
        self.precision = "bf16-mixed" if bf16 else {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[weights]
        self.device = model.device.type
        self.threads = torch.get_num_threads()

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """Open the model as `chirplet.runtime.open.open_runtime` does; sets the number of threads of the process."""
        device = device_of(accelerator)
        set_torch_threads(threads)
        model = load_model(folder)
        if precision == "bf16-mixed" and model.dtype != torch.float32:
            raise ConfigError(
                f"stage.precision: got {precision!r}, but the weights are {model.dtype}; auto computes in their dtype"
            )
        if precision == "32-true":
            model = model.float()
        bf16 = model.dtype == torch.float32 and (
            precision == "bf16-mixed" or (precision == "auto" and bf16_is_native(device))
        )
        return cls(model.to(device).eval(), bf16)  # type: ignore[arg-type]

    @torch.inference_mode()
    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        device = self.model.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            output = self.model(
                input_ids=torch.from_numpy(input_ids).to(device),
                attention_mask=torch.from_numpy(attention_mask).to(device),
            )
        values: NDArray[np.float32] = output.logits.float().cpu().numpy()
        return values


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
