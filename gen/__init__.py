"""cxr-gen: synthetic chest radiographs. Importing this package loads nothing heavy; names resolve on first use."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen.config import load_config
    from gen.pipeline import CXRPipeline

__version__ = "0.1.0"
__all__ = ["CXRPipeline", "__version__", "load_config"]

_HOMES = {"CXRPipeline": "gen.pipeline", "load_config": "gen.config"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
