"""Scenes for training: reproducible, with the physics they claim, from packs and rooms that stay whole."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpus import SMALL_ROOMS, make_data, make_source, write_corpus

from quietmic.enhance.card import StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.models.mixtures.mixing import active_power, mix, stack_scenes, tone_filter
from quietmic.models.mixtures.pack import Pack, pack_folder, written_whole
from quietmic.models.mixtures.rooms import early_part, simulate_room
from quietmic.models.mixtures.scene import MixConfig, no_augmentation

STFT = StftConfig()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_data(tmp_path_factory.mktemp("data"))


def test_equal_seeds_give_equal_scenes(data: dict[str, Path]) -> None:
    source = make_source(data, MixConfig(segment_s=1.0))
    first, again = (mix(stack_scenes(source.draw((3, 7), 4, 2)), torch.device("cpu"), seed=7) for _ in range(2))
    other = mix(stack_scenes(source.draw((3, 8), 4, 2)), torch.device("cpu"), seed=8)
    assert torch.equal(first.noisy, again.noisy)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.noisy, other.noisy)


def test_snr_and_level_are_those_drawn(data: dict[str, Path]) -> None:
    config = no_augmentation(MixConfig(segment_s=1.0, snr_db=(6.0, 6.0), level_db=(-30.0, -30.0)))
    source = make_source(data, config)
    scene = source.draw_scene(np.random.default_rng(0), 1)
    noisy = mix(stack_scenes([scene]), torch.device("cpu"), 0).noisy[0]
    silent = stack_scenes([scene])
    silent["snr_db"] = torch.full((1,), 200.0)
    speech = mix(silent, torch.device("cpu"), 0).noisy[0]
    speech = speech * ((noisy * speech).sum() / speech.square().sum())  # the level step scaled both differently
    snr = 10 * torch.log10(active_power(speech) / active_power(noisy - speech))
    assert float(snr) == pytest.approx(6.0, abs=1.0)  # the projection leaks a little of one noise burst into the other
    assert 10 * np.log10(float(noisy.square().mean())) == pytest.approx(-30.0, abs=0.01)


def test_a_level_that_would_clip_is_turned_down_to_full_scale(data: dict[str, Path]) -> None:
    config = no_augmentation(MixConfig(segment_s=1.0, snr_db=(20.0, 20.0), level_db=(-5.0, -5.0)))
    scene = make_source(data, config).draw_scene(np.random.default_rng(0), 2)
    batch = mix(stack_scenes([scene]), torch.device("cpu"), 0)
    assert float(batch.noisy.abs().amax()) == pytest.approx(1.0, abs=1e-5)
    assert int((batch.noisy.abs() > 0.9999).sum()) == 1  # its one largest sample: nothing was cut off
    quiet = stack_scenes([scene])
    quiet["level_db"] = torch.full((1,), -40.0)
    lower = mix(quiet, torch.device("cpu"), 0)
    ratio = float(batch.noisy.abs().amax() / lower.noisy.abs().amax())
    assert torch.allclose(batch.target, ratio * lower.target, atol=1e-5)


def test_target_is_the_early_part_of_the_clean_reference(data: dict[str, Path]) -> None:
    source = make_source(data, no_augmentation(MixConfig(segment_s=1.0, snr_db=(100.0, 100.0))))
    scene = source.draw_scene(np.random.default_rng(0), 2)
    batch = mix(stack_scenes([scene]), torch.device("cpu"), 0)
    late = batch.noisy[0, 0] - batch.target[0]
    assert 0 < float(late.square().mean()) < 0.5 * float(batch.target.square().mean())


def test_equaliser_and_band_limit_are_those_drawn() -> None:
    scenes = {
        "equaliser_db": torch.tensor([[6.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, -8.0]] * 2),
        "low_pass_hz": torch.tensor([0.0, 4000.0]),
    }
    step = 7.06 / 7  # octaves between points
    freqs = torch.tensor([0.0, 60.0, 60 * 2 ** (step / 2), 60 * 2**step, 1000.0, 4150.0, 8000.0])
    gains_db = 20 * torch.log10(tone_filter(scenes, freqs))[:, 0]
    near_the_end = -8 * (np.log2(4150 / 60) / step - 6)
    assert gains_db[0].tolist() == pytest.approx([6, 6, 2, -2, 0, near_the_end, -8], abs=0.02)
    assert gains_db[1, :5].tolist() == pytest.approx([6, 6, 2, -2, 0], abs=0.02)
    assert (gains_db[1] - gains_db[0])[5:].tolist() == pytest.approx([-40, -80], abs=0.02)


def test_speech_speed_moves_the_pitch(data: dict[str, Path]) -> None:
    source = make_source(data, MixConfig(segment_s=1.0, speech_speed=1.0))
    hum = np.round(8000 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 16000)).astype(np.int16)
    source.speech = Pack(np.tile(hum, 4), np.arange(5) * 48000, source.speech.rows, "")
    rng = np.random.default_rng(0)
    octaves = []
    for _ in range(20):
        speech = source.draw_scene(rng, 1).speech
        assert speech.shape == (16000,)
        if np.any(speech):  # not the rare scene of noise alone
            octaves.append(np.log2(np.argmax(np.abs(np.fft.rfft(speech * np.hanning(16000)))) / 1000))
    assert np.max(np.abs(octaves)) <= 0.203
    assert np.std(octaves) == pytest.approx(0.4 / np.sqrt(12), abs=0.05)


def test_room_direct_sound_is_where_geometry_says() -> None:
    room = simulate_room(3, SMALL_ROOMS)
    for m in range(room.n_mics):
        before = np.abs(room.responses[0, m, : room.direct[m] - 4]).max()
        assert np.abs(room.responses[0, m, room.direct[m] - 1 : room.direct[m] + 2]).max() > 2 * before
    early = early_part(room.responses[0, 0], int(room.direct[0]))
    assert np.all(early[room.direct[0] + 800 :] == 0)


def test_an_edited_manifest_takes_effect(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "speech", 2, 0)
    pack_folder(folder, "train", tmp_path / "cache")
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",test", ",elsewhere"))
    assert set(pack_folder(folder, "train", tmp_path / "cache").column("source")) == {"elsewhere"}


def test_missing_file_of_a_manifest_is_named(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "speech", 2, 0)
    (folder / "1.wav").unlink()
    with pytest.raises(QuietmicError, match=r"1\.wav"):
        pack_folder(folder, "train", tmp_path / "cache")


def test_a_cache_that_two_runs_fill_at_once_stays_whole(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "speech", 2, 0)
    first = pack_folder(folder, "train", tmp_path / "cache")
    expected = np.array(first.samples)
    target = next((tmp_path / "cache").glob("pack-*"))
    with written_whole(target) as part:  # the other run, a little later
        np.save(part / "samples.npy", expected)
        assert np.array_equal(first.samples, expected)
        assert (target / "starts.npy").exists()
    assert np.array_equal(first.samples, expected)  # what is mapped stays readable
    assert [path.name for path in (tmp_path / "cache").glob("pack-*")] == [target.name]


def test_a_pack_that_failed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "cache" / "pack") as part:
        (part / "samples.npy").write_bytes(b"half")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_scenes_of_folders_without_a_manifest_warn_of_training_on_them(
    data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from quietmic.models.mixtures.scenes import SceneSet, make_scenes

    shutil.copytree(data["speech"], tmp_path / "plain")
    (tmp_path / "plain" / "manifest.csv").unlink()
    make_scenes(SceneSet(tmp_path / "plain", data["noise"], tmp_path / "out", count=1, split="train"))
    assert "plain has no manifest.csv" in caplog.text


def test_scenes_are_the_same_twice(data: dict[str, Path], tmp_path: Path) -> None:
    from quietmic.models.mixtures.scenes import SceneSet, make_scenes

    files = []
    for name in ("a", "b"):
        make_scenes(SceneSet(data["speech"], data["noise"], tmp_path / name, count=2, split="train"))
        files.append((tmp_path / name / "noisy" / "scene-001.flac").read_bytes())
    assert files[0] == files[1]
    noisy, rate = soundfile.read(tmp_path / "a" / "noisy" / "scene-000.flac")
    assert noisy.shape == (96000, 4)
    assert rate == 16000
    clean, reverberant = (
        soundfile.read(tmp_path / "a" / part / "scene-000.flac")[0] for part in ("clean", "reverberant")
    )
    # What the talker adds to the microphone: orthogonal to the rest, and more than the direct sound and early echo.
    rest = noisy[:, 0] - reverberant
    assert abs(rest @ reverberant) < 0.05 * np.sqrt((rest @ rest) * (reverberant @ reverberant))
    assert 0.5 < (clean @ reverberant) / (clean @ clean) < 1.5
    assert reverberant @ reverberant > clean @ clean


def test_scenes_of_the_whole_band(data: dict[str, Path], tmp_path: Path) -> None:
    """Scenes came at 16 kHz alone, so nothing above 8 kHz could be measured."""
    from quietmic.models.mixtures.scenes import SceneSet, make_scenes

    noise = tmp_path / "hiss"
    noise.mkdir()
    soundfile.write(noise / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(480_000), 48000)
    wanted = SceneSet(data["speech"], noise, tmp_path / "out", count=1, split="train", sample_rate=48000)
    make_scenes(wanted)
    noisy, rate = soundfile.read(tmp_path / "out" / "noisy" / "scene-000.flac")
    clean, _ = soundfile.read(tmp_path / "out" / "clean" / "scene-000.flac")
    assert (rate, noisy.shape, len(clean)) == (48000, (288_000, 4), 288_000)
    power = np.abs(np.fft.rfft(noisy[:, 0])) ** 2  # 6 s: six bins a hertz
    assert 10 * np.log10(power[6 * 8500 : 6 * 20000].mean() / power[6 * 300 : 6 * 7500].mean()) > -40


def test_scenes_of_chosen_classes(data: dict[str, Path], tmp_path: Path) -> None:
    from quietmic.models.mixtures.scenes import SceneSet, make_scenes

    manifest = tmp_path / "noise" / "manifest.csv"
    shutil.copytree(data["noise"], manifest.parent)
    manifest.write_text(manifest.read_text().replace("2.wav,train,s0,test,burst", "2.wav,train,s0,test,hiss"))

    def make(classes: tuple[str, ...]) -> set[str]:
        wanted = SceneSet(data["speech"], manifest.parent, tmp_path / "out", 3, split="train", classes=classes)
        made = make_scenes(wanted)
        with made.open(newline="") as file:
            heard = " + ".join(row["noise"] for row in csv.DictReader(file)).replace("diffuse ", "")
        return set(heard.split(" + "))

    assert make(()) == {"burst", "hiss"}
    assert make(("hiss",)) == {"hiss"}
    with pytest.raises(QuietmicError, match=r"bagpipes.*burst, hiss"):
        make(("bagpipes",))
