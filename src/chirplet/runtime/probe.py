"""Whether a model answers here as it did on the machine that made it.

Kernels differ by CPU, and some are wrong on some: for one length, one number of threads, or one neighbour in the batch
(openvino#38256, onnxruntime#6004, #10111, #14642, #26324). So an artifact holds `probe.json`: the token ids of some
texts, the logits of its weights in fp32, its own, and how far others may be from these. Whoever opens it asks a few of
the texts again.
"""

import json
import logging
import shlex
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
from chirplet.system.error import ModelError
from chirplet.system.hardware import cpu_flags, cpu_name

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]
Answer = Callable[[Ids, Ids], Logits]
"""Logits (batch, classes) of ids and mask, both of shape (batch, tokens)."""

OPENING = ((0,), (1,), (2,), (3, 4, 5, 6, 7))
"""Texts that a model answers whenever it is opened, by batch: three of special lengths alone, and five together, so
that short ones are padded. Each length more costs OpenVINO some 20 ms, in which it prepares its kernels."""

KINDS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16")
"""Instruction sets by which kernels are chosen, as Linux names them."""


@dataclass(frozen=True)
class Probe:
    """Texts as `tokens`, padded with `pad_id`, and what is known of n of them.

    `fp32` and `logits` have shape (n, classes): of the weights in fp32 by PyTorch, and of the model itself, each text
    alone. `accepted` is the largest distance of a logit from `logits` that is no fault. `cpu` is the kind of CPU that
    computed them (`cpu_kind`).
    """

    tokens: Tokens
    pad_id: int
    fp32: Logits
    logits: Logits
    accepted: float
    cpu: str

    def distance(self, answer: Answer, batches: Sequence[Sequence[int]]) -> float:
        """How far at most a logit of `answer` is from `logits`, for texts in these batches; infinite where NaN."""
        asked = self.asked(batches)
        return max(self.off(answer(ids, mask), batch) for batch, (ids, mask) in zip(batches, asked, strict=True))

    def asked(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Ids, Ids]]:
        """Ids and mask of each batch of texts."""
        return (padded(self.tokens, batch, self.pad_id) for batch in batches)

    def off(self, logits: Logits, texts: Sequence[int]) -> float:
        """How far at most these logits of `texts` are from those in the probe; infinite where they do not compare."""
        if logits.shape != (len(texts), self.logits.shape[1]) or not np.isfinite(logits).all():
            return float("inf")
        return float(np.abs(logits - self.logits[list(texts)]).max())


TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class _File(Settings):
    """What `probe.json` holds."""

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
                raise ValueError(f"{name}: should be as many numbers for each of {count} texts")
        if count <= max(max(batch) for batch in OPENING):
            raise ValueError(f"input_ids: got {count} texts, should be more")
        return self


def cpu_kind() -> str:
    """This CPU's name and those of its instruction sets by which kernels are chosen."""
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
    # A line a field, so that it can be read and is small.
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    (folder / PROBE).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def read_probe(folder: Path) -> Probe | None:
    """The probe in `folder`, or None where an older version wrote none.

    Raises:
        ModelError: it is damaged, or asks for tokens that the model does not have.
    """
    path = folder / PROBE
    if not path.exists():
        return None
    try:
        found = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"artifact: {str(path)!r} is damaged ({where}: {fault['msg']})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"artifact: {str(path)!r} cannot be read ({error})") from None
    lengths = [len(row) for row in found.input_ids]
    values = np.array([token for row in found.input_ids for token in row], np.int64)
    words, positions = config.get("vocab_size"), position_count(folder, config)
    for name, limit, most in (("token", words, max(values.max(), found.pad_id)), ("length", positions, max(lengths))):
        if values.min() < 0 or not isinstance(limit, int) or most >= limit + (name == "length"):
            raise ModelError(f"artifact: {str(path)!r} has a {name} of {most}, its model {limit}")
    tokens = Tokens(values.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    fp32, logits = (np.array(table, np.float32) for table in (found.fp32_logits, found.logits))
    return Probe(tokens, found.pad_id, fp32, logits, found.accepted_distance, found.cpu)


@cache
def warn_unverified(folder: Path) -> None:
    """Say, once a folder, that an older artifact has no probe."""
    logger.warning(
        "%s has no %s (an older version wrote it): whether it answers rightly on this CPU is not verified",
        folder,
        PROBE,
    )


def otherwise(folder: Path, probe: Probe, distance: float) -> ModelError:
    """The error for a model that is too far from its probe: how far, the CPUs, and what makes one that works here."""
    again = f"python run.py reproduce={shlex.quote(str(folder))}{_parents(folder)}"
    return ModelError(
        f"artifact: {str(folder)!r} answers its probe otherwise here: logits are off by {distance:.3g}, "
        f"{probe.accepted:.3g} is accepted; it was made on {probe.cpu}, this is {cpu_kind()}; "
        f"{again} makes one that works here, and verify=false uses this one all the same"
    )


def _parents(folder: Path) -> str:
    """What `reproduce` must be given besides, by the stage in the record."""
    try:
        stage: Any = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("stage")
    except (OSError, ValueError, AttributeError):
        stage = None
    needed = {"quantize": "artifact", "prune": "artifact", "distill": "teacher"}.get(stage)
    return "" if needed is None else f" {needed}=DIR"
