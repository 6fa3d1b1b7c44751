"""A device whose tensors have shapes without values.

It stands for a GPU: a CUDA graph records only what reads no value from the device, and reading one waits for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def no_values() -> Iterator[torch.device]:
    """A device that computes shapes; whatever asks its tensors for a value, or copies them to the host, raises.

    So do `item`, `bool`, `nonzero`, boolean indices, `unique`, `equal`, `cpu` and `numpy`. Tensors of the host can be
    copied to it. PyTorch has no autocast for it, so that there is none, and no fused optimizer. What asks whether a
    graph is being recorded, as transformers does, hears that one is.
    """
    with (
        patch.object(torch, "autocast", _no_autocast),
        patch.object(torch, "is_autocast_enabled", lambda *_: False),
        patch.object(torch.cuda, "is_current_stream_capturing", lambda: True),
    ):
        yield torch.device("meta")


def _no_autocast(*_: Any, **__: Any) -> nullcontext[None]:
    return nullcontext()


class NothingFromHost(TorchDispatchMode):
    """Within it, whatever copies a tensor of the host to another device raises: a CUDA graph cannot record that."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        source = args[1] if func is torch.ops.aten.copy_.default else args[0] if args else None
        copies = func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
        if copies and source.device.type == "cpu" and result.device.type != "cpu":
            raise RuntimeError("a tensor of the host was copied")
        return result
