"""What `demo` prints."""

from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from quietmic.enhance.report.demo import FIGURES, enhance_recordings


def run_demo(recordings: Path, out: Path, model: str) -> None:
    """Enhances the recordings of a folder into `out` and prints a table of before and after.

    Raises:
        QuietmicError: nothing to enhance, or a file that fails.
    """
    table = Table("recording", "channels", "rate", *(f"{name}\nnoisy > enhanced" for name in FIGURES))
    for row in enhance_recordings(recordings, out, model):
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no width of its own
    console.print(table)
    if find_spec("pesq") is None or find_spec("pystoi") is None:
        console.print('PESQ and STOI need the extra "metrics": pip install "quietmic\\[metrics]"')
    console.print(f"Sounds and pictures are in {out}")
