"""What goes wrong in a training run: batches without numbers, stops, damaged files, two runs in one folder."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpus import SMALL_ROOMS, make_data, make_source, write_corpus

from quietmic import cli
from quietmic.enhance.errors import QuietmicError
from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import RoomCache
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.files import save_whole
from quietmic.models.networks.registry import FAMILIES
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.folder import one_run
from quietmic.models.training.progress import read_scenes
from quietmic.models.training.train import RunPlan, measure_norms, train
from quietmic.models.training.trainer import SKIPPED_MOST, Trainer, batches

CPU = torch.device("cpu")
MIX = MixConfig(segment_s=0.5, sensor_noise=1.0)
TINY = {
    "tcn": TrainConfig(sizes={"encoder": (4, 6), "width": 8, "n_units": 8, "dilations": (1, 2)}),
    "fullsubnet": TrainConfig(
        model="fullsubnet", sizes={"full_units": 12, "sub_units": 8, "n_neighbours": 3, "n_pair_features": 4}
    ),
}
TINY = {family: replace(config, mix=MIX, batch_size=2) for family, config in TINY.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_data(tmp_path_factory.mktemp("data"))


def everything(trainer: Trainer) -> dict[str, object]:
    """All that training goes on from, by name."""
    found = {f"network {k}": v.clone() for k, v in trainer.network.state_dict().items()}
    found |= {f"average {k}": v.clone() for k, v in trainer.average.state_dict().items()}
    for i, state in trainer.optimiser.state_dict()["state"].items():
        found |= {f"optimiser {i} {k}": v.clone() for k, v in state.items()}
    return found | {"audio_s": trainer.audio_s}


def assert_same(actual: dict[str, object], wanted: dict[str, object]) -> None:
    assert actual.keys() == wanted.keys()
    for name, value in wanted.items():
        other = actual[name]
        assert torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value, name


def go_on(trainer: Trainer, source: SceneSource, n_steps: int) -> Trainer:
    for scenes, _ in zip(batches(source, trainer.config, trainer.step, 0), range(n_steps), strict=False):
        trainer.train_step(scenes, 1.0)
    return trainer


def half_of(noisy: np.ndarray) -> np.ndarray:
    return 0.5 * noisy


OPTIONS = {
    "plain": {},
    "arrays": {"mics": (1, 2, 3)},
    "planned": {"planned_hours": 0.01, "average": 0.5},
    "some units": {"unit_share": 0.1},
    "some units of arrays": {"unit_share": 0.1, "mics": (2,)},
    "perceptual": {"stoi_weight": 0.1, "perceptual_every": 2},
    "another sound before": {"earlier": 0.5},
    "moving": {"mix": replace(MIX, moving=1.0, late_start=0.5, clipping=0.5, low_pass=0.5, speech_speed=1.0)},
}
CASES = [
    pytest.param(family, name, taught, marks=[pytest.mark.slow] if name == "perceptual" else [])
    for family in TINY
    for name in OPTIONS
    for taught in (False, True)
    if (family == "fullsubnet" or "unit_share" not in OPTIONS[name])
    and (not taught or name in ("plain", "some units"))  # the teacher's part is the same for the others
]


def test_every_network_is_tried() -> None:
    assert set(TINY) == set(FAMILIES)


@pytest.mark.parametrize(("family", "option", "taught"), CASES)
def test_a_run_that_goes_on_is_the_uninterrupted_one(
    family: str, option: str, taught: bool, data: dict[str, Path], tmp_path: Path
) -> None:
    """With dropped bands, the units were drawn from the beginning again: weights differed by 5.7e-3."""
    config = replace(TINY[family], **OPTIONS[option])
    teacher = half_of if taught else None
    source = make_source(data, config.mix)
    whole = go_on(Trainer(config, CPU, teacher), source, 4)
    go_on(Trainer(config, CPU, teacher), source, 2).save(tmp_path / "state.pt")
    torch.rand(7)  # what else draws numbers must not matter
    again = Trainer(config, CPU, teacher)
    again.load(tmp_path / "state.pt")
    assert_same(everything(go_on(again, source, 2)), everything(whole))


def test_what_is_kept_is_the_run_before_its_norms_were_measured(data: dict[str, Path], tmp_path: Path) -> None:
    """The state was saved after measuring: a run of arrays, whose beam the average steers, went on otherwise."""
    config = replace(TINY["tcn"], decay_minutes=0.0, mics=(2,))
    source = make_source(data, config.mix)
    _, figures = train(source, config, RunPlan(tmp_path, 0.01, CPU))
    kept = Trainer(config, CPU)
    kept.load(tmp_path / "state.pt")
    assert kept.step == figures["steps"] > 0
    assert_same(everything(kept), everything(go_on(Trainer(config, CPU), source, kept.step)))


@pytest.mark.parametrize("n_mics", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_numbers_changes_nothing_and_is_counted(
    family: str, n_mics: int, data: dict[str, Path]
) -> None:
    """It poisoned the norms' statistics; with arrays every later step was then skipped, without a count."""
    config = replace(TINY[family], mics=(n_mics,))
    source = make_source(data, config.mix)
    trainer = go_on(Trainer(config, CPU), source, 1)
    before = everything(trainer)
    bad = next(batches(source, config, 1, 0))
    bad = bad | {"speech": torch.full_like(bad["speech"], torch.nan)}
    assert np.isnan(trainer.train_step(bad, 1.0))
    assert_same(everything(trainer), before)
    assert (trainer.step, trainer.skipped, trainer.progress()["skipped"]) == (2, 1, 1)
    go_on(trainer, source, 1)
    assert trainer.skipped == 1
    after = everything(trainer)
    assert any(not torch.equal(after[k], v) for k, v in before.items() if k.startswith("network"))
    trainer.skipped_in_a_row = SKIPPED_MOST - 1
    with pytest.raises(QuietmicError, match="100 batches in a row"):
        trainer.train_step(bad, 1.0)


