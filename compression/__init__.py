"""A toolkit that makes trained networks smaller: influence pruning, low rank, every rival, on networks of any kind."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietmic.compression.cost import Budget
    from quietmic.compression.pipeline import compress
    from quietmic.compression.recipe import Recipe, read_recipe
    from quietmic.compression.result import CompressionResult

__all__ = ["Budget", "CompressionResult", "Recipe", "compress", "read_recipe"]
_HOMES = {
    "Budget": "cost", "CompressionResult": "result", "Recipe": "recipe", "compress": "pipeline", "read_recipe": "recipe"
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imports on first use, so that naming the package does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'quietmic.compression' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"quietmic.compression.{_HOMES[name]}"), name)
