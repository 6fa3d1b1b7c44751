"""Runtime for models with dynamic int8 linear layers in PyTorch, saved as safetensors.

PyTorch saves such models as pickles. Here a linear layer is saved as `NAME.weight` (int8), `NAME.weight_scale` (fp32,
one per tensor or one per row) and `NAME.bias`; all other weights are as in the fp32 model.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from chirplet.data.batching.padding import Ids
from chirplet.model.loading.foreign_code import refuse_code
from chirplet.model.loading.quiet import quiet
from chirplet.model.loading.sizes import check_sizes
from chirplet.runtime.base import Precision, Runtime, RuntimeName
from chirplet.system.error import ConfigError, ModelError, kind_and_message
from chirplet.system.hardware import set_torch_threads
from chirplet.system.optional_dependency import needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model_int8.safetensors"
SCALE = ".weight_scale"
REMEDY = 'pip install "torch<2.14"'


class PyTorchInt8Runtime(Runtime):
    """A model of `transformers` whose int8 linear layers quantize their inputs dynamically, batch by batch."""

    name: ClassVar[RuntimeName] = "pytorch_int8"
    device = "cpu"
    precision = "int8/fp32"

    def __init__(self, model: "PreTrainedModel") -> None:
        self.model = model
        self.threads = torch.get_num_threads()

    @classmethod
    def open(cls, folder: Path, accelerator: str, threads: int | None, precision: Precision) -> Self:
        """Open the model as `chirplet.runtime.open.open_runtime` does; sets the number of threads of the process."""
        if accelerator not in {"auto", "cpu"}:
            raise ConfigError(
                f"trainer.accelerator: got {accelerator!r}, should be auto or cpu: this int8 model computes on the CPU"
            )
        if precision not in {"auto", "stored"}:
            raise ConfigError(f"stage.precision: got {precision!r}, should be auto: an int8 model computes in int8")
        set_torch_threads(threads)
        return cls(load_int8(folder))

    @torch.inference_mode()
    def logits(self, input_ids: Ids, attention_mask: Ids) -> NDArray[np.float32]:
        # Packed layers accept fp32 only, so the caller's autocast must be off.
        with torch.autocast("cpu", enabled=False):
            output = self.model(input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask))
        values: NDArray[np.float32] = output.logits.numpy()
        return values


def save_int8(model: "PreTrainedModel", scales: dict[str, Tensor], folder: Path) -> None:
    """Write the configuration and the weights, with the linear layers in `scales` rounded to int8.

    Args:
        model: the fp32 model.
        scales: module name to scales, shape () for one per tensor or (out,) for one per row.
        folder: the folder for `config.json` and `model_int8.safetensors`.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    for name, scale in scales.items():
        weight = tensors[f"{name}.weight"]
        steps = weight / (scale[:, None] if scale.ndim else scale)
        tensors[f"{name}.weight"] = steps.round().clamp(-128, 127).to(torch.int8)
        tensors[name + SCALE] = scale
    model.config.save_pretrained(folder)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_int8(folder: Path) -> "PreTrainedModel":
    """The model that `save_int8` wrote.

    Raises:
        ModelError: the files are damaged, or this version of PyTorch has no dynamic int8 layers.
    """
    refuse_code(folder)
    check_sizes(folder, [folder / WEIGHTS])
    try:
        tensors = load_file(folder / WEIGHTS)
        with quiet(), torch.random.fork_rng(devices=[]):  # initial weights are discarded; keep the caller's RNG state
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).eval()
        scales = {key.removesuffix(SCALE): tensors.pop(key) for key in list(tensors) if key.endswith(SCALE)}
        weights = {name: tensors.pop(f"{name}.weight") for name in scales}
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        for name, weight in weights.items():
            parent, _, child = name.rpartition(".")
            layer = _dynamic(weight, scales[name], model.get_submodule(name).bias)
            setattr(model.get_submodule(parent), child, layer)
    except (SafetensorError, RuntimeError, AttributeError, KeyError, OSError, ValueError) as error:
        raise ModelError(f"artifact: {str(folder)!r} cannot be opened ({kind_and_message(error)})") from error
    lacking = sorted(set(missing) - {f"{name}.weight" for name in weights})
    if lacking or unexpected:
        raise ModelError(
            f"artifact: {str(folder / WEIGHTS)!r} has missing or unexpected weights: {[*lacking, *unexpected][:3]}"
        )
    loaded: PreTrainedModel = model
    return loaded


def _dynamic(weight: Tensor, scale: Tensor, bias: Tensor | None) -> nn.Module:
    with needs("torch.ao.nn.quantized.dynamic", REMEDY):
        from torch.ao.nn.quantized import dynamic

    with warnings.catch_warnings():
        # Versions of PyTorch without these functions raise in `needs`, so the deprecation warning is not needed.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
        return _packed(dynamic, weight, scale, bias)


def _packed(dynamic: Any, weight: Tensor, scale: Tensor, bias: Tensor | None) -> nn.Module:
    layer: Any = dynamic.Linear(weight.shape[1], weight.shape[0], bias_=bias is not None, dtype=torch.qint8)
    if scale.ndim:
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        packed = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
    else:
        packed = torch._make_per_tensor_quantized_tensor(weight, float(scale), 0)
    layer.set_weight_bias(packed, bias)
    built: nn.Module = layer
    return built
