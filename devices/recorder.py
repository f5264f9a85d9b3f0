"""Records what comes in and what goes out as FLAC that stays readable, whatever happens to the program."""

import io
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.files.writer import open_flac

_FLAC_BLOCK = 4096  # samples per frame of the encoder, which keeps one frame and one sample back
_TOTAL_OFFSET = 21  # of "total samples" in a FLAC file: 36 bits, after 4 that belong to the bits per sample
_BITS_FIELD = 0xF << 36  # those 4, for 16 bits
_MOST_SAMPLES = (1 << 36) - 1
_SYNC_S = 5.0
_QUEUE_LENGTH = 1024  # hops; 16 s in which a disk may stumble


class _File(io.FileIO):
    """Keeps why a write failed, which soundfile does not tell, and refuses all that follow: the header stays true.

    Attributes:
        failure: of the write that failed, None while none has.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Number of bytes written: fewer than given means failed."""
        n_written = 0
        try:
            while self.failure is None and n_written < len(data):
                n_written += super().write(data[n_written:])
        except OSError as error:
            self.failure = error
        return n_written


class GrowingFlac:
    """A FLAC file whose header always tells how much can be read.

    The encoder writes the number of samples only at the end, and most readers refuse a file without it. So the
    number of samples in complete frames is put there after every frame.

    Attributes:
        n_samples: handed over so far.
    """

    def __init__(self, path: Path, n_channels: int, sample_rate: int) -> None:
        """Creates the file; its folder must exist."""
        self._stream = _File(path, "x+")
        self._file = open_flac(self._stream, n_channels, sample_rate)
        self.n_samples = 0
        self._n_declared = 0
        self._synced = time.monotonic()

    def write(self, block: Array) -> None:
        """Appends samples [n_channels, n_samples] and tells in the header how many can be read.

        Raises:
            OSError: the disk does not take it.
        """
        try:
            self._file.write(np.ascontiguousarray(block.T))
        except Exception as error:
            raise self._stream.failure or error from error
        self.n_samples += block.shape[1]
        n_complete = min((self.n_samples - 1) // _FLAC_BLOCK * _FLAC_BLOCK, _MOST_SAMPLES)
        if n_complete > self._n_declared:
            self._declare(n_complete)

    def _declare(self, n_samples: int) -> None:
        end = self._stream.tell()
        self._stream.seek(_TOTAL_OFFSET)
        self._stream.write((_BITS_FIELD | n_samples).to_bytes(5, "big"))
        self._stream.seek(end)
        self._n_declared = n_samples
        if time.monotonic() - self._synced > _SYNC_S:  # for a board whose plug is pulled
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        """Ends the file; the encoder fills in what is missing in the header.

        Raises:
            OSError: the disk did not take all of it.
        """
        try:
            self._file.close()
        finally:
            self._stream.close()
        if self._stream.failure:
            raise self._stream.failure


class Recorder:
    """Writes two time-stamped files, STAMP-raw.flac and STAMP-enhanced.flac, in a thread of its own.

    Attributes:
        paths: of the raw and the enhanced file.
        n_lost: hops for which the disk was too slow.
        failure: why writing stopped, None while it goes on.
    """

    def __init__(self, folder: Path, n_mics: int, sample_rate: int, log: Callable[[str], None]) -> None:
        """Creates the folder and the files.

        Args:
            folder: where.
            n_mics: channels of the raw file.
            sample_rate: Hz.
            log: takes messages for the person.

        Raises:
            OSError: they cannot be created.
        """
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.localtime(now)) + f"-{int(now * 1000) % 1000:03d}"
        self.paths = (folder / f"{stamp}-raw.flac", folder / f"{stamp}-enhanced.flac")
        self._files = (GrowingFlac(self.paths[0], n_mics, sample_rate), GrowingFlac(self.paths[1], 1, sample_rate))
        self._log = log
        self.n_lost = 0
        self.failure: str | None = None
        self._queue: queue.Queue[tuple[Array, Array] | None] = queue.Queue(_QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def push(self, raw: Array, enhanced: Array) -> None:
        """Hands over one hop, [n_mics, n_samples] and [n_samples], which must not change afterwards."""
        try:
            self._queue.put_nowait((raw, enhanced))
        except queue.Full:
            self.n_lost += 1

    def _run(self) -> None:
        while (hops := self._queue.get()) is not None:  # even after a failure, so that the queue never fills up
            try:
                if self.failure is None:
                    self._files[0].write(hops[0])
                    self._files[1].write(hops[1][None])
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Keeps and says the first failure."""
        if self.failure is None:
            self.failure = str(error) or type(error).__name__
            self._log(f"the recording broke off: {self.failure}; what was written before can be read")

    def close(self) -> None:
        """Writes what waits and ends the files."""
        self._queue.put(None)
        self._thread.join()
        for file in self._files:
            try:
                file.close()
            except Exception as error:
                self._fail(error)
