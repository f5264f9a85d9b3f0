"""Runs `live` with models of the test's own in the catalogue, those named "slow..." made too slow for the machine.

python tests/slow_live.py FOLDER [options of live]
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic import cli
from quietmic.enhance import catalogue as catalog
from quietmic.enhance import stream
from quietmic.enhance.network import OnnxNetwork

HOP_TAKES_S = 0.04


def main(folder: Path, arguments: list[str]) -> int:
    """Runs the command on the models of a folder."""
    process = stream.Stream.process

    def slow_process(self: stream.Stream, block: Any) -> Any:
        if self.network.card.name.startswith("slow") and time.monotonic() > start + 2:
            time.sleep(HOP_TAKES_S)
        return process(self, block)

    start = time.monotonic()
    stream.Stream.process = slow_process  # type: ignore[method-assign]
    entries = [catalog.ModelEntry(p.stem, p, p.stem, OnnxNetwork(p).card, False) for p in sorted(folder.glob("*.onnx"))]
    catalog.list_models = lambda: entries  # type: ignore[assignment]
    return cli.main(["live", *arguments])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
