"""TOML that people write: recipes, settings of a training, arrays of microphones."""

import tomllib
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError, reason_of


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a file in UTF-8; the mark that editors of Windows put in front of it is none of them.

    Raises:
        QuietmicError: it cannot be read, is in another encoding, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise QuietmicError(f"{path} cannot be read: {reason_of(error)}", exit_code=2) from error
    except UnicodeDecodeError as error:
        raise QuietmicError(f"{path} is not in UTF-8: save it anew in that encoding", exit_code=2) from error
    except tomllib.TOMLDecodeError as error:
        raise QuietmicError(f"{path} is not TOML: {error}", exit_code=2) from error
