"""Boards are recognised, arrays are found, a model is chosen by what the machine can bear."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quietmic.devices.board import (
    CostTable,
    detect_board,
    find_board,
    fit_instructions,
    format_board,
    list_boards,
    read_counts,
)
from quietmic.devices.choice import MAX_LOAD, choose_model, smaller_candidates
from quietmic.devices.engine import Candidate, Engine
from quietmic.devices.microphones import find_array
from quietmic.enhance.errors import QuietmicError


def machine(tmp_path: Path, name: str | None) -> Path:
    """A root file system whose board has this name."""
    if name is not None:
        (tmp_path / "proc/device-tree").mkdir(parents=True)
        (tmp_path / "proc/device-tree/model").write_text(name + "\0")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "architecture", "board"),
    [
        ("Raspberry Pi 4 Model B Rev 1.1", "aarch64", "rpi4"),
        ("Raspberry Pi 5 Model B Rev 1.0", "aarch64", "rpi5"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "aarch64", "rpi-zero-2"),
        ("NVIDIA Jetson Nano Developer Kit", "aarch64", "jetson-nano"),
        ("Radxa ROCK 5B", "aarch64", "generic-arm64"),
        (None, "aarch64", "generic-arm64"),
        (None, "x86_64", "desktop"),
    ],
)
def test_a_board_is_recognised(tmp_path: Path, name: str | None, architecture: str, board: str) -> None:
    found, reason = detect_board(machine(tmp_path, name), architecture)
    assert found.name == board
    assert (name or architecture) in reason
    assert f"board    {board}" in format_board(found, reason)


def test_cpuinfo_is_read_where_there_is_no_device_tree(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n")
    assert detect_board(tmp_path, "aarch64")[0].name == "rpi4"


def test_every_profile_is_whole() -> None:
    boards = list_boards()
    assert set(boards) == {"desktop", "rpi4", "rpi5", "rpi-zero-2", "jetson-nano", "generic-arm64"}
    for board in boards.values():
        assert board.threads >= 1 and board.jitter_ms >= 32
        assert 0 < board.cost.seconds_per_mac < 1e-8
    with pytest.raises(QuietmicError, match="no board 'pc'"):
        find_board("pc")


def test_estimates_follow_from_counted_instructions() -> None:
    """A Raspberry Pi 4 takes for each counted hop what its instructions take, one a cycle, to a tenth."""
    counts, cost = read_counts(), find_board("rpi4").cost
    assert len(counts) >= 3
    for hop in counts:
        assert cost.hop_seconds(hop.macs, hop.operators, 0) == pytest.approx(hop.instructions / 1.5e9, rel=0.1)
    doubled = [replace(hop, instructions=2 * hop.instructions) for hop in counts]
    assert fit_instructions(doubled) == pytest.approx([2 * value for value in fit_instructions(counts)])
    ratios = {board.cost.seconds_per_operator / board.cost.seconds_per_mac for board in list_boards().values()
              if not board.cost.measured}  # fmt: skip
    assert max(ratios) == pytest.approx(min(ratios))  # no estimate of its own
    assert [name for name, board in list_boards().items() if board.cost.measured] == ["desktop"]
    assert "estimated" in format_board(find_board("rpi4"), "asked for")


def test_costs_add_up() -> None:
    cost = CostTable(seconds_per_mac=1e-9, seconds_per_operator=1e-5, bytes_per_second=1e9, measured=True)
    assert cost.hop_seconds(macs=1e6, n_operators=100, weight_bytes=1e5) == pytest.approx(2e-3)
    assert cost.hop_seconds(macs=1e6, n_operators=100, weight_bytes=4e6) == pytest.approx(5e-3)


def candidate(name: str, hop_takes_s: float, macs: int, max_mics: int = 1) -> Candidate:
    """A model of known speed."""

    def process(block: np.ndarray) -> np.ndarray:
        time.sleep(hop_takes_s)
        return block[0]

    return Candidate(name, name, max_mics, macs, 16000, 256, lambda n, threads: Engine(name, process, lambda: None))


def test_the_largest_bearable_model_is_chosen_and_remembered(tmp_path: Path) -> None:
    candidates = [candidate("large", 0.02, 300), candidate("small", 0.0, 100), candidate("middle", 0.001, 200)]
    choice = choose_model(candidates, 1, 1, tmp_path)
    assert choice.model == "middle"
    assert choice.loads["large"] > 1 > MAX_LOAD > choice.loads["middle"]
    begin = time.perf_counter()
    assert choose_model(candidates[2:], 1, 1, tmp_path).loads == {"middle": choice.loads["middle"]}
    assert time.perf_counter() - begin < 0.1  # not measured again
    (tmp_path / "loads.json").write_text("broken")
    assert choose_model(candidates[1:2], 1, 1, tmp_path).model == "small"


def test_a_machine_that_was_busy_once_is_measured_again(tmp_path: Path) -> None:
    """A first start while a person logged in left the smallest model for ever."""
    small = candidate("small", 0.0, 100)
    assert choose_model([candidate("large", 0.02, 300), small], 1, 1, tmp_path).model == "small"
    assert choose_model([candidate("large", 0.0, 300), small], 1, 1, tmp_path).model == "large"
    assert choose_model([candidate("large", 0.02, 300), small], 1, 1, tmp_path).model == "large"  # as it was at best


def test_models_for_fewer_microphones_are_left_out(tmp_path: Path) -> None:
    one, four = candidate("one", 0.0, 100), candidate("four", 0.0, 200, max_mics=4)
    assert choose_model([one, four], 4, 1, tmp_path).model == "four"
    assert smaller_candidates([one, four], four, 4) == []
    assert smaller_candidates([one, four], four, 1) == [one]
    with pytest.raises(QuietmicError, match="8 microphones"):
        choose_model([one, four], 8, 1, tmp_path)


def test_an_array_is_a_name_or_a_file_of_channels(tmp_path: Path) -> None:
    assert find_array("respeaker-usb-4").channels == (1, 2, 3, 4)
    path = tmp_path / "mine.toml"
    path.write_text("channels = [3, 1]\n")
    assert find_array(str(path)).channels == (3, 1)


@pytest.mark.parametrize(
    "text",
    ["device = 'U'", "channels = 2", "channels = ['left']", "channels = []", "channels = [1, 1]", "channels = ["],
)
def test_a_broken_array_is_wrong_use(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.toml").write_text(text)
    with pytest.raises(QuietmicError) as caught:
        find_array(str(tmp_path / "broken.toml"))
    assert caught.value.exit_code == 2
