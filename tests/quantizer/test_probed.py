"""Quantized models pass their probe with any correct kernels, and other models fail it."""

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from checkpoints import tiny_bert
from chirplet.model.family import family_of
from chirplet.runtime.base import Precision
from chirplet.runtime.open import open_runtime
from chirplet.runtime.probe import read_probe, write_probe
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.stage.output.make_probe import Prober, reference
from chirplet.system.child_process import environment
from chirplet.system.error import ModelError
from quantizing import QUANTIZERS, Small, prepared


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    folder = tmp_path_factory.mktemp("bert")
    return Small(folder / "artifact", tiny_bert(folder / "base"))


@pytest.fixture(scope="module")
def probed(small, tmp_path_factory) -> dict[str, Path]:
    """The artifact of each quantizer, with its probe."""
    folders = {}
    for name in QUANTIZERS:
        root = tmp_path_factory.mktemp(name)
        folders[name] = root / "made"
        folders[name].mkdir()
        prepared(name, small, root / "work").write(folders[name], ())
        tokenizer, pad_id = open_tokenizer(small.folder, 32)
        probe = Prober(small.model, tokenizer, pad_id, 32).probe(reference(folders[name], "cpu", None))
        write_probe(folders[name], probe)
    return folders


@pytest.fixture(scope="module")
def prober_of(small) -> Callable[[Callable[[PreTrainedModel], None]], Prober]:
    """Makes probes of the model after a change."""

    @cache
    def changed(change: Callable[[PreTrainedModel], None]) -> Prober:
        other = copy.deepcopy(small.model)
        with torch.no_grad():
            change(other)
        return Prober(other, *open_tokenizer(small.folder, 32), 32)

    return changed


def negated(model: PreTrainedModel) -> None:
    _head(model).weight.neg_()


def swapped(model: PreTrainedModel) -> None:
    weight = _head(model).weight
    weight[[0, 2]] = weight[[2, 0]]


def damaged(model: PreTrainedModel) -> None:
    family_of(model).layers(model)[1].output.LayerNorm.weight.neg_()


def _head(model: PreTrainedModel) -> torch.nn.Linear:
    *_, head = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return head


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, damaged) for name in QUANTIZERS if name != "qat"),  # which writes what onnx_int8 does
        *((name, change) for name in ("bf16", "onnx_int8", "torch_int8") for change in (negated, swapped)),
    ],
)
def test_the_probe_of_another_model_is_not_answered(name, change, probed, prober_of, tmp_path):
    open_runtime(probed[name], accelerator="cpu", threads=1, precision="stored")
    made = Path(shutil.copytree(probed[name], tmp_path / "made"))
    write_probe(made, prober_of(change).near_fp32(read_probe(made).accepted))
    with pytest.raises(ModelError, match="does not reproduce its probe here"):
        open_runtime(made, accelerator="cpu", threads=1, precision="stored")


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}
FORCED = {
    "avx2": AVX2 | dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), "AVX2"),
    "vnni": dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "OV_CPU_MAX_ISA"), "AVX512_CORE_VNNI"),
}
OPEN = """
import sys
from pathlib import Path
from chirplet.runtime.open import open_runtime
for folder, precision in zip(sys.argv[1::2], sys.argv[2::2]):
    open_runtime(Path(folder), accelerator="cpu", threads=2, precision=precision)
"""


def in_every_precision(probed: dict[str, Path], saturate: set[str]) -> list[tuple[Path, Precision]]:
    opened: list[tuple[Path, Precision]] = [(folder, "auto") for name, folder in probed.items() if name not in saturate]
    return [*opened, *((folder, "32-true") for name, folder in probed.items() if name.startswith("openvino"))]


def test_any_precision_passes(probed):
    for folder, precision in in_every_precision(probed, set()):
        assert open_runtime(folder, accelerator="cpu", threads=2, precision=precision).probe is not None


@pytest.mark.parametrize("forced", FORCED)
def test_any_instruction_set_and_precision_passes(forced, probed):
    """What the libraries can be told to do without; ONNX Runtime takes what the CPU has.

    Its weights of eight bits are refused without VNNI, which has a test of its own.
    """
    opened = in_every_precision(probed, {"onnx_int8", "qat"} if forced == "avx2" else set())
    arguments = [str(part) for pair in opened for part in pair]
    subprocess.run([sys.executable, "-c", OPEN, *arguments], env=environment(**FORCED[forced]), check=True)
