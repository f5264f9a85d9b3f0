"""A toolkit that makes trained networks smaller: influence pruning, low rank, every rival, on networks of any kind."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietmic.compression.cost import Budget
    from quietmic.compression.pipeline import compress
    from quietmic.compression.recipe import Recipe, read_recipe
    from quietmic.compression.result import CompressionResult
    from quietmic.compression.stored import open_network, save_network
    from quietmic.compression.structure.plain import plain_weights

_HOMES = {
    "Budget": "cost",
    "CompressionResult": "result",
    "Recipe": "recipe",
    "compress": "pipeline",
    "open_network": "stored",
    "plain_weights": "structure.plain",
    "read_recipe": "recipe",
    "save_network": "stored",
}
__all__ = [
    "Budget", "CompressionResult", "Recipe", "compress", "open_network", "plain_weights", "read_recipe", "save_network",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imports on first use, so that naming the package does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'quietmic.compression' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"quietmic.compression.{_HOMES[name]}"), name)
