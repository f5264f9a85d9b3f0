"""The ring between callback and worker."""

import threading

import numpy as np
import pytest

from quietmic.devices.ring import Ring


@pytest.mark.parametrize("block_length", [1, 7, 255, 257, 1000])
def test_samples_come_out_as_they_went_in(block_length: int) -> None:
    ring = Ring(n_channels=2, capacity=1500)
    samples = np.arange(20000, dtype=np.int16).reshape(-1, 2)
    out = np.empty_like(samples)
    n_out = 0
    for begin in range(0, len(samples), block_length):
        assert ring.write(samples[begin : begin + block_length]) == len(samples[begin : begin + block_length])
        while ring.fill >= 333:
            n_out += ring.read_into(out[n_out : n_out + 333])
    while ring.fill:
        n_out += ring.read_into(out[n_out : n_out + 333])
    np.testing.assert_array_equal(out, samples)


def test_a_full_ring_drops_and_counts_and_an_empty_one_gives_nothing() -> None:
    ring = Ring(n_channels=1, capacity=100)
    block = np.arange(70, dtype=np.int16)[:, None]
    assert (ring.write(block), ring.write(block)) == (70, 30)
    assert (ring.fill, ring.n_dropped) == (100, 40)
    ring.skip(95)
    out = np.full((10, 1), -1, np.int16)
    assert ring.read_into(out) == 5
    np.testing.assert_array_equal(out[:, 0], [25, 26, 27, 28, 29, -1, -1, -1, -1, -1])
    assert ring.read_into(out) == 0
    ring.write(block)
    ring.skip(1000)  # more than there is
    assert (ring.fill, ring.write(block + 1), ring.read_into(out)) == (0, 70, 10)
    np.testing.assert_array_equal(out, block[:10] + 1)


def test_two_threads_lose_nothing() -> None:
    ring = Ring(n_channels=1, capacity=512)
    samples = np.random.default_rng(0).integers(-32768, 32767, (50000, 1)).astype(np.int16)

    def write() -> None:
        begin = 0
        while begin < len(samples):
            begin += ring.write(samples[begin : begin + min(97, ring.capacity - ring.fill)])

    thread = threading.Thread(target=write)
    thread.start()
    out = np.empty_like(samples)
    n_out = 0
    while n_out < len(samples):
        n_out += ring.read_into(out[n_out : n_out + 61])
    thread.join()
    np.testing.assert_array_equal(out, samples)
