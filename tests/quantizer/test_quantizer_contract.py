"""What every quantizer in conf/ must do: write files that one runtime opens and that answer nearly as before."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import PreTrainedModel

from artifacts import lively, tiny_artifact
from checkpoints import TWEETS, tiny_bert, tiny_roberta
from chirplet.artifact import PROBE
from chirplet.child import environment
from chirplet.config import bind
from chirplet.data.tokens import Tokens, tokenize
from chirplet.error import ModelError
from chirplet.metric.parameters import count_parameters
from chirplet.model.structure import encoder_layers
from chirplet.quantizer.base import Calibration, Quantizer
from chirplet.runtime.base import open_runtime, predict_logits, runtime_of
from chirplet.runtime.probe import write_probe
from chirplet.runtime.pytorch import PyTorchRuntime, load_model
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.probing import Prober, reference
from places import CONF

# Name of the YAML file: runtime, and bits of most weights.
QUANTIZERS = {
    "bf16": ("pytorch", 16),
    "fp16": ("pytorch", 16),
    "int4_weights": ("onnxruntime", 4),
    "onnx_int8": ("onnxruntime", 8),
    "openvino_int8": ("openvino", 8),
    "openvino_int8_weights": ("openvino", 8),
    "qat": ("onnxruntime", 8),
    "torch_int8": ("pytorch_int8", 8),
}
BASES = {"bert": tiny_bert, "roberta": tiny_roberta}


class Small:
    """A small artifact with its fp32 answers to the tweets."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = tiny_artifact(base, folder)
        tokenizer, self.pad_id = open_tokenizer(folder, 32)
        self.tokens: Tokens = tokenize(TWEETS, tokenizer, "twitter_roberta", 32)
        self.model: PreTrainedModel = lively(load_model(folder)).eval()
        self.logits = predict_logits(PyTorchRuntime(self.model, bf16=False), self.tokens, self.pad_id, 4)

    def answers(self, folder: Path, batch_size: int = 4) -> np.ndarray:
        runtime = open_runtime(folder, accelerator="cpu", threads=1, precision="stored")
        return predict_logits(runtime, self.tokens, self.pad_id, batch_size)


