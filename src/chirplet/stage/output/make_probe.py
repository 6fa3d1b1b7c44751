"""Make the probe of an artifact: texts of many lengths, and the model's logits for them on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chirplet.data.batching.tokens import Encoder, Tokens, tokenize
from chirplet.model.family import family_of
from chirplet.runtime.base import Runtime
from chirplet.runtime.open import open_runtime, runtime_ways
from chirplet.runtime.probe import OPENING, Logits, Probe, cpu_kind
from chirplet.runtime.pytorch import PyTorchRuntime
from chirplet.runtime.threaded import PART, PartwiseRuntime
from chirplet.system.error import ModelError
from chirplet.system.hardware import cpu_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = (
    "The library on the corner opens at nine and closes at six, except on Sundays.",
    "Two trains leave the main station every hour, one to the north and one to the coast.",
    "He put the keys on the table and went to look for his umbrella.",
    "The report has forty pages, three tables and a short summary at the end.",
    "My cousin moved to a flat near the river last autumn.",
    "ok 👍",
    "Coffee ☕ at ten?",
    "no",
    "The recipe asks for flour, water, salt and a little oil.",
    "We counted 128 boxes, 64 of them blue, 32 green and the others without a colour.",
    "She reads the paper in the kitchen while the radio plays 🎶 in the other room.",
    "The bridge was built in 1931 and painted again two years ago.",
    "A letter from the bank came today; it says that the office moves to Mill Street.",
    "The team meets on Tuesday to talk about the timetable for the spring.",
    "Clouds in the morning, some sun later, wind from the west ⛅",
    "The shop sells paper, pencils, ink and maps of the region.",
    "There is a new bus stop between the school and the town hall.",
    "They live on the third floor, the door on the left.",
    "The museum shows old clocks, tools and a model of the harbour 🚢.",
    "I wrote down the number, but not the name.",
    "Parking is behind the house, the entrance is on the other side.",
    "The film lasts two hours and is shown in the small hall.",
    "Version 2.4 of the form replaces version 2.3, which may be used until June.",
    "The garden has six apple trees, a bench and a narrow path of gravel.",
)
SHORT = (5, 7)
"""Indices of texts that are not lengthened."""
FIRST_LENGTHS = (21, 16, 33, 48, 40, 64)
LENGTHS = (128, 127, 112, 96, 80, 72, 63, 56, 49, 47, 31, 25, 24, 13, 9, 8, 3)
"""Multiples of 8 and 16, odd lengths, and lengths around powers of two, since a kernel may fail at a single length."""
BATCH_SIZES = (1, 3, 16)
OUTLIER = 10
"""Multiple of the median distance above which one length is considered wrong. Correct kernels stay below it."""
NOT_FINITE = (
    "logits on {} are not finite: training diverged (lower its learning rate), or the model's values overflow its "
    "data type (choose one with more range)"
)


def probe_tokens(tokenizer: "PreTrainedTokenizerBase | Encoder", head_size: int, max_length: int) -> Tokens:
    """Tokenize the texts, each joined with the texts after it and truncated to its length.

    The lengths are the head size, twice the head size, `max_length`, `FIRST_LENGTHS` and `LENGTHS`, without those above
    `max_length`. If there are fewer lengths than texts, they repeat.
    """
    wanted = (head_size, 2 * head_size, *FIRST_LENGTHS, max_length, *LENGTHS)
    lengths = cycle(dict.fromkeys(length for length in wanted if length <= max_length))
    rows = []
    for index, text in enumerate(TEXTS):
        if index in SHORT:
            rows.append(tokenize([text], tokenizer, "none", max_length)[0])
        else:
            longer = " ".join(TEXTS[index:] + TEXTS[:index])
            rows.append(tokenize([longer], tokenizer, "none", next(lengths))[0])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Tokens(np.concatenate(rows), offsets.astype(np.int64))


def in_batches(count: int, size: int) -> list[list[int]]:
    """The indices below `count` in order, in batches of `size`; the last batch is filled from the start."""
    return [[i % count for i in range(begin, begin + size)] for begin in range(0, count, size)]


class Prober:
    """Makes probes of a model and its variants from the model's logits in fp32 and the error of bf16.

    Args:
        model: the model in fp32 and evaluation mode, on any device.
        tokenizer: the model's tokenizer.
        pad_id: the tokenizer's padding id.
        max_length: most tokens that the model takes.
    """

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pad_id: int, max_length: int
    ) -> None:
        head_size = family_of(model).sizes(model.config).head_size
        tokens = probe_tokens(tokenizer, head_size, max_length)
        no_logits = np.empty((len(tokens), 0), np.float32)
        self.blank = Probe(tokens, pad_id, no_logits, no_logits, 0.0, cpu_kind())
        self.fp32 = self._logits_alone(PyTorchRuntime(model))
        half = PyTorchRuntime(model, torch.bfloat16)
        self.rounding = max(float(np.abs(self._logits_alone(half) - self.fp32).max()), self._error_in_batches(half))

    def probe(self, runtime: Runtime) -> Probe:
        """The probe of a model in a runtime that computes it correctly.

        An error is the largest distance of a logit from fp32. The accepted distance is twice the runtime's error, since
        another machine may err as much in the opposite direction, plus four times the error of bf16, since other
        machines sum more of it in bf16, at most half of the range of the logits.

        Raises:
            ModelError: logits are not finite, or the logits of a few texts are far off, because this machine computes
                their lengths wrongly.
        """
        logits = self._logits_alone(runtime)
        if not (np.isfinite(logits).all() and np.isfinite(self.fp32).all()):
            raise ModelError(NOT_FINITE.format("the texts of the probe"))
        errors, spread = np.abs(logits - self.fp32).max(axis=1), float(np.ptp(self.fp32))
        worst = int(errors.argmax())
        if errors[worst] > max(spread / 2, OUTLIER * float(np.median(errors))):
            raise ModelError(
                f"{runtime.name} ({runtime.precision}) computes {self.blank.tokens.lengths[worst]} tokens wrongly on "
                f"this CPU, {cpu_kind()}: logits are off by {errors[worst]:.3g}, by {np.median(errors):.2g} for most "
                "lengths"
            )
        error = max(float(errors[worst]), self._error_in_batches(runtime))
        return replace(self.near_fp32(2 * error + min(4 * self.rounding, spread / 2)), logits=logits)

    def near_fp32(self, accepted: float) -> Probe:
        """The probe of a model whose logits should be within `accepted` of fp32's."""
        return replace(self.blank, fp32=self.fp32, logits=self.fp32, accepted=accepted)

    def _error_in_batches(self, runtime: Runtime) -> float:
        """The largest distance from fp32 in batches, where texts are padded and may share the range of rounding."""
        everything = in_batches(len(self.fp32), len(self.fp32))
        return self.near_fp32(0.0).distance(runtime.logits, [*everything, OPENING[-1]])

    def _logits_alone(self, runtime: Runtime) -> Logits:
        """Logits of each text in a batch of one; shape (texts, classes)."""
        alone = in_batches(len(self.blank.tokens), 1)
        return np.concatenate([runtime.logits(*asked) for asked in self.blank.asked(alone)])


