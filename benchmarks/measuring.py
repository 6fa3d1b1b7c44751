"""What the benchmarks share: a figure with its goal, and how fast the machine is at what bounds training."""

import time
from typing import Any

Figures = list[dict[str, Any]]


def figure(
    name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """One figure, which holds where it keeps to its goal; without a goal it is only told."""
    goal = at_least if at_most is None else at_most
    holds = None if goal is None else value >= goal if at_most is None else value <= goal
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "holds": holds}


def matrix_product_rate() -> float:
    """Billions of operations a second in bf16 products of MiniLM's shapes, which bound the training speed."""
    import torch

    left, right = torch.randn(1536, 384).bfloat16(), torch.randn(384, 1536).bfloat16()
    best = float("inf")
    for _ in range(200):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * 1536 * 384 * 1536 / best / 1e9
