"""Training data and loop: reproducible scenes, physics of the mixture, the run time's transforms, resuming."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from make_models import make_gain
from reports_fixtures import write_pairs

from quietmic.enhance.beamform import Beamformer
from quietmic.enhance.card import StftConfig
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_file
from quietmic.enhance.measure.graph_hash import hash_graph
from quietmic.enhance.stft import Stft
from quietmic.models.export import add_to_index
from quietmic.models.mixtures.mixing import active_power, mix, stack_scenes, tone_filter
from quietmic.models.mixtures.pack import Pack, pack_folder, written_whole
from quietmic.models.mixtures.rooms import RoomCache, RoomRange, build_rooms, early_part, simulate_room
from quietmic.models.mixtures.scene import MixConfig, no_augmentation
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.beam import beamform
from quietmic.models.networks.registry import save_network
from quietmic.models.networks.spectra import analysis, synthesis
from quietmic.models.publish import measure_listed
from quietmic.models.training.config import TrainConfig, read_config
from quietmic.models.training.run import describe_start
from quietmic.models.training.train import RunPlan, Trainer, measure_norms, open_start, train

STFT = StftConfig()
SMALL_ROOMS = RoomRange(rt60_s=(0.1, 0.15), n_mics=(4,))
SIZES = {"encoder": (4, 6), "width": 8, "n_units": 8, "dilations": (1, 2)}


def write_corpus(folder: Path, n_files: int, seed: int) -> Path:
    """Bursts of noise of several speakers, with a manifest."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_files):
        name = f"{i}.wav"
        wave = rng.normal(0, 0.05, 20000) * (np.sin(np.arange(20000) / 2000) > 0)
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / name, wave, 16000)
        rows.append({"path": name, "split": "train", "speaker": f"s{i % 2}", "source": "test", "class": "burst"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    speech, noise = write_corpus(folder / "speech", 4, 0), write_corpus(folder / "noise", 3, 1)
    rooms = build_rooms(folder / "cache", 3, 0, SMALL_ROOMS)
    return {"speech": speech, "noise": noise, "rooms": rooms, "cache": folder / "cache"}


def make_source(data: dict[str, Path], config: MixConfig) -> SceneSource:
    packs = [pack_folder(data[name], "train", data["cache"]) for name in ("speech", "noise")]
    return SceneSource(packs[0], packs[1], RoomCache(data["rooms"]), config)


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


def test_analysis_is_the_run_times_and_synthesis_inverts_it() -> None:
    wave = np.random.default_rng(0).normal(size=(2, 256 * 9)).astype(np.float32)
    stft = Stft(STFT)
    wanted = stft.analyse(wave, stft.initial_state(2))
    spectra = analysis(torch.from_numpy(wave), STFT)
    np.testing.assert_allclose(torch.view_as_complex(spectra.contiguous()).numpy(), wanted, atol=1e-4)
    np.testing.assert_allclose(synthesis(spectra, STFT).numpy(), wave[:, : 256 * 8], atol=1e-5)


def test_training_beam_is_the_run_times() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 3, 257, 20, 2, generator=generator)
    mask = torch.rand(1, 257, 20, generator=generator)
    beam = torch.view_as_complex(beamform(noisy, mask))[0].numpy()
    spectra = torch.view_as_complex(noisy)[0].numpy()
    online = Beamformer(3, 257)
    state = online.initial_state()
    for t in range(20):
        wanted = online.apply(spectra[:, :, t], 0, state)
        # single precision on covariances of fewer frames than microphones leaves a few ill-conditioned bins
        assert np.linalg.norm(beam[:, t] - wanted) < 5e-3 * np.linalg.norm(wanted)
        online.update(spectra[:, :, t], mask[0, :, t].numpy(), state)


def test_training_resumes_and_logs(data: dict[str, Path], tmp_path: Path) -> None:
    config = TrainConfig(
        sizes=SIZES, mix=MixConfig(segment_s=1.0), batch_size=2, warmup_steps=5, decay_minutes=0.0, mics=(1, 2)
    )
    source = make_source(data, config.mix)
    _, first = train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    _, second = train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    assert second["steps"] > first["steps"] > 0  # how many depends on the machine
    assert second["minutes"] - first["minutes"] >= 0.05
    assert second["audio_hours"] == pytest.approx(second["steps"] * 2 / 3600)
    assert (tmp_path / "log.png").stat().st_size > 1000
    assert (tmp_path / "network.pt").exists()


def test_a_run_shorter_than_the_decay_goes_on_from_where_it_was_before_the_decay(
    data: dict[str, Path], tmp_path: Path
) -> None:
    config = TrainConfig(sizes=SIZES, mix=MixConfig(segment_s=1.0), batch_size=2)
    source = make_source(data, config.mix)
    train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    kept = torch.load(tmp_path / "state.pt", weights_only=True)["progress"]
    assert kept["step"] > 0
    assert kept["minutes"] == pytest.approx(0.025, abs=0.02)
    _, second = train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    assert second["minutes"] >= kept["minutes"] + 0.05


def test_norms_of_averaged_weights_are_measured_on_the_data(data: dict[str, Path]) -> None:
    """Averaged with the weights, statistics lagged so far behind that the network passed its input on unchanged."""
    config = TrainConfig(sizes=SIZES, mix=MixConfig(segment_s=0.5), batch_size=1)
    trainer = Trainer(config, torch.device("cpu"))
    norm = trainer.average.module.encoder[0].norm
    norm.running_var.fill_(1e4)
    measure_norms(trainer, make_source(data, config.mix))
    assert 0 < float(norm.running_var.max()) < 100
    assert norm.momentum == 0.1


def test_a_run_can_start_from_a_checkpoint(tmp_path: Path) -> None:
    config = TrainConfig(sizes=SIZES, seed=1)
    network = Trainer(config, torch.device("cpu")).network
    save_network(network, tmp_path / "first.pt")
    trainer = Trainer(config, torch.device("cpu"), network=open_start(tmp_path / "first.pt", config))
    for name, value in network.state_dict().items():
        assert torch.equal(trainer.average.module.state_dict()[name], value), name
    with pytest.raises(QuietmicError, match="another network"):
        open_start(tmp_path / "first.pt", TrainConfig())
    trainer.save(tmp_path / "state.pt")
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    for name, message in [("state.pt", "network.pt"), ("broken.pt", "no checkpoint")]:
        with pytest.raises(QuietmicError, match=message):
            open_start(tmp_path / name, config)


def test_what_a_run_started_from_is_told(tmp_path: Path) -> None:
    network = Trainer(TrainConfig(sizes=SIZES), torch.device("cpu")).network
    save_network(network, tmp_path / "first.pt", {"audio_hours": 3.0, "steps": 7, "teacher": "peer", "config": {}})
    told = describe_start(tmp_path / "first.pt")["started_from"]
    assert told.pop("sha256") == hash_file(tmp_path / "first.pt")
    assert told == {"audio_hours": 3.0, "steps": 7, "teacher": "peer"}
    save_network(network, tmp_path / "second.pt", {"audio_hours": 1.0, "steps": 2, "started_from": told})
    assert describe_start(tmp_path / "second.pt")["started_from"]["started_from"] == told


def test_beam_of_chosen_units_is_that_of_all() -> None:
    sizes = {"full_units": 12, "sub_units": 8, "n_neighbours": 3, "n_pair_features": 4}
    trainer = Trainer(TrainConfig(model="fullsubnet", sizes=sizes, unit_share=0.1), torch.device("cpu"))
    trainer.mixed_precision = False
    noisy = torch.randn(2, 3, 257, 20, 2, generator=torch.Generator().manual_seed(0))
    units = [torch.tensor([0, 5]), torch.tensor([3]), torch.tensor([15])]
    freqs = trainer.network.frequencies(units)
    whole, some = trainer.beam(noisy, {}), trainer.beam(noisy, {"units": units})
    torch.testing.assert_close(some[:, freqs], whole[:, freqs], atol=1e-5, rtol=0)
    assert not torch.allclose(whole[:, freqs], noisy[:, 0, freqs], atol=1e-3)
    assert torch.equal(some[:, 1], noisy[:, 0, 1])


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("learning_speed = 3\n")
    with pytest.raises(QuietmicError, match="learning_speed"):
        read_config(path, "tcn")
    for text, message in [
        ("learning_rate = ", "no TOML"),
        ('batch_size = "x"', "batch_size"),
        ("batch_size = 2.5", "batch_size"),
        ("mics = [1, 9]", "mics"),
        ("unit_share = 0.3\npesq_weight = 0.3", "all units"),
        ("unit_share = 0.3", "has no units"),
        ("unit_share = 0.0", "above 0"),
        ("perceptual_every = 0", "at least 1"),
        ("[mix]\nsnr_db = 3", "snr_db"),
    ]:
        path.write_text(text)
        with pytest.raises(QuietmicError, match=message) as told:
            read_config(path, "tcn")
        assert told.value.exit_code == 2
    with pytest.raises(QuietmicError, match="no network"):
        read_config(None, "tcm")


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
    target = next((tmp_path / "cache").iterdir())
    with written_whole(target) as part:  # the other run, a little later
        np.save(part / "samples.npy", expected)
        assert np.array_equal(first.samples, expected)
        assert (target / "starts.npy").exists()
    assert np.array_equal(first.samples, expected)  # what is mapped stays readable
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [target.name]


def test_a_pack_that_failed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "cache" / "pack") as part:
        (part / "samples.npy").write_bytes(b"half")
        raise RuntimeError
    assert not list((tmp_path / "cache").iterdir())


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


def test_measuring_again_changes_the_cards_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "weights"
    weights.mkdir()
    for name, gain in (("tcn-half", 0.5), ("tcn-third", 1 / 3)):
        make_gain(weights / f"{name}.onnx", gain)
        add_to_index(weights / f"{name}.onnx", name)
    before = [hash_graph(entry.path) for entry in list_models(weights)]
    measure_listed(write_pairs(tmp_path / "scenes", 1, n_mics=2), weights)
    entries = list_models(weights)
    assert [entry.name for entry in entries] == ["tcn-half", "tcn-third"]
    assert [hash_graph(entry.path) for entry in entries] == before
    figures = entries[1].card.metrics
    assert figures["1_mics"]["si_sdr_gain"] == pytest.approx(0, abs=1e-3)
    assert figures["2_mics"]["stoi"] == pytest.approx(figures["noisy"]["stoi"], abs=1e-3)
    assert "4_mics" not in figures
