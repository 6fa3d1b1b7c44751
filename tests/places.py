"""Paths of this repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SAMPLE = ROOT / "tests" / "sample" / "texts.csv"
"""800 real texts with the columns id, rating, text, sentiment."""
