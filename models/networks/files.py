"""Files of tensors and plain values: written whole or not at all, read without running anything that stands in them."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from quietmic.enhance.errors import QuietmicError, reason_of


def save_whole(content: Any, path: Path) -> None:
    """torch.save to a temporary name beside `path`, then renamed; what was there stays until then.

    Raises:
        QuietmicError: it cannot be written; the temporary file is gone, the earlier one is as it was.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps what the system says of a full disk
        reason = next((e for e in (error, error.__context__, error.__cause__) if isinstance(e, OSError)), error)
        raise QuietmicError(f"{path} cannot be written: {reason_of(reason)}; what was there before is kept") from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def load_plain(path: Path, device: torch.device | str = "cpu") -> Any:
    """The content that `save_whole` wrote.

    Raises:
        QuietmicError: missing, empty, cut off, or with anything but tensors and plain values in it.
    """
    if not path.is_file():
        raise QuietmicError(f"{path}: no such checkpoint.", exit_code=2)
    if path.stat().st_size == 0:
        raise QuietmicError(f"{path}: no checkpoint: the file is empty", exit_code=2)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise QuietmicError(f"{path} cannot be read: {reason_of(error)}", exit_code=2) from error
    except Exception as error:  # whatever bytes that are no checkpoint lead the unpickler to
        told = " ".join(str(error).split())[:200]
        raise QuietmicError(f"{path}: no checkpoint, or a damaged one: {told}", exit_code=2) from error
