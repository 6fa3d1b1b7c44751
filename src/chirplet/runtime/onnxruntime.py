"""Runtime for ONNX models: ONNX Runtime on the CPU, or on an NVIDIA GPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from chirplet.runtime.base import Precision, RuntimeName
from chirplet.runtime.threaded import Feed, Logits, PartwiseRuntime
from chirplet.system.error import ConfigError, ModelError
from chirplet.system.hardware import cpu_saturates_int8, cpu_threads
from chirplet.system.optional_dependency import needs

MODEL = "model.onnx"
SLOWER = ["SkipLayerNormFusion"]
"""Fusions disabled on the CPU: the fused kernel of residual and layer norm takes six times as long as two kernels."""


CUDA = "CUDAExecutionProvider"
REMEDY = "pip uninstall onnxruntime; pip install onnxruntime-gpu; or use trainer=cpu"


class OnnxRuntime(PartwiseRuntime):
    """Sessions of `model.onnx`, with inputs `input_ids` and `attention_mask` and output `logits`.

    One session uses all threads. A second one, which computes in the calling thread, is opened on first use. A server
    shares its cores with the threads that read requests and with clients: there the second one is the only one, since
    threads that compute one product spin while they wait for each other. On a GPU there is one session, for whole
    batches.
    """

    name: ClassVar[RuntimeName] = "onnxruntime"
    smallest_part = 2

    def __init__(self, folder: Path, threads: int, shared_cores: bool = False, device: str = "cpu") -> None:
        self.folder = folder
        self.device = device
        self.threads = 1 if device == "cuda" else threads
        self._single = shared_cores or self.threads == 1
        self._shared = _session(folder, 1 if self._single else threads, device)
        metadata = self._shared.get_modelmeta().custom_metadata_map
        self.precision = metadata.get("precision", "fp32")
        if device == "cuda" and "int8" in self.precision:
            raise ConfigError(
                f"trainer.accelerator: got 'gpu', should be auto or cpu: ONNX Runtime has no CUDA kernels for the int8 "
                f"products of {str(folder / MODEL)!r} ({self.precision})"
            )
        if metadata.get("weight_bits") == "8" and cpu_saturates_int8():
            raise ModelError(
                f"artifact: {str(folder / MODEL)!r} has 8-bit weights, whose products overflow on this CPU without "
                "VNNI; quantize its parent with quantizer.reduce_range=true"
            )

    @classmethod
    def open(
        cls, folder: Path, accelerator: str, threads: int | None, precision: Precision, shared_cores: bool = False
    ) -> Self:
        """Open the model as `chirplet.runtime.open.open_runtime` does."""
        if accelerator not in {"auto", "cpu", "gpu"}:
            raise ConfigError(f"trainer.accelerator: got {accelerator!r}, should be auto, cpu or gpu for {MODEL}")
        if precision not in {"auto", "stored"}:
            raise ConfigError(f"stage.precision: got {precision!r}, should be auto: {MODEL} determines the precision")
        return cls(folder, cpu_threads(threads), shared_cores, "cuda" if accelerator == "gpu" else "cpu")

    @property
    def batch_texts(self) -> int:
        return 256 if self.device == "cuda" else super().batch_texts

    def together(self, feed: Feed) -> Logits:
        return _run(self._shared, feed)

    def alone(self) -> Callable[[Feed], Logits]:
        return partial(_run, self._shared if self._single else _session(self.folder, 1))


def _session(folder: Path, threads: int, device: str = "cpu") -> Any:
    with needs("onnxruntime", "pip install onnxruntime"):
        import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        if CUDA not in onnxruntime.get_available_providers():
            raise ConfigError(f"trainer.accelerator: got 'gpu', but this onnxruntime computes on the CPU; {REMEDY}")
        onnxruntime.preload_dlls()  # CUDA and cuDNN may be in wheels, where its own search does not find them
        providers = [(CUDA, {"use_tf32": "0"}), *providers]  # by default it rounds fp32 products
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(folder / MODEL), options, providers=providers, disabled_optimizers=SLOWER if device == "cpu" else []
        )
    except Exception as error:  # onnxruntime raises many classes for damaged files
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"artifact: {str(folder / MODEL)!r} cannot be opened ({reason})") from error
    if device == "cuda" and session.get_providers()[0] != CUDA:  # it continues without a provider that it cannot open
        raise ConfigError("trainer.accelerator: got 'gpu', but onnxruntime could not open CUDA here; use trainer=cpu")
    return session


def _run(session: Any, feed: Feed) -> Logits:
    try:
        (values,) = session.run(["logits"], feed)
    except Exception as error:  # see `_session`
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"artifact: ONNX Runtime cannot compute {MODEL} here ({reason})") from error
    logits: Logits = values
    return logits
