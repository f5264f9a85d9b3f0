"""Streaming speech enhancement: what a program imports. Names load on first use, so that importing costs nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietmic.enhance.errors import QuietmicError
    from quietmic.enhance.stream import Stream, open_stream

__version__ = "0.1.0"
__all__ = ["QuietmicError", "Stream", "__version__", "open_stream"]
_HOMES = {"QuietmicError": "enhance.errors", "Stream": "enhance.stream", "open_stream": "enhance.stream"}

_HERE = Path(__file__).resolve().parent
if not (_HERE / "enhance").is_dir() and (_HERE.parent / "pyproject.toml").is_file():
    # A checkout: enhance/, models/, compression/ and devices/ lie beside this folder. In an installed package they
    # lie inside it, and what else is in site-packages is none of ours.
    __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quietmic' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"quietmic.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
