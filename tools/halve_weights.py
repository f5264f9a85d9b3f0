"""Stores listed models with their weights in half precision: python tools/halve_weights.py NAME...

Rewrites each ONNX file in place and its SHA-256 in the index. The samples stay the same; the hash of the graph does not,
so that cached figures are measured anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.enhance.catalogue import find_model
from quietmic.models.export import add_to_index
from quietmic.models.half import halve


def main(names: list[str]) -> None:
    """Rewrites the models of these names."""
    paths = [find_model(name) for name in names]  # a wrong name is told before anything is written
    for name, path in zip(names, paths, strict=True):
        before = path.stat().st_size
        halve(path)
        add_to_index(path, name)
        print(f"{name}: {before / 1e6:.2f} -> {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