@pytest.fixture(scope="module", params=BASES)
def small(request, tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp(request.param)
    return Small(folder / "artifact", BASES[request.param](folder / "base"))


def quantizer(name: str, **changes) -> Quantizer:
    parts = {}
    content = yaml.safe_load((CONF / "quantizer" / f"{name}.yaml").read_text())
    for base in content.pop("defaults", []):
        if base != "_self_":
            parts |= yaml.safe_load((CONF / "quantizer" / f"{base}.yaml").read_text())
    return bind(parts | content | changes, "quantizer")


def prepared(name: str, small: Small, workspace: Path, **changes):
    workspace.mkdir(exist_ok=True)
    return quantizer(name, **changes).prepare(small.model, Calibration(small.tokens, small.pad_id), workspace)


def test_every_quantizer_is_here():
    assert sorted(QUANTIZERS) == sorted(path.stem for path in (CONF / "quantizer").glob("*.yaml"))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_contract(name, small, tmp_path):
    before = {key: value.clone() for key, value in small.model.state_dict().items()}
    quantization = prepared(name, small, tmp_path / "work")
    written = tmp_path / "written"
    written.mkdir()
    quantization.write(written, ())
    runtime, bits = QUANTIZERS[name]
    assert runtime_of(written) == runtime
    spread = small.logits.std()
    found = small.answers(written)
    assert found.shape == small.logits.shape and found.dtype == np.float32
    assert np.sqrt(np.square(found - small.logits).mean()) < 0.25 * spread, "the answers are others"
    assert not np.array_equal(found, small.logits), "nothing was quantized"
    counts = count_parameters(written)
    fp32 = sum(parameter.numel() for parameter in small.model.parameters())
    assert 0.9 * fp32 <= counts["params_packed"] <= fp32
    for key, value in small.model.state_dict().items():
        assert torch.equal(value, before[key]), "the model given was changed"
    assert all(isinstance(value, str | bool | int) for value in quantization.facts.values())
    if bits <= 8:
        assert quantization.layers, "nothing can be kept"


@pytest.mark.parametrize("name", [name for name, (_, bits) in QUANTIZERS.items() if bits <= 8])
def test_what_is_kept_is_as_it_was(name, small, tmp_path):
    quantization = prepared(name, small, tmp_path / "work")
    errors = []
    for kept in ((), quantization.layers[: len(quantization.layers) // 2], quantization.layers):
        folder = tmp_path / str(len(kept))
        folder.mkdir()
        quantization.write(folder, kept)
        errors.append(float(np.abs(small.answers(folder) - small.logits).max()))
    assert errors[2] < 0.05 * np.abs(small.logits).max()
    if not name.startswith("openvino"):
        # OpenVINO computes what is not int8 in bf16 where the CPU has it, which rounds as roughly as int8 weights do.
        assert errors[2] < errors[0]


@pytest.mark.parametrize("name", ["onnx_int8", "openvino_int8_weights"])
def test_a_layer_alone_can_be_quantized(name, small, tmp_path):
    quantization = prepared(name, small, tmp_path / "work")
    for place, layer in enumerate(quantization.layers[:4]):
        folder = tmp_path / str(place)
        folder.mkdir()
        quantization.write(folder, [other for other in quantization.layers if other != layer])
        assert np.isfinite(small.answers(folder)).all()


@pytest.mark.parametrize("name", ["int4_weights", "openvino_int8", "openvino_int8_weights"])
def test_neighbours_do_not_matter_where_scales_are_not_the_batchs(name, small, tmp_path):
    quantization = prepared(name, small, tmp_path / "work")
    (tmp_path / "out").mkdir()
    quantization.write(tmp_path / "out", ())
    alone, among = (small.answers(tmp_path / "out", size) for size in (1, len(small.tokens)))
    np.testing.assert_array_equal(alone.argmax(axis=1), among.argmax(axis=1))


@pytest.fixture(scope="module")
def probed(small, tmp_path_factory) -> dict[str, Path]:
    """What each quantizer makes, with its probe."""
    folders = {}
    for name in QUANTIZERS:
        place = tmp_path_factory.mktemp(name)
        folders[name] = place / "made"
        folders[name].mkdir()
        prepared(name, small, place / "work").write(folders[name], ())
        tokenizer, pad_id = open_tokenizer(small.folder, 32)
        probe = Prober(small.model, tokenizer, pad_id, 32).probe(reference(folders[name], "cpu", None))
        write_probe(folders[name], probe)
    return folders


def negated(model: PreTrainedModel) -> None:
    _head(model).weight.neg_()


def swapped(model: PreTrainedModel) -> None:
    weight = _head(model).weight
    weight[[0, 2]] = weight[[2, 0]]


def damaged(model: PreTrainedModel) -> None:
    encoder_layers(model)[1].output.LayerNorm.weight.neg_()


def _head(model: PreTrainedModel) -> torch.nn.Linear:
    *_, head = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return head


@pytest.mark.parametrize("change", [negated, swapped, damaged])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_another_model_does_not_answer_the_probe(name, change, small, probed, tmp_path):
    open_runtime(probed[name], accelerator="cpu", threads=2, precision="stored")
    other = copy.copy(small)
    other.model = copy.deepcopy(small.model)
    with torch.no_grad():
        change(other.model)
    made = tmp_path / "made"
    made.mkdir()
    prepared(name, other, tmp_path / "work").write(made, ())
    shutil.copy(probed[name] / PROBE, made)
    with pytest.raises(ModelError, match="answers its probe otherwise here"):
        open_runtime(made, accelerator="cpu", threads=2, precision="stored")


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}
FORCED = {
    "own": {},
    "avx2": AVX2 | dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), "AVX2"),
    "vnni": dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), "AVX512_CORE_VNNI"),
}
OPEN = """
import sys
from pathlib import Path
from chirplet.runtime.base import open_runtime
for folder, precision in zip(sys.argv[1::2], sys.argv[2::2]):
    open_runtime(Path(folder), accelerator="cpu", threads=2, precision=precision)
"""


@pytest.mark.parametrize("forced", FORCED)
def test_any_instruction_set_and_precision_passes(forced, probed):
    """What the libraries can be told to do without; ONNX Runtime takes what the CPU has.

    Its weights of eight bits are refused without VNNI, which has a test of its own.
    """
    saturate = {"onnx_int8", "qat"} if forced == "avx2" else set()
    opened = [(folder, "auto") for name, folder in probed.items() if name not in saturate]
    opened += [(folder, "32-true") for name, folder in probed.items() if name.startswith("openvino")]
    arguments = [str(part) for pair in opened for part in pair]
    subprocess.run([sys.executable, "-c", OPEN, *arguments], env=environment(**FORCED[forced]), check=True)


def test_reduced_range_is_seven_bits(small, tmp_path):
    import onnx

    for reduced, largest in ((True, 63), (False, 127)):
        quantization = prepared("onnx_int8", small, tmp_path / "work", reduce_range=reduced)
        assert quantization.facts["reduce_range"] is reduced
        quantization.write(tmp_path, ())
        graph = onnx.load(tmp_path / "model.onnx").graph
        weights = [
            onnx.numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("dense.weight")
        ]
        assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == largest
