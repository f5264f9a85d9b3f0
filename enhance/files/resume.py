"""What a batch has done, kept on disk so that the same command can go on."""

import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError, reason_of
from quietmic.enhance.files.batch import FileJob
from quietmic.enhance.files.pipes import Pipe
from quietmic.enhance.files.storage import Location, stamp
from quietmic.enhance.jsonfile import plain

FOLDER = Path(".quietmic")


class Journal:
    """A line for each output that was made: from which input, by which model, with which options."""

    def __init__(self, out: Location, read: bool, folder: Path = FOLDER) -> None:
        """Opens the journal of the batches that write to `out`.

        Args:
            out: output file or folder.
            read: know what earlier runs have made.
            folder: of the journals.
        """
        self._path = folder / f"{sha256(os.fsencode(out.absolute())).hexdigest()[:16]}.jsonl"
        self._made: dict[str, Any] = {}
        if read and self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._made |= _made_by(line)

    def has(self, job: FileJob) -> bool:
        """Whether the output is there, and made from the input as it is now with the same model and options."""
        return job.target.exists() and self._made.get(plain(str(job.target))) == _facts(job)

    def add(self, job: FileJob) -> None:
        """Notes that the output was made.

        Raises:
            QuietmicError: the journal cannot be written.
        """
        line = "\n" + json.dumps([plain(str(job.target)), _facts(job)])  # also after a line that was cut off
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # names of files are nobody else's business
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            message = f"what is done cannot be noted in {self._path} ({reason_of(error)})"
            raise QuietmicError(f"{message}: a run that resumes would do it again") from error


def _made_by(line: str) -> dict[str, Any]:
    """Output and facts that a line notes; nothing, where it is empty, damaged, or was cut off when a run was killed."""
    try:
        match json.loads(line):
            case [str(target), dict(facts)]:
                return {target: facts}
    except ValueError:
        pass
    return {}


def _facts(job: FileJob) -> dict[str, Any]:
    """Input size and time, hash of the model and options."""
    size, changed = (0, "") if isinstance(job.source, Pipe) else stamp(job.source)
    options = {name: value for name, value in asdict(job.options).items() if name != "model"}
    return plain({"source": str(job.source), "size": size, "changed": changed} | options)