def reference(folder: Path, accelerator: str, threads: int | None) -> Runtime:
    """The runtime for the model in `folder` that is least likely to compute it wrongly."""
    return runtime_ways(folder, accelerator=accelerator, threads=threads, precision="stored")[-1]()


def verify_grid(folder: Path, probe: Probe, accelerator: str, threads: int | None) -> dict[str, Any]:
    """Check the saved model against its probe in batches of several sizes, with one thread and with several.

    Returns:
        For the record: `largest_distance` of a logit from the probe, the `accepted` distance, the number of `texts`,
        the `batch_sizes` and `threads`, and `computes_parts`: whether the runtime splits large batches between threads,
        None if it never does.

    Raises:
        ModelError: a logit is farther from the probe than accepted.
    """
    several = max(2, threads or cpu_threads(None))
    sizes = {1: BATCH_SIZES, several: tuple(dict.fromkeys((*BATCH_SIZES, several * PART)))}  # cut into parts
    settings: dict[str, Any] = {"texts": len(probe.tokens), "batch_sizes": [*sizes[several]], "threads": [*sizes]}
    largest, computes_parts = 0.0, None
    with kept_threads():
        for count in sizes:
            runtime = open_runtime(folder, accelerator=accelerator, threads=count, precision="stored")
            for size in sizes[count]:
                distance = probe.distance(runtime.logits, in_batches(len(probe.tokens), size))
                if distance > probe.accepted:
                    raise ModelError(
                        f"the saved model fails its probe in batches of {size} with {count} threads: logits are off by "
                        f"{distance:.3g}, should be at most {probe.accepted:.3g}; nothing was written"
                    )
                largest = max(largest, distance)
            if isinstance(runtime, PartwiseRuntime):
                computes_parts = runtime.computes_parts
    return settings | {
        "largest_distance": largest,
        "accepted": probe.accepted,
        "computes_parts": computes_parts,
    }


@contextmanager
def kept_threads() -> Iterator[None]:
    """Restore PyTorch's number of threads, which is global to the process, on exit."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
