"""Noises of training never come twice, classes are left out, talkers move and start late; validation stays."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from quietmic.enhance.errors import QuietmicError
from quietmic.models.mixtures import distort
from quietmic.models.mixtures.distort import at_speed, gate, layered, lengthened, recoloured, varied
from quietmic.models.mixtures.mixing import mix, stack_scenes
from quietmic.models.mixtures.noise import draw_noise
from quietmic.models.mixtures.pack import Pack
from quietmic.models.mixtures.rooms import MAX_TAPS, N_NOISES, Room
from quietmic.models.mixtures.scene import MixConfig, no_augmentation
from quietmic.models.mixtures.source import SceneSource

SECOND = 16000
CPU = torch.device("cpu")
TALKER, ECHO, LAST = 50, 3000, 45  # where the responses of the rooms here have their samples


class Rooms:
    """One room of two microphones: the talker's response has an echo, that of each noise is a single sample."""

    sample_rate = 16000

    def __len__(self) -> int:
        return 1

    def n_mics(self, i: int) -> int:
        return 2

    def __getitem__(self, i: int) -> Room:
        responses = np.zeros((1 + N_NOISES, 2, 4000), np.float32)
        responses[0, :, TALKER], responses[0, :, ECHO] = 1, 0.5
        responses[1:, 0, LAST] = 1
        responses[1:, 1, LAST + 2] = 0.8
        return Room(responses, np.array([TALKER, TALKER]), np.zeros((2, 3)), 0.3)


def make_pack(lengths: list[int], classes: list[str], seed: int) -> Pack:
    rng = np.random.default_rng(seed)
    rows = [{"path": str(i), "speaker": f"s{i % 2}", "class": name} for i, name in enumerate(classes)]
    samples = np.round(1000 * rng.normal(size=sum(lengths))).astype(np.int16)
    return Pack(samples, np.cumsum([0, *lengths]), rows, "")


def make_source(config: MixConfig) -> SceneSource:
    speech = make_pack([SECOND] * 4, [""] * 4, 0)
    noise = make_pack([8 * SECOND, SECOND, 3 * SECOND, 2000], ["rain", "dog", "rain", "door"], 1)
    return SceneSource(speech, noise, Rooms(), config)  # type: ignore[arg-type]


def test_no_noise_comes_twice() -> None:
    source = make_source(MixConfig(segment_s=0.5, varied_noise=1.0))
    rng = np.random.default_rng(0)
    drawn = [draw_noise(rng, source) for _ in range(150)]
    assert len({name for _, name in drawn}) > 40
    spectra = np.fft.rfft(np.stack([wave for wave, _ in drawn]), 16384)
    for i in range(len(drawn) - 1):  # at any shift, either way round
        both = np.concatenate([spectra[i] * spectra[i + 1 :], spectra[i] * spectra[i + 1 :].conj()])
        assert np.abs(np.fft.irfft(both)).max() < 0.99 * source.n_samples


def test_noises_have_unit_power_and_equal_seeds_give_equal_ones() -> None:
    source = make_source(MixConfig(segment_s=0.5))
    for seed in range(100):
        (noise, name), (again, _) = (draw_noise(np.random.default_rng(seed), source) for _ in range(2))
        assert (noise.shape, noise.dtype) == ((8000,), np.float32)
        assert np.mean(noise**2) == pytest.approx(1, abs=1e-3), name
        assert np.array_equal(noise, again)


def test_speed_moves_the_spectrum_by_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(40000) / SECOND).astype(np.float32)
    for speed in (0.6, 1.0, 1.5, 2.0):
        assert np.argmax(np.abs(np.fft.rfft(at_speed(tone, speed, SECOND)))) == pytest.approx(1000 * speed, abs=1)
    for trait in ("REVERSED", "BANDED", "GATED"):
        monkeypatch.setattr(distort, trait, 0.0)
    rng, octaves = np.random.default_rng(0), []
    for _ in range(40):
        wave, _ = varied(rng, lambda rng, n: (tone[:n], "tone"), SECOND)
        octaves.append(np.log2(np.argmax(np.abs(np.fft.rfft(wave))) / 1000))
    assert np.max(np.abs(octaves)) < 0.81
    assert np.mean(np.abs(octaves) < 0.002) == pytest.approx(1 - distort.SPEED, abs=0.2)
    assert np.std(octaves) > 0.25


def test_reversal_turns_a_recording_round(monkeypatch: pytest.MonkeyPatch) -> None:
    for trait in ("SPEED", "BANDED", "GATED"):
        monkeypatch.setattr(distort, trait, 0.0)
    monkeypatch.setattr(distort, "REVERSED", 1.0)
    fading = np.random.default_rng(0).normal(size=SECOND + 2) * np.exp(-np.arange(SECOND + 2) / 2000)
    wave, _ = varied(np.random.default_rng(1), lambda rng, n: (fading.astype(np.float32), "door"), SECOND)
    assert np.argmax(np.abs(wave)) > SECOND * 3 // 4