class WithHoles(SceneSource):
    """Draws every second batch without numbers."""

    def draw(self, seed, batch, n_mics):
        scenes = super().draw(seed, batch, n_mics)
        return [replace(scene, speech=scene.speech * np.nan) for scene in scenes] if seed[1] % 2 else scenes


def test_norms_are_measured_on_batches_with_numbers(data: dict[str, Path]) -> None:
    packs = [pack_folder(data[name], "train", data["cache"]) for name in ("speech", "noise")]
    trainer = Trainer(TINY["tcn"], CPU)
    measure_norms(trainer, WithHoles(*packs, RoomCache(data["rooms"]), MIX), is_late=lambda: True)
    assert all(torch.isfinite(buffer).all() for buffer in trainer.average.module.buffers())
    assert float(trainer.average.module.encoder[0].norm.num_batches_tracked) == 5


def test_a_log_tells_of_skipped_steps(data: dict[str, Path], tmp_path: Path) -> None:
    packs = [pack_folder(data[name], "train", data["cache"]) for name in ("speech", "noise")]
    notes: list[str] = []
    train(
        WithHoles(*packs, RoomCache(data["rooms"]), MIX), TINY["tcn"], RunPlan(tmp_path, 0.05, CPU),
        progress=lambda what, done, total, note="": notes.append(note),
    )  # fmt: skip
    told = [note for note in notes if "steps skipped" in note]
    assert told
    assert not any("loss nan" in note for note in told)


def a_run(data: dict[str, Path], folder: Path, config: TrainConfig) -> None:
    train(make_source(data, config.mix), config, RunPlan(folder, 0.005, CPU))


def test_damaged_states_are_told_and_kept(data: dict[str, Path], tmp_path: Path) -> None:
    """An empty or cut state.pt, one with missing keys, or one of other sizes, gave tracebacks."""
    config = replace(TINY["tcn"], decay_minutes=0.0)
    a_run(data, tmp_path, config)
    state = tmp_path / "state.pt"
    whole, content = state.read_bytes(), torch.load(state, weights_only=True)
    other = Trainer(replace(config, sizes=config.sizes | {"width": 12}), CPU).network.state_dict()
    for damaged in (b"", whole[:1000], whole[:-10], b"x" * 100, {}, [], content | {"network": other},
                    content | {"progress": {}}, content | {"optimiser": 3}):  # fmt: skip
        if isinstance(damaged, bytes):
            state.write_bytes(damaged)
        else:
            torch.save(damaged, state)
        before = state.read_bytes()
        with pytest.raises(QuietmicError, match=r"state\.pt") as told:
            a_run(data, tmp_path, config)
        assert "\n" not in str(told.value)
        assert state.read_bytes() == before
    state.write_bytes(whole)
    with pytest.raises(QuietmicError, match="other sizes"):
        a_run(data, tmp_path, replace(config, sizes=config.sizes | {"width": 12}))
    (tmp_path / "network.pt").unlink()
    with pytest.raises(QuietmicError, match=r"network\.pt: no such"):
        a_run(data, tmp_path, config)


