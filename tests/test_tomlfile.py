"""TOML as people's editors save it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quietmic.compression.recipe import read_recipe
from quietmic.devices.microphones import find_array
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.tomlfile import read_toml
from quietmic.models.training.config import read_config

READERS: list[Callable[[Path], Any]] = [
    read_toml, read_recipe, lambda path: find_array(str(path)), lambda path: read_config(path, "tcn"),
]  # fmt: skip


@pytest.mark.parametrize("read", READERS)
def test_another_encoding_and_what_is_no_toml_are_told(read: Callable[[Path], Any], tmp_path: Path) -> None:
    """Settings with an umlaut, saved by an older editor, ended in Python's own lines."""
    path = tmp_path / "mine.toml"
    with pytest.raises(QuietmicError, match=r"mine\.toml cannot be read: no such file"):
        read(path)
    for data, told in (("# für mich\n".encode("latin-1"), "not in UTF-8"), (b"a = ", "not TOML")):
        path.write_bytes(data)
        with pytest.raises(QuietmicError, match=rf"mine\.toml is {told}") as error:
            read(path)
        assert error.value.exit_code == 2


def test_the_mark_of_windows_editors_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes("\ufeffdescription = 'für mich'\nchannels = [0, 1]\n".encode())
    array = find_array(str(tmp_path / "mine.toml"))
    assert (array.description, array.channels) == ("für mich", (0, 1))
