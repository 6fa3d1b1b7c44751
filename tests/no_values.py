"""A device whose tensors have shapes without values.

It stands for a GPU: a CUDA graph records only what neither reads a value from the device nor copies one to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

NO_VALUES = torch.device("meta")
"""The device; models and batches are moved to it before `no_values`."""


@contextmanager
def no_values() -> Iterator[None]:
    """Compute shapes; whatever asks tensors of `NO_VALUES` for a value, or copies from or to the host, raises.

    So do `item`, `bool`, `nonzero`, boolean indices, `unique`, `equal`, `cpu` and `numpy`. PyTorch has no autocast for
    this device, so that there is none, and no fused optimizer.
    """
    off = patch.object(torch, "autocast", _no_autocast), patch.object(torch, "is_autocast_enabled", lambda *_: False)
    with off[0], off[1], _NoCopies():
        yield


def _no_autocast(*_: Any, **__: Any) -> nullcontext[None]:
    return nullcontext()


class _NoCopies(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            source = args[0] if func.overloadpacket is torch.ops.aten._to_copy else args[1]
            if source.device != result.device:
                raise RuntimeError(f"copies from {source.device} to {result.device}")
        return result
