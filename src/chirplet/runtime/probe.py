"""Verify that a model computes the same logits on this machine as on the one that made it.

Kernels differ by CPU, and some are wrong on some CPUs: for one length, one number of threads, or certain other texts in
the batch (openvino#38256, onnxruntime#6004, #10111, #14642, #26324). So an artifact contains `probe.json`: token ids of
some texts, the logits of its fp32 weights, its own logits, and the accepted distance from these. When the artifact is
opened, the logits of a few of the texts are computed again.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, ValidationError, model_validator

from chirplet.artifact.artifact import PROBE, RECORD
from chirplet.config.schema import Settings
from chirplet.data.batching.padding import Ids, padded
from chirplet.data.batching.tokens import Tokens
from chirplet.runtime.tokenizer import position_count
from chirplet.system.command_line import command, override_of
from chirplet.system.error import ModelError
from chirplet.system.hardware import cpu_flags, cpu_name

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]
Infer = Callable[[Ids, Ids], Logits]
"""Computes logits (batch, classes) from ids and mask, both of shape (batch, tokens)."""

OPENING = ((0,), (1,), (2,), (3, 4, 5, 6, 7))
"""Batches of texts that are computed whenever a model is opened: three texts of special lengths alone, and five in one
batch with padding. Every further length costs OpenVINO about 20 ms, to prepare its kernels."""

KINDS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16")
"""Instruction sets that decide which kernels are used, as Linux names them."""


@dataclass(frozen=True)
class Probe:
    """n texts with their logits, each computed alone.

    Attributes:
        tokens: the token ids.
        pad_id: id of the padding token.
        fp32: logits of the fp32 weights in PyTorch, shape (n, classes).
        logits: logits of the model, shape (n, classes).
        accepted: the largest accepted distance of a logit from `logits`.
        cpu: the CPU that computed them, see `cpu_kind`.
    """

    tokens: Tokens
    pad_id: int
    fp32: Logits
    logits: Logits
    accepted: float
    cpu: str

    def distance(self, infer: Infer, batches: Sequence[Sequence[int]]) -> float:
        """The largest distance of a logit of `infer` from `logits`, for these batches of texts; infinite for NaN."""
        inputs = self.asked(batches)
        return max(
            self.distance_of(infer(ids, mask), batch) for batch, (ids, mask) in zip(batches, inputs, strict=True)
        )

    def asked(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Ids, Ids]]:
        """Ids and mask of each batch of texts."""
        return (padded(self.tokens, batch, self.pad_id) for batch in batches)

    def distance_of(self, logits: Logits, texts: Sequence[int]) -> float:
        """The largest distance of these logits of `texts` from the probe's; infinite for a wrong shape or NaN."""
        if logits.shape != (len(texts), self.logits.shape[1]) or not np.isfinite(logits).all():
            return float("inf")
        return float(np.abs(logits - self.logits[list(texts)]).max())


TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class _File(Settings):
    """The content of `probe.json`."""

    schema_version: Literal[1]
    cpu: str
    accepted_distance: Annotated[FiniteFloat, Field(ge=0)]
    pad_id: TokenId
    input_ids: Annotated[list[Annotated[list[TokenId], Field(min_length=1, max_length=8192)]], Field(max_length=64)]
    fp32_logits: list[list[FiniteFloat]]
    logits: list[list[FiniteFloat]]

    @model_validator(mode="after")
    def _fits(self) -> "_File":
        count, classes = len(self.input_ids), len(self.logits[0]) if self.logits else 0
        for name, table in (("logits", self.logits), ("fp32_logits", self.fp32_logits)):
            if len(table) != count or any(len(row) != classes for row in table) or not classes:
                raise ValueError(f"{name}: should be the same number of logits for each of {count} texts")
        if count <= max(max(batch) for batch in OPENING):
            raise ValueError(f"input_ids: got {count} texts, should be more")
        return self


def cpu_kind() -> str:
    """This CPU's name and its instruction sets that are in `KINDS`."""
    return kind(cpu_name(), cpu_flags())


def kind(name: str, flags: Iterable[str]) -> str:
    """A CPU's name and those of its `flags` that are in `KINDS`."""
    return f"{name} ({', '.join(sorted(set(flags).intersection(KINDS))) or 'no AVX2'})"


def write_probe(folder: Path, probe: Probe) -> None:
    """Write `probe.json`."""
    content = {
        "schema_version": 1,
        "cpu": probe.cpu,
        "accepted_distance": probe.accepted,
        "pad_id": probe.pad_id,
        "input_ids": [probe.tokens[i].tolist() for i in range(len(probe.tokens))],
        "fp32_logits": probe.fp32.tolist(),
        "logits": probe.logits.tolist(),
    }
    # One line per field: readable, and smaller than with indentation.
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    (folder / PROBE).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def read_probe(folder: Path) -> Probe | None:
    """The probe in `folder`; None if the artifact is of an older version without probes.

    Raises:
        ModelError: the probe is damaged, or has tokens or lengths that the model does not support.
    """
    path = folder / PROBE
    if not path.exists():
        return None
    try:
        content = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"artifact: {str(path)!r} is damaged ({where}: {fault['msg']})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"artifact: {str(path)!r} cannot be read ({error})") from None
    lengths = [len(row) for row in content.input_ids]
    values = np.array([token for row in content.input_ids for token in row], np.int64)
    size, positions = config.get("vocab_size"), position_count(config)
    for name, limit, most in (("token", size, max(values.max(), content.pad_id)), ("length", positions, max(lengths))):
        if values.min() < 0 or not isinstance(limit, int) or most >= limit + (name == "length"):
            raise ModelError(f"artifact: {str(path)!r} has a {name} of {most}, its model allows {limit}")
    tokens = Tokens(values.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    fp32, logits = (np.array(table, np.float32) for table in (content.fp32_logits, content.logits))
    return Probe(tokens, content.pad_id, fp32, logits, content.accepted_distance, content.cpu)


@cache
def warn_unverified(folder: Path) -> None:
    """Warn, once per folder, that an artifact has no probe."""
    logger.warning("%s has no %s (an older version wrote it): its logits are not verified on this CPU", folder, PROBE)


def not_reproduced(folder: Path, probe: Probe, distance: float) -> ModelError:
    """The error for a model that is too far from its probe: the distance, both CPUs, and the remedies."""
    again = command(override_of("reproduce", folder), *_parents(folder))
    return ModelError(
        f"artifact: {str(folder)!r} does not reproduce its probe here: logits differ by {distance:.3g}, accepted is "
        f"{probe.accepted:.3g}; it was made on {probe.cpu}, this is {cpu_kind()}; "
        f"make one for this machine with {again}, or use this one with verify=false"
    )


def _parents(folder: Path) -> list[str]:
    """Further overrides that `reproduce` needs, by the stage in the record."""
    try:
        stage: Any = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("stage")
    except (OSError, ValueError, AttributeError):
        stage = None
    needed = {"quantize": "artifact", "prune": "artifact", "distill": "teacher"}.get(stage)
    return [] if needed is None else [f"{needed}=DIR"]
