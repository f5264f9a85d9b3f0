"""A ring buffer between the sound card's callback and the worker: no lock, no allocation, no waiting."""

import numpy as np
from numpy.typing import NDArray


class Ring:
    """Samples from one writer thread to one reader thread.

    Each side moves only its own counter, after its copy is done, and reads the other's; assigning an int is atomic
    in Python, so neither ever sees half a block. The layout is the sound card's, so that a callback only copies.

    Attributes:
        n_written: samples written since the start, per channel.
        n_read: samples read or skipped since the start, per channel.
        n_dropped: samples that found no room.
    """

    def __init__(self, n_channels: int, capacity: int) -> None:
        """Allocates all it will ever need.

        Args:
            n_channels: channels of every block.
            capacity: samples per channel.
        """
        self._buffer = np.zeros((capacity, n_channels), np.int16)
        self.n_channels = n_channels
        self.capacity = capacity
        self.n_written = 0
        self.n_read = 0
        self.n_dropped = 0

    @property
    def fill(self) -> int:
        """Samples that wait to be read."""
        return self.n_written - self.n_read

    def write(self, block: NDArray[np.int16]) -> int:
        """Copies a block in; what does not fit is dropped and counted.

        Args:
            block: [n_samples, n_channels].

        Returns:
            Samples taken.
        """
        n = min(len(block), self.capacity - self.fill)
        begin = self.n_written % self.capacity
        first = min(n, self.capacity - begin)
        self._buffer[begin : begin + first] = block[:first]
        self._buffer[: n - first] = block[first:n]
        self.n_dropped += len(block) - n
        self.n_written += n
        return n

    def read_into(self, block: NDArray[np.int16]) -> int:
        """Copies the oldest samples out.

        Args:
            block: [n_samples, n_channels]; filled from its start, the rest is left as it was.

        Returns:
            Samples given.
        """
        n = min(len(block), self.fill)
        begin = self.n_read % self.capacity
        first = min(n, self.capacity - begin)
        block[:first] = self._buffer[begin : begin + first]
        block[first:n] = self._buffer[: n - first]
        self.n_read += n
        return n

    def skip(self, n_samples: int) -> None:
        """Drops the oldest samples; called by the reader only."""
        self.n_read += min(n_samples, self.fill)
