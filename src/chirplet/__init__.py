"""chirplet: small, fast, trustworthy text classifiers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chirplet.runtime.predictor import load

__all__ = ["load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late: the configuration is checked without what a predictor imports.
    if name == "load":
        from chirplet.runtime.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
