"""Who is the reference microphone."""

import numpy as np

from quietmic.enhance.reference import initial_reference, update_reference

HOP = 256


def follow(signals: np.ndarray) -> list[int]:
    """Reference of each hop of [n_mics, n_samples]."""
    state = initial_reference(len(signals))
    return [update_reference(signals[:, i : i + HOP], state) for i in range(0, signals.shape[1], HOP)]


def voices(n_mics: int, n_hops: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((n_mics, n_hops * HOP))).astype(np.float32)


def test_first_microphone_stays_without_reason() -> None:
    signals = voices(4, 200)
    signals[0] *= 0.25  # 12 dB below the others: a gain spread
    signals[:, 50 * HOP : 100 * HOP] = 0  # a pause
    assert set(follow(signals)) == {0}
    assert set(follow(signals[:1])) == {0}


def test_a_microphone_dead_from_the_start_never_is_the_reference() -> None:
    signals = voices(3, 20)
    signals[0] = 0
    assert set(follow(signals)) == {1}


def test_a_microphone_that_dies_is_replaced_within_a_tenth_of_a_second() -> None:
    signals = voices(4, 100)
    signals[:2, 30 * HOP :] *= 1e-4
    chosen = follow(signals)
    assert chosen[:35] == [0] * 35
    assert chosen[36:] == [2] * 64


def test_the_new_one_stays_when_the_old_comes_back() -> None:
    signals = voices(2, 100)
    signals[0, 30 * HOP : 50 * HOP] = 0
    assert follow(signals)[36:] == [1] * 64


def test_a_first_microphone_that_starts_late_is_the_reference_all_the_same() -> None:
    signals = voices(3, 100)
    signals[0, : 2 * HOP] = 0
    assert follow(signals) == [1, 1] + [0] * 98


def test_a_clipped_reference_is_replaced_but_a_clipped_word_is_not() -> None:
    signals = voices(2, 300)
    signals[0, : 2 * HOP] = 1
    assert set(follow(signals)) == {0}
    signals[0] = np.clip(20 * signals[0], -1, 1)
    chosen = follow(signals)
    assert chosen[0] == 0
    assert chosen[-1] == 1


def test_all_clipped_changes_nothing() -> None:
    assert set(follow(np.clip(20 * voices(3, 300), -1, 1))) == {0}


def test_single_quiet_hops_do_not_add_up() -> None:
    signals = voices(2, 200)
    signals[0].reshape(-1, HOP)[::2] = 0
    assert set(follow(signals)[1:]) == {0}


def test_dead_is_40_db_below_the_others_and_not_below_the_loudest() -> None:
    for gain, reference in ((0.03, 0), (0.003, 1)):  # 30 and 50 dB below
        signals = voices(3, 60)
        signals[0] *= gain
        assert follow(signals)[-1] == reference
    signals = voices(3, 60)
    signals[2] *= 300  # in the wind
    assert set(follow(signals)) == {0}


def test_where_no_microphone_carries_a_signal_none_is_dead() -> None:
    signals = 3e-5 * voices(2, 60)  # -110 dBFS
    signals[0] = 0
    assert set(follow(signals)) == {0}


def test_a_microphone_clipped_on_one_side_is_clipped() -> None:
    signals = voices(2, 300)
    signals[0] = np.clip(-20 * np.abs(signals[0]), -1, 0)
    assert follow(signals)[-1] == 1
