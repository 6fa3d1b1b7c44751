"""The probe that an artifact is written with: texts of many lengths, and what its model answers to them here."""

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
"""Positions of texts that stay as they are."""
FIRST_LENGTHS = (21, 16, 33, 48, 40, 64)
LENGTHS = (128, 127, 112, 96, 80, 72, 63, 56, 49, 47, 31, 25, 24, 13, 9, 8, 3)
"""Multiples of 8 and of 16, odd ones, and those around powers of two: kernels fail at just one length."""
BATCH_SIZES = (1, 3, 16)
OUTLIER = 10
"""Times the median distance, which no kernel that is right has at one length; some that are wrong have."""
NOT_FINITE = (
    "logits on {} are not finite: training diverged (lower its learning rate), or the model's type cannot hold its "
    "numbers (take one with more range)"
)


def probe_tokens(tokenizer: "PreTrainedTokenizerBase | Encoder", head_size: int, max_length: int) -> Tokens:
    """The texts as tokens, each going on with those behind it until it is as long as wanted, and cut there.

    Wanted are the size of a head, twice that, and the lengths above, but for those of more than `max_length`, and that
    itself. Where there are fewer lengths than texts, they are used again.
    """
    wanted = (head_size, 2 * head_size, *FIRST_LENGTHS, max_length, *LENGTHS)
    lengths = cycle(dict.fromkeys(length for length in wanted if length <= max_length))
    rows = []
    for place, text in enumerate(TEXTS):
        if place in SHORT:
            rows.append(tokenize([text], tokenizer, "none", max_length)[0])
        else:
            longer = " ".join(TEXTS[place:] + TEXTS[:place])
            rows.append(tokenize([longer], tokenizer, "none", next(lengths))[0])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Tokens(np.concatenate(rows), offsets.astype(np.int64))


def in_batches(count: int, size: int) -> list[list[int]]:
    """The numbers below `count` in order, in batches of `size`; the last one begins again to be as large."""
    return [[i % count for i in range(begin, begin + size)] for begin in range(0, count, size)]


class Prober:
    """What is known of a model before it is saved: what its weights answer in fp32, and what bf16 changes.

    Args:
        model: on any device; in fp32 and evaluation mode.
        tokenizer: that goes with it.
        pad_id: its id that pads.
        max_length: tokens that the model takes.
    """

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pad_id: int, max_length: int
    ) -> None:
        head_size = family_of(model).sizes(model.config).head_size
        tokens = probe_tokens(tokenizer, head_size, max_length)
        unknown = np.empty((len(tokens), 0), np.float32)
        self.blank = Probe(tokens, pad_id, unknown, unknown, 0.0, cpu_kind())
        self.fp32 = self._answers(PyTorchRuntime(model, bf16=False))
        half = PyTorchRuntime(model, bf16=True)
        self.rounding = max(float(np.abs(self._answers(half) - self.fp32).max()), self._cost_among_others(half))

    def probe(self, runtime: Runtime) -> Probe:
        """The probe of a model that `runtime` computes as it should.

        Costs are the largest distances of a logit from fp32's. Accepted is twice the model's, since another machine may
        be as far from fp32 as this one in the opposite direction, and four times that of bf16, since others sum more of
        it in bf16, but for that never more than half of the range of the logits.

        Raises:
            ModelError: logits are not finite, or those of a few texts alone are far off: this machine computes them
                wrongly.
        """
        own = self._answers(runtime)
        if not (np.isfinite(own).all() and np.isfinite(self.fp32).all()):
            raise ModelError(NOT_FINITE.format("the texts of the probe"))
        off, spread = np.abs(own - self.fp32).max(axis=1), float(np.ptp(self.fp32))
        worst = int(off.argmax())
        if off[worst] > max(spread / 2, OUTLIER * float(np.median(off))):
            raise ModelError(
                f"{runtime.name} ({runtime.precision}) computes {self.blank.tokens.lengths[worst]} tokens wrongly on "
                f"this CPU, {cpu_kind()}: logits are off by {off[worst]:.3g}, for most lengths by {np.median(off):.2g}"
            )
        cost = max(float(off[worst]), self._cost_among_others(runtime))
        return replace(self.near_fp32(2 * cost + min(4 * self.rounding, spread / 2)), logits=own)

    def near_fp32(self, accepted: float) -> Probe:
        """The probe of a model that is to answer as fp32 does, or nearly so."""
        return replace(self.blank, fp32=self.fp32, logits=self.fp32, accepted=accepted)

    def _cost_among_others(self, runtime: Runtime) -> float:
        """The largest distance from fp32 of texts that are padded, and may be rounded by the range of a batch."""
        everything = in_batches(len(self.fp32), len(self.fp32))
        return self.near_fp32(0.0).distance(runtime.logits, [*everything, OPENING[-1]])

    def _answers(self, runtime: Runtime) -> Logits:
        """To each text alone; shape (texts, classes)."""
        alone = in_batches(len(self.blank.tokens), 1)
        return np.concatenate([runtime.logits(*asked) for asked in self.blank.asked(alone)])


def reference(folder: Path, accelerator: str, threads: int | None) -> Runtime:
    """The model in `folder`, computed in the way that is least likely to be wrong."""
    return runtime_ways(folder, accelerator=accelerator, threads=threads, precision="stored")[-1]()


def verify_grid(folder: Path, probe: Probe, accelerator: str, threads: int | None) -> dict[str, Any]:
    """Ask the saved model all texts of its probe in batches of several sizes, with one thread and with several.

    Returns:
        For the record: `largest_distance` of a logit from the probe, what was `accepted`, how many `texts` in what
        `batch_sizes` with what `threads`, and whether threads `computes_parts` of large batches, None where they never
        do.

    Raises:
        ModelError: it is too far from its probe.
    """
    several = max(2, threads or cpu_threads(None))
    sizes = {1: BATCH_SIZES, several: tuple(dict.fromkeys((*BATCH_SIZES, several * PART)))}  # cut into parts
    account: dict[str, Any] = {"texts": len(probe.tokens), "batch_sizes": [*sizes[several]], "threads": [*sizes]}
    largest, computes_parts = 0.0, None
    with kept_threads():
        for count in sizes:
            runtime = open_runtime(folder, accelerator=accelerator, threads=count, precision="stored")
            for size in sizes[count]:
                distance = probe.distance(runtime.logits, in_batches(len(probe.tokens), size))
                if distance > probe.accepted:
                    raise ModelError(
                        f"the saved model answers its probe otherwise in batches of {size} with {count} threads: "
                        f"logits are off by {distance:.3g}, {probe.accepted:.3g} is accepted; nothing was written"
                    )
                largest = max(largest, distance)
            if isinstance(runtime, PartwiseRuntime):
                computes_parts = runtime.computes_parts
    return account | {
        "largest_distance": largest,
        "accepted": probe.accepted,
        "computes_parts": computes_parts,
    }


@contextmanager
def kept_threads() -> Iterator[None]:
    """Give PyTorch's threads back, whose number is one for the process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
