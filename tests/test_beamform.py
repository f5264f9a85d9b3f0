"""The online MVDR: against an offline reference, and against everything that breaks beamformers."""

from pathlib import Path

import numpy as np
import pytest
from make_models import make_gate, make_sum

from quietmic.enhance.beamform import Beamformer, BeamSettings, BeamState
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.stream import Stream

N_FREQS = 33


def gaussian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def scene(n_mics: int, n_frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A talker in half of the frames and two point noises: (mixture, talker) [n_mics, n_freqs, T], mask."""
    rng = np.random.default_rng(seed)
    steering = gaussian(rng, n_mics, N_FREQS, 1)
    mask = (rng.random((N_FREQS, n_frames)) < 0.5).astype(np.float32)
    speech = steering * gaussian(rng, 1, N_FREQS, n_frames) * mask
    noise = 0.01 * gaussian(rng, n_mics, N_FREQS, n_frames)
    for _ in range(2):
        noise = noise + gaussian(rng, n_mics, N_FREQS, 1) * gaussian(rng, 1, N_FREQS, n_frames)
    return (speech + noise).astype(np.complex64), speech.astype(np.complex64), mask


def feed(beamformer: Beamformer, spectra: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, BeamState]:
    """Beam of every frame, and the state after the last."""
    state = beamformer.initial_state()
    beams = []
    for t in range(spectra.shape[2]):
        beams.append(beamformer.apply(spectra[:, :, t], 0, state))
        beamformer.update(spectra[:, :, t], mask[:, t], state)
    return np.stack(beams, axis=1), state


def gain_db(output: np.ndarray, target: np.ndarray, noisy: np.ndarray) -> float:
    """How far the error against the target fell from the noisy microphone's."""
    return float(10 * np.log10(np.sum(abs(noisy - target) ** 2) / np.sum(abs(output - target) ** 2)))


def test_agrees_with_torchaudio_on_a_stationary_scene() -> None:
    """A long memory and the same loading: outputs within -40 dB of the offline filter's, same masks."""
    torch = pytest.importorskip("torch")
    torchaudio = pytest.importorskip("torchaudio")
    mixture, _, mask = scene(4, 4000)
    beamformer = Beamformer(4, N_FREQS, BeamSettings(forgetting=0.9999, loading=1e-5, low_noise=0))
    _, state = feed(beamformer, mixture, mask)
    ours = np.einsum("fm,mft->ft", beamformer.weights(0, state).conj(), mixture)

    spectra, speech_mask = torch.from_numpy(mixture), torch.from_numpy(mask)
    psd = torchaudio.transforms.PSD()
    mvdr = torchaudio.transforms.SoudenMVDR()
    theirs = mvdr(spectra, psd(spectra, speech_mask), psd(spectra, 1 - speech_mask), 0, diag_eps=1e-5).numpy()
    error = np.sum(abs(ours - theirs) ** 2) / np.sum(abs(theirs) ** 2)
    assert 10 * np.log10(error) < -40


def test_cancels_point_noises() -> None:
    mixture, speech, mask = scene(4, 400)
    beams, _ = feed(Beamformer(4, N_FREQS), mixture, mask)
    late = slice(200, None)
    assert gain_db(beams[:, late], speech[0, :, late], mixture[0, :, late]) > 8


def test_a_leaky_mask_hardly_harms() -> None:
    """A network's mask is never sure of itself: unsharpened, the talker leaks into the noise (13 dB in place of 21)."""
    mixture, speech, mask = scene(4, 400)
    beams, _ = feed(Beamformer(4, N_FREQS), mixture, 0.2 + 0.6 * mask)
    late = slice(200, None)
    assert gain_db(beams[:, late], speech[0, :, late], mixture[0, :, late]) > 18


def test_without_noise_the_reference_counts() -> None:
    """Noise 50 dB below the talker: whatever the filter would do, nearly nothing of it is heard."""
    mixture, speech, mask = scene(4, 400)
    quiet = speech + np.float32(3e-3) * (mixture - speech)
    beams, _ = feed(Beamformer(4, N_FREQS), quiet, mask)
    trusting, _ = feed(Beamformer(4, N_FREQS, BeamSettings(low_noise=0)), quiet, mask)
    changed, before = (np.sum(abs(x[:, 200:] - quiet[0, :, 200:]) ** 2) for x in (beams, trusting))
    assert changed < 0.02 * before


def test_first_frames_pass_the_reference() -> None:
    mixture, _, mask = scene(3, 5)
    beams, _ = feed(Beamformer(3, N_FREQS), mixture, np.zeros_like(mask))
    assert np.array_equal(beams, mixture[0])


@pytest.mark.parametrize("silent", [0, 2])
def test_a_silent_microphone_counts_for_nothing(silent: int) -> None:
    mixture, speech, mask = scene(4, 300)
    mixture[silent] = 0
    beamformer = Beamformer(4, N_FREQS)
    reference = 1 if silent == 0 else 0
    _, state = feed(beamformer, mixture, mask)
    weights = beamformer.weights(reference, state)
    assert np.abs(weights[:, silent]).max() < 1e-4
    output = np.einsum("fm,mft->ft", weights.conj(), mixture)
    assert gain_db(output, speech[reference], mixture[reference]) > 5


def test_identical_microphones_are_one() -> None:
    """No direction can be told: the speech comes through as it is."""
    mixture, _, mask = scene(1, 300)
    beams, _ = feed(Beamformer(4, N_FREQS), np.repeat(mixture, 4, axis=0), mask)
    assert np.abs(beams - mixture[0]).max() < 1e-2 * np.abs(mixture).max()


def test_order_of_the_other_microphones_does_not_matter() -> None:
    mixture, _, mask = scene(5, 100)
    beams, _ = feed(Beamformer(5, N_FREQS), mixture, mask)
    shuffled, _ = feed(Beamformer(5, N_FREQS), mixture[[0, 4, 2, 1, 3]], mask)
    assert np.abs(beams - shuffled).max() < 1e-5 * np.abs(beams).max()


def test_level_does_not_matter() -> None:
    mixture, _, mask = scene(3, 100)
    beams, _ = feed(Beamformer(3, N_FREQS), mixture, mask)
    quiet, _ = feed(Beamformer(3, N_FREQS), mixture * np.float32(1e-3), mask)
    assert np.abs(1e3 * quiet - beams).max() < 1e-3 * np.abs(beams).max()


def test_state_stays_bounded_and_silence_leaves_it_alone() -> None:
    mixture, _, mask = scene(2, 100)
    beamformer = Beamformer(2, N_FREQS)
    _, state = feed(beamformer, mixture, mask)
    loudest = np.abs(mixture).max() ** 2
    for i in range(20_000):
        beamformer.update(mixture[:, :, i % 100], mask[:, i % 100], state)
    assert np.abs(state.speech).max() <= loudest
    before = state.speech.copy()
    for _ in range(5000):
        beamformer.update(np.zeros((2, N_FREQS), np.complex64), mask[:, 0], state)
    assert np.array_equal(state.speech, before)
    frame = mixture[:, :, 0]
    for _ in range(1000):
        beamformer.update(frame, np.ones(N_FREQS, np.float32), state)
    np.testing.assert_allclose(state.speech, frame[:, None] * frame.conj(), rtol=1e-3)  # means, not sums


def test_what_is_half_speech_teaches_speech_a_sixteenth_and_noise_less() -> None:
    mixture, _, _ = scene(2, 1)
    beamformer = Beamformer(2, N_FREQS)
    state, frame = beamformer.initial_state(), mixture[:, :, 0]
    beamformer.update(frame, np.full(N_FREQS, 0.5, np.float32), state)
    outer = frame[:, None] * frame.conj()
    np.testing.assert_allclose(state.speech, 0.02 * 0.5**4 * outer, rtol=1e-4)
    np.testing.assert_allclose(state.noise, 0.02 * 0.5**8 * outer, rtol=1e-4)


def stream_output(network: Path, signals: np.ndarray) -> np.ndarray:
    """What a stream makes of microphones [n_mics, n_samples], in time with them."""
    stream = Stream(OnnxNetwork(network), len(signals))
    return np.concatenate([stream.process(signals.astype(np.float32)), stream.flush()])[stream.delay :]


@pytest.mark.parametrize("n_dead", [0, 1])
def test_a_stream_learns_its_beam_from_the_networks_mask(tmp_path: Path, n_dead: int) -> None:
    """Noise of opposite signs in two microphones goes, the talker stays as the first live one hears him."""
    rng = np.random.default_rng(0)
    voice = rng.standard_normal(64_000) * (np.arange(64_000) // 8000 % 2)  # half seconds, a pause before each
    noise = 0.2 * rng.standard_normal(64_000)
    live = [0.5 * voice + noise, voice - noise]
    found = stream_output(make_gate(tmp_path / "gate.onnx", 40.0), np.stack([0 * voice] * n_dead + live))
    error = (found - 0.5 * voice)[32_000:]
    assert 10 * np.log10(np.sum(noise[32_000:] ** 2) / np.sum(error**2)) > 15


def test_where_the_reference_is_dead_each_microphone_is_still_heard_once(tmp_path: Path) -> None:
    first, second = np.random.default_rng(0).standard_normal((2, 16_000)) * 0.1
    found = stream_output(make_sum(tmp_path / "sum.onnx"), np.stack([0 * first, first, second]))
    assert np.abs(found - first - second).max() < 1e-5


@pytest.mark.parametrize("n_mics", [2, 4, 8])
def test_weights_are_those_of_the_formula_after_an_hour(n_mics: int) -> None:
    """Souden's equation by LAPACK, in double precision, on covariances of which half are nearly singular."""
    mixture, _, mask = scene(n_mics, 64)
    mixture[:, ::2] = mixture[:1, ::2] * (1 + 1e-3 * mixture[:, ::2])
    beamformer = Beamformer(n_mics, N_FREQS, BeamSettings(low_noise=0))
    state = beamformer.initial_state()
    for i in range(225_000 if n_mics == 2 else 2000):  # an hour at 16 ms a hop
        beamformer.update(mixture[:, :, i % 64], mask[:, i % 64], state)
    speech, noise = (r.astype(np.complex128).transpose(2, 0, 1) for r in (state.speech, state.noise))
    power = np.einsum("fmm->f", noise + 0.01 * speech).real / n_mics
    ratio = np.linalg.solve(noise + 1e-3 * power[:, None, None] * np.eye(n_mics), speech)
    expected = ratio[:, :, -1] / np.einsum("fmm->f", ratio)[:, None].real
    error = np.abs(beamformer.weights(n_mics - 1, state) - expected).max(axis=1)
    assert (error < 1e-4 * np.abs(expected).max(axis=1)).all()
