"""Pictures: what stays of each group and matrix, and curves of a sweep."""

import math
from collections.abc import Sequence
from pathlib import Path

from quietmic.compression.compare import Row, summary
from quietmic.compression.result import CompressionResult


def draw_result(result: CompressionResult, path: Path) -> Path:
    """Kept units of each group and ranks of each factored layer, as bars; written as PNG or SVG by the name's end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    bars = [(name, int(mask.sum()), len(mask), "units") for cut in result.kept for name, mask in cut.items()]
    bars += [(row.name, max(row.ranks), row.full_rank, f"rank ({row.method})") for row in result.factored]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.24 * max(len(bars), 1)), layout="constrained")
    for index, (_, kept, whole, kind) in enumerate(bars):
        axes.barh(index, 1.0, color="#e4e4e4")
        axes.barh(index, kept / whole, color="#2a6f97" if kind == "units" else "#e07a2f")
        axes.text(1.01, index, f"{kept} of {whole} {kind}", va="center", fontsize=7)
    axes.set_yticks(range(len(bars)), [name if len(name) < 40 else name[:37] + "..." for name, *_ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.25), xlabel="fraction that stays", title=f"{result.recipe.name}: units and ranks")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def draw_sweep(rows: Sequence[Row], over: str, path: Path) -> Path:
    """One curve per figure over the values of a sweep, mean and interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    table = summary(rows)
    values = list(table) if over == "ratios" else [float(label) for label in table]
    names = list(next(iter(table.values())))
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        means = [table[label][name][0] for label in table]
        halves = [0.0 if math.isnan(half := table[label][name][1]) else half for label in table]
        axis.errorbar(values, means, yerr=halves, marker="o", color="#2a6f97", capsize=2)
        axis.set(xlabel=over, title=name.replace("_", " "))
        axis.spines[["top", "right"]].set_visible(False)
        if over in ("beta", "thresh"):
            axis.set_xscale("log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
