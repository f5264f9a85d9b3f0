"""What machine this is, what it can bear, and what a model costs on it."""

import platform
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quietmic.devices.microphones import BOARDS_FILE
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.measure.machine import read_cpuinfo


@dataclass(frozen=True)
class CostTable:
    """What a processor needs for a network, run frame by frame on one thread.

    Attributes:
        seconds_per_mac: of multiply-accumulates inside matrix products.
        seconds_per_operator: overhead of one operator of the graph.
        bytes_per_second: at which weights come from memory.
        measured: False if it is an estimate, from instructions that were counted and a guess of how fast they are.
    """

    seconds_per_mac: float
    seconds_per_operator: float
    bytes_per_second: float
    measured: bool

    def hop_seconds(self, macs: float, n_operators: int, weight_bytes: float) -> float:
        """Expected time of one hop: overhead, and whichever of arithmetic and memory takes longer.

        Args:
            macs: multiply-accumulates of one hop.
            n_operators: of the graph.
            weight_bytes: read for one hop.
        """
        arithmetic_s, memory_s = macs * self.seconds_per_mac, weight_bytes / self.bytes_per_second
        return n_operators * self.seconds_per_operator + max(arithmetic_s, memory_s)


@dataclass(frozen=True)
class Board:
    """One profile of a machine: what runs on it and what a network costs there.

    Attributes:
        name: as in boards.toml.
        description: for people.
        match: parts of the machine's own name that mean this board, lower case.
        threads: for the network.
        n_hops_per_block: hops in one block of the sound card.
        jitter_ms: least buffering on the output side.
        default_model: first choice, a name of the catalogue or "default".
        cost: of networks on this processor.
    """

    name: str
    description: str
    match: tuple[str, ...]
    threads: int
    n_hops_per_block: int
    jitter_ms: float
    default_model: str
    cost: CostTable


@dataclass(frozen=True)
class CountedHop:
    """Instructions of one live hop on an emulated board.

    Attributes:
        model: whose hop it is.
        operators: of its graph.
        macs: multiply-accumulates in it.
        instructions: in all, Python around the graph included.
    """

    model: str
    operators: int
    macs: float
    instructions: float


def read_counts() -> list[CountedHop]:
    """What was counted, from boards.toml; all estimates of boards follow from it."""
    return [CountedHop(**entry) for entry in _read_boards()["counted"]]


def fit_instructions(counts: list[CountedHop]) -> tuple[float, float]:
    """Instructions of (an operator, a multiply-accumulate) by which hops come out best: least squares of the ratios."""
    shares = np.array([[hop.operators / hop.instructions, hop.macs / hop.instructions] for hop in counts])
    per_operator, per_mac = np.linalg.lstsq(shares, np.ones(len(counts)), rcond=None)[0]
    return float(per_operator), float(per_mac)


def list_boards() -> dict[str, Board]:
    """All profiles of machines by name, from boards.toml."""
    instructions = fit_instructions(read_counts())
    return {name: _to_board(name, entry, instructions) for name, entry in _read_boards()["profiles"].items()}


def _read_boards() -> dict[str, Any]:
    return tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))


def _to_cost(entry: dict[str, Any], instructions: tuple[float, float]) -> CostTable:
    if "clock_hz" not in entry:
        return CostTable(entry["seconds_per_mac"], entry["seconds_per_operator"], entry["bytes_per_second"], True)
    per_operator, per_mac = (count / (entry["clock_hz"] * entry["instructions_per_cycle"]) for count in instructions)
    return CostTable(per_mac, per_operator, entry["bytes_per_second"], False)


def _to_board(name: str, entry: dict[str, Any], instructions: tuple[float, float]) -> Board:
    return Board(
        name,
        entry["description"],
        tuple(entry["match"]),
        entry["threads"],
        entry["n_hops_per_block"],
        entry["jitter_ms"],
        entry["default_model"],
        _to_cost(entry, instructions),
    )


def find_board(name: str) -> Board:
    """The profile of a machine by its name.

    Raises:
        QuietmicError: unknown name.
    """
    boards = list_boards()
    if name not in boards:
        raise QuietmicError(f"no board {name!r}; there are {', '.join(boards)}", exit_code=2)
    return boards[name]


def machine_name(root: Path = Path("/")) -> str | None:
    """What the board calls itself (device tree, or "Model" of /proc/cpuinfo), None if it does not."""
    device_tree = root / "proc/device-tree/model"
    if device_tree.is_file():
        return device_tree.read_text(errors="replace").strip("\0\n ")
    return read_cpuinfo(root).get("Model")


def detect_board(root: Path = Path("/"), machine: str | None = None) -> tuple[Board, str]:
    """(profile, why) of this machine.

    Args:
        root: where /proc lies; for tests.
        machine: processor architecture; None = that of this machine.
    """
    boards = list_boards()
    name, machine = machine_name(root), machine or platform.machine()
    if name is not None:
        for board in boards.values():
            if any(part in name.lower() for part in board.match):
                return board, f"the machine calls itself {name!r}"
    if machine.lower() in ("aarch64", "arm64") and sys.platform != "darwin":
        return boards["generic-arm64"], f"the processor is {machine}, the board {name or 'without a name'!r} not known"
    return boards["desktop"], f"the processor is {machine}"


def format_board(board: Board, reason: str) -> str:
    """The profile and why it was taken, for people."""
    cost = board.cost
    how = "measured" if cost.measured else "estimated, nobody has measured it"
    return "\n".join(
        [
            f"board    {board.name}: {board.description}",
            f"why      {reason}",
            f"threads  {board.threads}",
            f"block    {board.n_hops_per_block} hop{'s' if board.n_hops_per_block > 1 else ''}",
            f"jitter   {board.jitter_ms:g} ms at least",
            f"cost     {cost.seconds_per_mac * 1e9:.2g} ns per multiply-accumulate, "
            f"{cost.seconds_per_operator * 1e6:.2g} us per operator, {cost.bytes_per_second / 1e9:g} GB/s ({how})",
        ]
    )
