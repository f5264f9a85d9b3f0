"""Scenes made by hand: levels, times and filters of what is mixed are those that the scene names."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from quietmic.models.mixtures.mixing import Batch, mix, stack_scenes
from quietmic.models.mixtures.scene import Scene

N = 16_000
CPU = torch.device("cpu")
PLACE = 50  # sample of the direct sound in every response


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(N).astype(np.float32)


def click(*places: int) -> np.ndarray:
    out = np.zeros(N, np.float32)
    out[list(places)] = 1
    return out


def scene(n_mics: int = 1, **changes: Any) -> Scene:
    """A talker and one place for a noise, both heard as they are after PLACE samples; all else is off."""
    response = np.zeros((2, n_mics, 400), np.float32)
    response[:, :, PLACE] = 1
    silence = np.zeros(N, np.float32)
    plain = Scene(
        speech=silence, point_noises=silence[None], waves=silence[None], responses=response, early=response[:2, 0],
        wave_delays=np.zeros((1, n_mics)), mic_gains=np.ones(n_mics), mic_delays_s=np.zeros(n_mics),
        equaliser_db=np.zeros(8), snr_db=300.0, level_db=-30.0, clip=1.0, low_pass_hz=0.0, sensor_db=-np.inf,
        leaves_s=np.inf, moves_s=1.0, facts={},
    )  # fmt: skip
    return replace(plain, **changes)


def mixed(*scenes: Scene) -> Batch:
    return mix(stack_scenes(list(scenes)), CPU, seed=3)


def db(power: Any) -> float:
    return float(10 * np.log10(np.mean(np.square(np.asarray(power, float)))))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.0])
def test_the_snr_is_that_of_what_sounds(snr_db: float) -> None:
    """Of 20 ms in 80, and of noise in 40: what is 50 dB softer in between is no speech, pauses are part of neither."""
    frame = np.arange(N) // 320
    talks, hisses = frame % 4 == 0, frame % 2 == 1
    speech = np.roll(noise(0) * np.where(talks, 1, 3e-3), -PLACE)  # frames of the mixing meet the bursts
    bursts = np.roll(noise(1) * hisses, -PLACE)
    batch = mixed(scene(speech=speech, point_noises=bursts[None], snr_db=snr_db))
    talker, other = batch.reverberant[0].numpy(), (batch.noisy[0, 0] - batch.reverberant[0]).numpy()
    assert db(talker[talks]) - db(other[hisses]) == pytest.approx(snr_db, abs=0.05)
    assert db(batch.noisy) == pytest.approx(-30, abs=0.01)


def test_the_target_has_the_level_and_the_tone_of_what_is_heard() -> None:
    """With neither noise nor echo the microphone hears the target; all microphones go through one tone."""
    equaliser = np.array([0, 6, -6, 3, 0, -3, 6, 0.0])
    batch = mixed(scene(speech=noise(0), equaliser_db=equaliser, low_pass_hz=4000.0))
    assert torch.allclose(batch.noisy[0, 0], batch.target[0], atol=1e-6)
    assert torch.allclose(batch.noisy[0, 0], batch.reverberant[0], atol=1e-6)
    assert db(batch.target) == pytest.approx(-30, abs=0.01)


def test_what_comes_after_the_end_is_not_heard_at_the_beginning() -> None:
    responses = np.zeros((2, 1, 4000), np.float32)
    responses[:, 0, 3000] = 1
    batch = mixed(scene(speech=click(1000, N - 1), responses=responses, early=responses[:, 0]))
    heard = np.flatnonzero(batch.noisy[0, 0].abs().numpy() > 1e-3)
    assert heard.tolist() == [4000]


def test_microphones_hear_late_and_softly_as_their_devices_are() -> None:
    """Talker and noise alike; the reference counts for levels."""
    two = scene(2, mic_gains=np.array([1, 0.5]), mic_delays_s=np.array([0, 7 / 16_000]))
    for changes in ({"speech": click(2000)}, {"point_noises": click(2000)[None]}):
        noisy = mixed(replace(two, **changes)).noisy[0].numpy()
        assert np.argmax(noisy, axis=1).tolist() == [2000 + PLACE, 2000 + PLACE + 7]
        assert noisy[1].max() == pytest.approx(0.5 * noisy[0].max(), rel=1e-3)


def test_plane_waves_come_to_microphones_at_their_times() -> None:
    waves = np.stack([click(3000), click(9000)])
    delays = np.array([[0, 5], [0, -5]]) / 16_000
    first, second = mixed(scene(2, waves=waves, wave_delays=delays)).noisy[0].numpy()
    assert sorted(np.argsort(first)[-2:]) == [3000, 9000]
    assert sorted(np.argsort(second)[-2:]) == [3005, 8995]


def test_the_diffuse_part_has_unit_power_as_point_noises_have() -> None:
    tone = (np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(N) / 16_000)).astype(np.float32)
    waves = 7 * np.stack([noise(1), noise(2)])
    spectrum = (
        np.abs(
            np.fft.rfft(mixed(scene(point_noises=tone[None], waves=waves, wave_delays=np.zeros((2, 1)))).noisy[0, 0])
        )
        ** 2
    )
    assert spectrum[990:1010].sum() / np.delete(spectrum, slice(990, 1010)).sum() == pytest.approx(1, rel=0.05)


def test_sensor_noise_is_as_soft_as_drawn_and_each_microphones_own() -> None:
    batch = mixed(scene(2, speech=noise(0), sensor_db=-25.0))
    hiss = (batch.noisy - batch.reverberant[:, None])[0].numpy()
    for each in hiss:
        assert db(each) - db(batch.reverberant) == pytest.approx(-25, abs=0.2)
    assert abs(np.corrcoef(hiss)[0, 1]) < 0.05


def test_clipping_is_at_a_share_of_the_references_peak() -> None:
    batch = mixed(scene(2, speech=noise(0), mic_gains=np.array([1.0, 2.0]), clip=0.4))
    noisy, peak = batch.noisy[0].abs(), float(batch.reverberant.abs().max())
    for each, free in zip(noisy, (batch.reverberant[0], 2 * batch.reverberant[0]), strict=True):
        assert float(each.max()) == pytest.approx(0.4 * peak, rel=1e-4)
        inside = free.abs() < 0.39 * peak
        assert torch.allclose(each[inside], free.abs()[inside], atol=1e-6)
