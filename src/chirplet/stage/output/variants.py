"""Variants of a quantized model that exclude some layers."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from chirplet.quantizer.base import Quantization
from chirplet.runtime.base import Runtime
from chirplet.runtime.open import accelerator_for, open_runtime
from chirplet.runtime.probe import Probe, write_probe
from chirplet.stage.output.make_probe import Prober, reference
from chirplet.stage.run.context import Run
from chirplet.stage.run.parent import Parent


class Variants:
    """Writes variants of a quantization, in `workspace` or a final folder, and opens them on the run's device."""

    def __init__(self, run: Run, parent: Parent, quantization: Quantization, workspace: Path) -> None:
        self.trainer = run.trainer
        self.quantization = quantization
        self.workspace = workspace
        data = parent.data
        self.prober = Prober(parent.model, data.tokenizer, data.pad_id, data.max_length)

    @contextmanager
    def opened(self, excluded: Collection[str]) -> Iterator[Runtime]:
        """A temporary variant. Its probe accepts the error of quantizing all layers."""
        with self._written(excluded) as folder:
            write_probe(folder, self._near_fp32)
            # One session instead of two, since opening one of a large model takes as long as its use.
            yield self._open(folder, shared_cores=True)

    def save(self, folder: Path, excluded: Collection[str]) -> Runtime:
        """Write the variant with its probe, and open it."""
        self.quantization.write(folder, excluded)
        write_probe(folder, self._measured_probe(folder))
        return self._open(folder)

    @cached_property
    def _near_fp32(self) -> Probe:
        with self._written(()) as folder:
            return self.prober.near_fp32(self._measured_probe(folder).accepted)

    def _measured_probe(self, folder: Path) -> Probe:
        return self.prober.probe(
            reference(folder, accelerator_for(folder, self.trainer.accelerator), self.trainer.threads)
        )

    def _open(self, folder: Path, shared_cores: bool = False) -> Runtime:
        return open_runtime(
            folder,
            accelerator=accelerator_for(folder, self.trainer.accelerator),
            threads=self.trainer.threads,
            precision="stored",
            shared_cores=shared_cores,
        )

    @contextmanager
    def _written(self, excluded: Collection[str]) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.workspace) as name:
            self.quantization.write(Path(name), excluded)
            yield Path(name)
