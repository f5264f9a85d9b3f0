"""Scenes as they are drawn: whose responses and places they hold, and how often a trait comes."""

from dataclasses import replace

import numpy as np
import pytest
from test_noise import SECOND, make_pack

from quietmic.models.mixtures.rooms import N_NOISES, Room, RoomRange, draw_array, early_part, simulate_room
from quietmic.models.mixtures.scene import MixConfig, Scene, no_augmentation
from quietmic.models.mixtures.source import SceneSource

PLAIN = no_augmentation(MixConfig(segment_s=0.1))
N_MICS = 4


class Line:
    """One room of four microphones in a line, a centimetre apart: the direct sound comes to each 3 samples later."""

    sample_rate = SECOND

    def __len__(self) -> int:
        return 1

    def n_mics(self, i: int) -> int:
        return N_MICS

    def __getitem__(self, i: int) -> Room:
        responses, direct = np.zeros((1 + N_NOISES, N_MICS, 2000), np.float32), 50 + 3 * np.arange(N_MICS)
        for mic in range(N_MICS):
            responses[:, mic, direct[mic]] = 1
            responses[0, mic, direct[mic] + 799 : direct[mic] + 801] = 0.5  # the last early one, the first late one
        return Room(responses, direct, 0.01 * np.arange(N_MICS)[:, None] * np.array([1.0, 0, 0]), 0.3)


def make_source(config: MixConfig, sources: tuple[str, ...] = ("a", "b")) -> SceneSource:
    speech = make_pack([SECOND] * 4, [""] * 4, 0)
    rows = [row | {"source": sources[i % 2]} for i, row in enumerate(speech.rows)]
    noise = make_pack([8 * SECOND, SECOND, 3 * SECOND, 2000], ["rain", "dog", "rain", "door"], 1)
    return SceneSource(replace(speech, rows=rows), noise, Line(), config)  # type: ignore[arg-type]


def draw(config: MixConfig, count: int, n_mics: int = 1) -> list[Scene]:
    return make_source(config).draw((0,), count, n_mics)


def test_responses_target_and_places_are_of_the_same_microphones() -> None:
    across = []
    for scene in draw(replace(PLAIN, diffuse=1.0), 20, 3):
        first = np.argmax(scene.responses[0], axis=1)
        mics = (first - 50) // 3
        assert len(set(mics)) == 3
        assert np.flatnonzero(scene.early[0]).tolist() == [first[0], first[0] + 799]
        away_m = 0.01 * (mics - mics[0])
        seconds_per_m = scene.wave_delays[:, 1:] / away_m[1:]
        np.testing.assert_allclose(seconds_per_m[:, 0], seconds_per_m[:, 1])
        assert not scene.wave_delays[:, 0].any()
        across.extend(seconds_per_m[:, 0] * 343)
    assert np.abs(across).max() <= 1
    assert np.std(across) == pytest.approx(1 / np.sqrt(3), abs=0.06)  # from all around alike


def test_a_dry_talker_is_dry_at_all_microphones() -> None:
    for scene in draw(replace(PLAIN, dry=1.0), 5, 3):
        assert scene.responses[0].sum(axis=1).tolist() == [1, 1, 1]


def test_only_other_microphones_than_the_reference_are_unequal_late_or_dead() -> None:
    config = replace(PLAIN, gain_spread=1.0, device_delay=1.0)
    for traits in (config, replace(config, dead_microphone=1.0)):
        gains, delays = (
            np.array([getattr(s, name) for s in draw(traits, 100, 3)]) for name in ("mic_gains", "mic_delays_s")
        )
        assert (gains[:, 0] == 1).all() and not delays[:, 0].any()
        assert 8e-4 < delays.max() < 1e-3
        assert ((gains == 0).sum(axis=1) == (traits is not config)).all()
        spread_db = 20 * np.log10(gains[:, 1:][gains[:, 1:] > 0])
        assert -6 < spread_db.min() < -4 and 4 < spread_db.max() < 6


def test_noise_alone_and_clean_speech_are_as_often_as_set() -> None:
    scenes = draw(replace(PLAIN, segment_s=0.6, noise_only=0.3, clean=0.2), 300)
    speaks, clean = (np.array(x) for x in ([s.speech.any() for s in scenes], [s.snr_db == 60 for s in scenes]))
    assert np.mean(~speaks) == pytest.approx(0.3, abs=0.08)
    assert np.mean(clean) == pytest.approx(0.2, abs=0.07)
    assert not (clean & ~speaks).any()


def test_rare_classes_count_for_more_than_their_share_of_the_time() -> None:
    """By the root of it: eleven seconds of rain are drawn 3.3 times as often as one of a dog."""
    source, rng = make_source(PLAIN), np.random.default_rng(0)
    drawn = [source.draw_recording(rng, 100)[1] for _ in range(3000)]
    assert drawn.count("rain") / drawn.count("dog") == pytest.approx(np.sqrt(11), rel=0.12)
    assert drawn.count("dog") / drawn.count("door") == pytest.approx(np.sqrt(8), rel=0.25)


def test_sources_count_by_their_weights() -> None:
    source, rng = make_source(replace(PLAIN, source_weights={"a": 4.0})), np.random.default_rng(0)
    speakers = [source.draw_speech(rng, 100)[1] for _ in range(500)]  # s0 is of source a, s1 of b
    assert speakers.count("s0") / 500 == pytest.approx(0.8, abs=0.05)


def test_plane_waves_of_a_diffuse_part_are_not_coherent() -> None:
    waves = draw(replace(PLAIN, segment_s=1.0, diffuse=1.0), 1, 2)[0].waves
    assert len(waves) == 8
    assert np.abs(np.corrcoef(waves) - np.eye(8)).max() < 0.1


def test_the_early_part_is_50_ms() -> None:
    early = early_part(np.ones(2000, np.float32), 100)
    assert early.tolist() == [1.0] * 900 + [0.0] * 1100


def test_half_of_the_arrays_are_squares_of_their_side() -> None:
    ranges = RoomRange(n_mics=(4,), square_side_m=(0.04, 0.07), random_radius_m=(0.02, 0.1))
    arrays = [draw_array(np.random.default_rng(seed), ranges) for seed in range(60)]
    flat = [array for array in arrays if not array[:, 2].any()]
    assert 15 < len(flat) < 45
    for square in flat:
        sides = np.linalg.norm(square - np.roll(square, 1, axis=0), axis=1)
        assert sides == pytest.approx(sides[0]) and 0.04 <= sides[0] <= 0.07


def test_a_room_keeps_what_its_microphones_hear_differently() -> None:
    """One scale for all microphones of a source, and direct sound as many samples later as it comes farther."""
    room = simulate_room(
        1, RoomRange(rt60_s=(0.1, 0.15), talker_m=(0.3, 0.5), n_mics=(4,), random_radius_m=(0.1, 0.15))
    )
    peaks = np.abs(room.responses).max(axis=2)
    assert peaks.max(axis=1) == pytest.approx(1)
    assert peaks.min() < 0.95
    for mic in range(room.n_mics):
        strongest = int(np.argmax(np.abs(room.responses[0, mic, : room.direct.max() + 4])))
        assert abs(strongest - room.direct[mic]) <= 1