def test_other_settings_than_before_are_told(
    data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(TINY["tcn"], decay_minutes=0.0)
    a_run(data, tmp_path, config)
    with caplog.at_level(logging.WARNING, "quietmic"):
        a_run(data, tmp_path, config)
        assert not caplog.messages
        a_run(data, tmp_path, replace(config, seed=3, learning_rate=1e-4))
    assert caplog.messages == [
        "the run began with learning_rate = 0.0015 and goes on with 0.0001",
        "the run began with seed = 0 and goes on with 3",
    ]


def test_a_run_does_not_start_from_the_file_that_it_writes(data: dict[str, Path], tmp_path: Path) -> None:
    config = replace(TINY["tcn"], decay_minutes=0.0)
    a_run(data, tmp_path, config)
    (tmp_path / "state.pt").unlink()
    before = (tmp_path / "network.pt").read_bytes()
    with pytest.raises(QuietmicError, match="choose another folder"):
        train(make_source(data, MIX), config, RunPlan(tmp_path, 0.005, CPU, first=tmp_path / "network.pt"))
    assert (tmp_path / "network.pt").read_bytes() == before


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path) -> None:
    """The torch writer's own error named no file, and its temporary file stayed."""
    path = tmp_path / "state.pt"
    save_whole({"step": 1}, path)
    code = (
        "import resource, sys, torch, signal\n"
        "from pathlib import Path\n"
        "from quietmic.models.networks.files import save_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "save_whole({'weights': torch.zeros(100000)}, Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert f"QuietmicError: {path} cannot be written: file too large; what was there before is kept" in done.stderr
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(QuietmicError, match="cannot be written: no such file"):
        save_whole({}, tmp_path / "nowhere" / "state.pt")


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    with one_run(tmp_path):
        code = (
            "import sys; from pathlib import Path; from quietmic.models.training.folder import one_run\n"
            "with one_run(Path(sys.argv[1])): pass\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert "another run is working in" in done.stderr
    (tmp_path / "state.pt.x1.part").write_bytes(b"half")
    with one_run(tmp_path):  # free again
        assert not list(tmp_path.glob("*.part"))
    (tmp_path / "file").touch()
    with pytest.raises(QuietmicError, match="cannot be written"), one_run(tmp_path / "file"):
        pass


def test_arrays_larger_than_any_room_has_are_told_at_once(data: dict[str, Path], tmp_path: Path) -> None:
    assert SMALL_ROOMS.n_mics == (4,)
    with pytest.raises(QuietmicError, match="none of the 3 rooms has 8 microphones"):
        a_run(data, tmp_path, replace(TINY["tcn"], mics=(1, 8)))


def test_noise_files_without_sound_are_left_out(
    data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A class whose only file is empty divided by its length."""
    noise = write_corpus(tmp_path / "noise", 2, 1)
    soundfile.write(noise / "empty.wav", np.zeros(0), 16000)
    with (noise / "manifest.csv").open("a") as file:
        file.write("empty.wav,train,s0,test,nothing\n")
    speech = pack_folder(data["speech"], "train", data["cache"])
    pack, rooms = pack_folder(noise, "train", tmp_path / "cache"), RoomCache(data["rooms"])
    source = SceneSource(speech, pack, rooms, replace(MIX, synthetic_noise=0.0, babble=0.0, varied_noise=0.0))
    assert caplog.messages == ["1 noise files hold no sound and are never drawn: empty.wav"]
    for scene in source.draw((0,), 8, 1):
        assert np.isfinite(scene.point_noises).all()
        assert "nothing" not in scene.facts["noise"]
    with pytest.raises(QuietmicError, match="No recorded noise is left"):
        SceneSource(speech, pack, rooms, replace(MIX, classes=("nothing",)))
    with pytest.raises(QuietmicError, match="speech files hold no sound"):
        SceneSource(replace(speech, starts=0 * speech.starts), pack, rooms, MIX)


def test_scenes_to_score_may_be_of_any_format_and_layout(tmp_path: Path) -> None:
    """Only noisy/*.flac at 16 kHz was found; without one the mean of nothing was taken."""
    rng = np.random.default_rng(0)
    for part, name, rate in (("noisy_testset_wav", "a.wav", 48000), ("clean_testset_wav", "a.ogg", 8000)):
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / part / name, 0.1 * rng.normal(size=(rate, 2 if "noisy" in part else 1)), rate)
    ((noisy, clean),) = read_scenes(tmp_path)
    assert noisy.shape[0] == 2
    assert noisy.shape[1] == len(clean) == pytest.approx(16000, abs=200)
    (tmp_path / "empty").mkdir()
    with pytest.raises(QuietmicError, match="no sound files"):
        next(read_scenes(tmp_path / "empty"))
    (tmp_path / "clean_testset_wav" / "a.ogg").unlink()
    with pytest.raises(QuietmicError, match="no pair"):
        next(read_scenes(tmp_path))


@pytest.mark.parametrize("option", [("--minutes", "nan"), ("--minutes", "-1"), ("--minutes", "inf"), ("--rooms", "0")])
def test_numbers_that_make_no_sense_are_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    """No number of minutes and no room at all were tracebacks."""
    arguments = ["train", "--model", "tcn", "--speech", str(tmp_path), "--noise", str(tmp_path), "-o", "run"]
    assert cli.main([*arguments, *(() if "--minutes" in option else ("--minutes", "1")), *option]) == 2
    assert option[0] in capsys.readouterr().err
