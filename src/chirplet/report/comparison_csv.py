"""A comparison as CSV: every figure of every row."""

import csv
from io import StringIO
from typing import Any

from chirplet.artifact.record import COSTS
from chirplet.data.base import SPLITS
from chirplet.metric.names import LABEL_SCORES, of_labels
from chirplet.report.comparison import Comparison, Row
from chirplet.report.lineage import parent_id
from chirplet.system.escaping import csv_cell

SCORES = (
    "accuracy",
    *(f"{score}_{mean}" for mean in ("macro", "weighted") for score in LABEL_SCORES),
    *("average_precision", "mcc"),
)


def as_csv(comparison: Comparison) -> str:
    """Every figure, one line per row; rows of several seeds have `_sd` columns too."""
    records = [flat(row, comparison) for row in comparison.rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    target = StringIO()
    writer = csv.DictWriter(target, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in record.items()} for record in records)
    return target.getvalue()


def flat(row: Row, comparison: Comparison) -> dict[str, Any]:
    """Every figure of a row by the name of its column."""
    record = row.record
    cells: dict[str, Any] = {
        "run": row.name,
        "model": record.lineage[0].name,
        "stage": record.stage,
        "method": record.method,
        "id": record.id[:12],
        "parent": parent_id(record) or "",
        "seed": " ".join(map(str, row.seeds)),
        "runs": len(row.candidates),
        "pretrained": record.pretrained,
        "runtime": record.cost.get("runtime", ""),
        "threads": record.cost.get("threads", ""),
    }
    scores = [f"{split}/{score}" for split in SPLITS for score in (*SCORES, *of_labels(record.labels))]
    for name in [f"cost/{cost}" for cost in COSTS] + scores:
        cells[name] = row.figures.get(name, "")
        if row.spread:
            cells[f"{name}_sd"] = row.spread.get(name, "")
    cells |= {"split": comparison.split, "baseline": comparison.baseline}
    for title, drop in (("parent", row.from_parent), ("baseline", row.from_baseline)):
        cells[f"drop_from_{title}"] = "" if drop is None else drop.value
        for part in ("low", "high", "mcnemar_p"):
            value = None if drop is None else getattr(drop, part)
            cells[f"drop_from_{title}_{part}"] = "" if value is None else value
    for part in ("accuracy", "gain", "low", "high", "mcnemar_p"):
        cells[f"label_only_{part}"] = row.label_only_baseline.get(part, "")
    return cells
