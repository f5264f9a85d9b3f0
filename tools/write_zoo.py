"""Writes the table of strangers' networks into docs/compression.md: python tools/write_zoo.py.

`make zoo` runs the tests that measure the rows and then this.
"""

import json
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from nets.zoo import SMALL, TORCHVISION

from quietmic.enhance.report.model_table import write_into

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compression.md"


def amount(parameters: int) -> str:
    """Parameters for people."""
    return f"{parameters / 1e6:.3f}M" if parameters >= 1e5 else f"{parameters:,}"


def table(rows: list[dict]) -> str:
    """One line a network, those of torchvision first."""
    lines = [
        "| network | parameters | half of the units | Torch-Pruning | cut - gated | graph - network | left whole |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["before"] < 1e5, row["name"])):
        other = amount(row["torch-pruning"]) if row["torch-pruning"] else "no"
        gates = max(row["l1 gates"], row["influence gates"])
        graph = [row[key] for key in ("l1 graph", "influence graph") if row[key] is not None]
        shown = f"{max(graph):.0e}" if graph else "no export"
        lines.append(
            f"| {row['name']} | {amount(row['before'])} | {amount(row['after'])} | {other} | {gates:.0e} | {shown} "
            f"| {len(row['left alone'])} |"
        )
    through = [row for row in rows if row["torch-pruning"]]
    equal = sum(row["after"] == row["torch-pruning"] for row in through)
    fewer = sum(row["after"] < row["torch-pruning"] for row in through)
    more = len(through) - equal - fewer
    done = {row["name"] for row in rows}
    missing = [name for name in (*TORCHVISION, *SMALL) if name not in done]
    lines += ["", f"{sum(name in done for name in TORCHVISION)} of the {len(TORCHVISION)} networks of torchvision and "
              f"{sum(name in done for name in SMALL)} of the {len(SMALL)} small ones"
              + (f"; not run yet: {', '.join(missing)}." if missing else ".")]  # fmt: skip
    lines += ["", f"Of these {len(rows)} Torch-Pruning gets through {len(through)}: the same number of parameters in "
              f"{equal}, here fewer in {fewer} and more in {more}."]  # fmt: skip
    return "\n".join(lines)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Makes the table of the rows that the tests left in FOLDER (ZOO=FOLDER pytest -m zoo) and writes it into
    docs/compression.md."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    write_into(PAGE, "zoo", table(rows), "make zoo")


if __name__ == "__main__":
    main()
