"""Streaming speech enhancement: what a program imports. Names load on first use, so that importing costs nothing."""

import os

TYPE_CHECKING = False  # as that of `typing`, which is not loaded: `quietmic.start` is still to hear of interrupts
if TYPE_CHECKING:
    from typing import Any

    from quietmic.enhance.catalogue import list_models
    from quietmic.enhance.errors import QuietmicError
    from quietmic.enhance.files.single import denoise_file
    from quietmic.enhance.signals import denoise
    from quietmic.enhance.stream import Stream, open_stream

__version__ = "0.2.0"
__all__ = ["QuietmicError", "Stream", "denoise", "denoise_file", "list_models", "open_stream"]
_HOMES = {
    "QuietmicError": "enhance.errors",
    "Stream": "enhance.stream",
    "denoise": "enhance.signals",
    "denoise_file": "enhance.files.single",
    "list_models": "enhance.catalogue",
    "open_stream": "enhance.stream",
}

# ONNX Runtime's own packages report to their maker unless this is set before they are loaded: quietmic reaches for no
# network. Who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HERE = os.path.dirname(os.path.realpath(__file__))
_ABOVE = os.path.dirname(_HERE)
if not os.path.isdir(f"{_HERE}/enhance") and os.path.isfile(f"{_ABOVE}/pyproject.toml"):
    # A checkout: enhance/, models/, compression/ and devices/ lie beside this folder. In an installed package they
    # lie inside it, and what else is in site-packages is none of ours.
    __path__.append(_ABOVE)


if not TYPE_CHECKING:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> "Any":
        if name not in _HOMES:
            raise AttributeError(f"module 'quietmic' has no attribute '{name}'")
        from importlib import import_module

        return getattr(import_module(f"quietmic.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
