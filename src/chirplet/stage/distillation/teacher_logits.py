"""A teacher's logits, computed once per teacher and texts, then memory-mapped from the cache."""

import hashlib
import io
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chirplet.artifact.artifact import Artifact, content_id
from chirplet.data.base import Examples
from chirplet.data.batching.tokens import tokenize
from chirplet.data.preparation.cleaning import fingerprint
from chirplet.runtime.base import predict_logits
from chirplet.runtime.open import accelerator_for, open_runtime, runtime_of
from chirplet.runtime.tokenizer import open_tokenizer
from chirplet.system.cache_files import locked_folder, write_atomically
from chirplet.system.hardware import automatic_precision, device_of
from chirplet.system.hashing import texts_hash

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
"""Part of the cache key. Raise it when cached logits must be computed again; 2 checks the teacher's probe first."""


def teacher_logits(
    artifact: Artifact,
    examples: Examples,
    cache_dir: Path,
    *,
    batch_size: int,
    accelerator: str,
    threads: int | None,
    verify: bool = True,
) -> NDArray[np.float32]:
    """The artifact's logits for `examples`, with its cleaning and tokenizer; shape (n, classes).

    The cache key covers the artifact's bytes, its cleaning and maximum length, the texts, and all that may change the
    last digits: runtime, device, precision and batch size. Texts are expected as the corpus has them, repaired.

    Raises:
        ConfigError: the requested accelerator is not available.
        ModelError: the artifact's model or tokenizer is damaged, or its probe fails.
        DependencyError: its runtime is not installed.
    """
    record = artifact.record
    kind = runtime_of(artifact.folder)
    accelerator = accelerator_for(artifact.folder, accelerator)
    device = device_of(accelerator)
    computed = (kind, device.type, automatic_precision(device), str(batch_size), f"verify={verify}")
    # Hash the files as they are now; the record's id is of the files as they were written.
    content = content_id(artifact.folder)
    parts = (str(FORMAT_VERSION), content, fingerprint(record.cleaning), str(record.max_length), *computed)
    key = hashlib.sha256("\n".join((*parts, texts_hash(examples.text))).encode()).hexdigest()
    with locked_folder(cache_dir / "logits") as folder:
        path = folder / f"{key}.npy"
        if path.exists():
            try:
                return _mapped(path, len(examples), len(record.labels))
            except ValueError as error:
                logger.warning("the cache entry %s is damaged (%s) and is computed again", path, error)
        tokenizer, pad_id = open_tokenizer(artifact.folder, record.max_length)
        runtime = open_runtime(
            artifact.folder, accelerator=accelerator, threads=threads, precision="auto", verify=verify
        )
        tokens = tokenize(examples.text, tokenizer, record.cleaning, record.max_length)
        stream = io.BytesIO()
        np.save(
            stream, predict_logits(runtime, tokens, pad_id, batch_size, "labeling by the teacher"), allow_pickle=False
        )
        write_atomically(stream.getbuffer(), path)
        return _mapped(path, len(examples), len(record.labels))


def _mapped(path: Path, examples: int, classes: int) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    if logits.shape != (examples, classes) or logits.dtype != np.float32:
        raise ValueError(f"shape {logits.shape} of {logits.dtype}, should be {(examples, classes)} of float32")
    return logits