def test_gates_silence_parts_and_leave_others() -> None:
    for seed in range(100):
        envelope = gate(np.random.default_rng(seed), 4 * SECOND)
        assert envelope.shape == (4 * SECOND,)
        assert 0 <= envelope.min() < 0.19
        assert envelope.max() == pytest.approx(1, abs=0.51)
        assert np.mean(envelope < 0.2) > 0.03
        assert np.mean(envelope > 0.25) > 0.03
        assert np.abs(np.diff(envelope)).max() < 0.1  # no clicks


def test_colours_differ_each_time_and_are_bounded() -> None:
    white = np.random.default_rng(0).normal(size=2 * SECOND).astype(np.float32)
    rng = np.random.default_rng(1)
    edges = np.geomspace(100, 7900, 9).astype(int) * 2
    tones = []
    for _ in range(40):
        power = np.abs(np.fft.rfft(recoloured(rng, white))) ** 2
        tones.append([10 * np.log10(power[a:b].mean() + 1e-9) for a, b in pairwise(edges)])
    assert np.std(tones, axis=0).min() > 3


def test_short_recordings_go_on_without_a_seam() -> None:
    piece = np.cos(2 * np.pi * 440.3 * np.arange(3000) / SECOND).astype(np.float32)
    longer = lengthened(np.random.default_rng(0), piece, 20000)
    assert longer.shape == (20000,)
    assert np.abs(np.diff(longer)).max() < 2 * np.abs(np.diff(piece)).max()
    assert np.abs(np.diff(np.resize(piece, 20000))).max() > 3 * np.abs(np.diff(piece)).max()  # what it spares
    power = longer[: 20000 // 500 * 500].reshape(-1, 500).var(axis=1)
    assert power[:-2].min() > 0.1  # nowhere a hole
    assert np.array_equal(lengthened(np.random.default_rng(0), longer, 9000), longer[:9000])


def test_layers_are_one_to_three_recordings() -> None:
    source = make_source(MixConfig(segment_s=0.2))
    rng = np.random.default_rng(0)
    counts = np.array([layered(rng, source.draw_recording, 3200)[1].count("&") + 1 for _ in range(400)])
    assert [np.mean(counts == k) for k in (1, 2, 3)] == pytest.approx(list(distort.LAYERS), abs=0.08)


def test_validation_scenes_take_their_draws_in_the_old_order() -> None:
    """Quoted figures come from sets made before noises were varied: equal seeds must go on to give these scenes."""
    source = make_source(no_augmentation(MixConfig(segment_s=1.0)))
    for seed in range(5):
        scene = source.draw_scene(np.random.default_rng(seed), 1)
        rng = np.random.default_rng(seed)
        speech, _ = source.draw_speech(rng, SECOND)
        rng.random()
        snr_db = rng.uniform(*source.config.snr_db)
        noises = np.zeros((N_NOISES, SECOND), np.float32)
        for k in range(int(rng.integers(1, N_NOISES + 1))):
            rng.random(2)
            recording = source.draw_noise_file(rng, SECOND)[0]
            noises[k] = recording / np.sqrt(np.mean(recording**2))
            noises[k] *= 10 ** (rng.uniform(-6, 0) / 20)
        assert scene.snr_db == snr_db
        np.testing.assert_array_equal(scene.speech, speech)
        np.testing.assert_array_equal(scene.point_noises, noises)
        if rng.random() < source.config.diffuse:
            recording = source.draw_noise_file(rng, SECOND)[0]
            np.testing.assert_array_equal(scene.waves[0], np.roll(recording, rng.integers(0, SECOND, 1)[0]))


def test_classes_that_are_left_out_are_never_drawn() -> None:
    rng = np.random.default_rng(0)

    def heard(source: SceneSource) -> set[str]:
        scenes = [source.draw_scene(rng, 1) for _ in range(60)]
        parts = " + ".join(str(scene.facts["noise"]).replace("diffuse ", "") for scene in scenes)
        return set(parts.replace(" & ", " + ").split(" + "))

    config = MixConfig(segment_s=0.1, babble=0.0, synthetic_noise=0.6)
    whole = heard(make_source(config))
    assert {"rain", "dog", "door", "typing", "hum"} <= whole
    left = heard(make_source(replace(config, leave_classes=("rain", "typing"))))
    assert "dog" in left
    assert not left & {"rain", "typing"}
    assert heard(make_source(replace(config, classes=("rain", "dog")))) == {"rain", "dog"}
    for wrong in (replace(config, leave_classes=("bagpipes",)), replace(config, leave_classes=("rain", "dog", "door"))):
        with pytest.raises(QuietmicError, match=r"bagpipes|left to draw") as error:
            make_source(wrong)
        assert error.value.exit_code == 2


def test_a_late_start_is_silence_and_then_the_beginning_of_an_utterance() -> None:
    config = no_augmentation(MixConfig(segment_s=1.0))
    for speed in (0.0, 1.0):
        source = make_source(replace(config, late_start=1.0, speech_speed=speed))
        source.speech.samples[::SECOND] = 20000  # the beginning of each utterance
        starts = []
        for seed in range(30):
            speech = source.draw_scene(np.random.default_rng(seed), 1).speech
            assert speech.shape == (SECOND,)
            starts.append(int(np.flatnonzero(np.abs(speech) > 0.3)[0]))
            assert np.abs(speech[: starts[-1] - 200]).max() < 0.01
        assert 0.24 * SECOND < min(starts) < 0.35 * SECOND
        assert 0.65 * SECOND < max(starts) < 0.77 * SECOND


def test_the_target_follows_a_talker_who_moves() -> None:
    config = no_augmentation(MixConfig(segment_s=2.0, snr_db=(300.0, 300.0), diffuse=0.0))
    source = make_source(replace(config, moving=1.0))
    scene = source.draw_scene(np.random.default_rng(2), 2)
    assert 0.2 <= scene.leaves_s <= 1.6
    assert 0.1 <= scene.moves_s <= 1.5
    scene = replace(scene, leaves_s=0.8, moves_s=0.4)
    assert not scene.point_noises[-1].any()
    assert scene.point_noises[0].any()
    batch = mix(stack_scenes([scene]), CPU, 0)
    noisy, target = batch.noisy[0].numpy(), batch.target[0].numpy()
    leaves, arrives = int(scene.leaves_s * SECOND), int((scene.leaves_s + scene.moves_s) * SECOND)
    scale = np.abs(target[:leaves]).max() / np.abs(np.roll(scene.speech, TALKER)[:leaves]).max()
    here, there = (scale * np.roll(scene.speech, shift) for shift in (TALKER, LAST))
    echo = 0.5 * scale * np.roll(scene.speech, ECHO)
    before, after = slice(ECHO, leaves), slice(arrives + ECHO + 10, None)
    for wave, at, wanted in (
        (target, before, here),
        (target, after, there),
        (noisy[0], before, here + echo),
        (noisy[0], after, there),
        (noisy[1], after, 0.8 * np.roll(there, 2)),
    ):
        np.testing.assert_allclose(wave[at], wanted[at], atol=1e-4 * scale)
        assert np.abs(wanted[at]).max() > 0.1 * scale * np.abs(scene.speech).max()


def test_a_talker_who_moves_leaves_the_noise_and_the_other_scenes_as_they_are() -> None:
    source = make_source(no_augmentation(MixConfig(segment_s=1.0)))
    stays, other = (source.draw_scene(np.random.default_rng(seed), 2) for seed in (0, 1))
    assert stays.leaves_s == np.inf
    goes = replace(other, leaves_s=0.3, moves_s=0.2)
    goes.point_noises[0] += goes.point_noises[-1]
    goes.point_noises[-1] = 0
    alone, together = (mix(stack_scenes(scenes), CPU, 0) for scenes in ([stays], [stays, goes]))
    assert torch.allclose(alone.noisy[0], together.noisy[0], atol=1e-6)
    assert torch.allclose(alone.target[0], together.target[0], atol=1e-6)
    silent = replace(goes, speech=np.zeros_like(goes.speech))
    noise = mix(stack_scenes([silent]), CPU, 0).noisy[0]
    still = mix(stack_scenes([replace(silent, leaves_s=np.inf)]), CPU, 0).noisy[0]
    assert torch.allclose(noise, still, atol=1e-6)
    assert goes.early.shape == (2, MAX_TAPS)
    quiet = replace(goes, point_noises=np.zeros_like(goes.point_noises), waves=np.zeros_like(goes.waves))
    clean, noisy = (mix(stack_scenes([replace(quiet, snr_db=db)]), CPU, 0).noisy for db in (300.0, 0.0))
    assert torch.allclose(clean, noisy, atol=1e-6)  # where he goes he is no noise


def test_dry_talkers_stay_where_they_are_and_moves_are_as_often_as_set() -> None:
    source = make_source(replace(no_augmentation(MixConfig(segment_s=0.1)), moving=0.5, dry=0.4))
    rng = np.random.default_rng(0)
    moves = [np.isfinite(source.draw_scene(rng, 1).leaves_s) for _ in range(300)]
    assert np.mean(moves) == pytest.approx(0.5 * 0.6, abs=0.08)
