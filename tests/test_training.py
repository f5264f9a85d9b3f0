"""The training loop and its settings, resuming, and the run time's transforms in torch."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from corpus import make_data, make_source
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
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.networks.beam import beamform
from quietmic.models.networks.registry import save_network
from quietmic.models.networks.spectra import analysis, synthesis
from quietmic.models.publish import measure_listed
from quietmic.models.training import clock as clocks
from quietmic.models.training import progress
from quietmic.models.training.clock import Clock
from quietmic.models.training.config import TrainConfig, read_config
from quietmic.models.training.parallel import Team
from quietmic.models.training.run import describe_start, run_training
from quietmic.models.training.sources import Sources
from quietmic.models.training.train import FEWEST_NORM_BATCHES, RunPlan, measure_norms, open_start, train
from quietmic.models.training.trainer import Trainer, batches

STFT = StftConfig()
SIZES = {"encoder": (4, 6), "width": 8, "n_units": 8, "dilations": (1, 2)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_data(tmp_path_factory.mktemp("data"))


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
    assert second["minutes"] - first["minutes"] >= 0.03  # what measuring the norms takes is set aside
    assert second["audio_hours"] == pytest.approx(second["steps"] * 2 / 3600)
    assert (tmp_path / "log.png").stat().st_size > 1000
    assert (tmp_path / "network.pt").exists()


def test_minutes_are_the_wall_clock_of_norms_and_validation_too(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--minutes 5` ran for 15: norms and validation came on top. A validation hears fewer scenes where it must."""
    told: list[tuple[str, float]] = []

    def score(*arguments: object) -> tuple[float, float, float]:
        time.sleep(0.2)
        return 1.0, 0.5, 2.0

    monkeypatch.setattr(progress, "read_scenes", lambda folder, count: iter([(np.zeros((1, 9)), np.zeros(9))] * count))
    monkeypatch.setattr(progress, "score", score)
    config = TrainConfig(sizes=SIZES, mix=MixConfig(segment_s=0.5), batch_size=1, decay_minutes=0.0)
    source = make_source(data, config.mix)
    plan = RunPlan(tmp_path, 0.1, torch.device("cpu"), valid=tmp_path)
    train(source, config, replace(plan, minutes=0.001, valid=None))  # the first step of a program takes seconds
    begin = time.monotonic()
    train(source, config, plan, progress=lambda what, *rest: told.append((what, time.monotonic() - begin)))
    whats = [what for what, _ in told]
    assert 3 <= whats.count("validating, 1 mic") <= 7  # a quarter of six seconds
    assert whats.count("measuring norms") >= FEWEST_NORM_BATCHES
    assert told[whats.index("measuring norms")][1] < 5  # what comes behind has been left its time
    clock = Clock(0.1, 0.0, Team())
    assert (clock.is_beyond(0.1), clock.is_beyond(-0.1)) == (False, True)


def test_a_run_shorter_than_the_decay_goes_on_from_where_it_was_before_the_decay(
    data: dict[str, Path], tmp_path: Path
) -> None:
    config = TrainConfig(sizes=SIZES, mix=MixConfig(segment_s=1.0), batch_size=2)
    source = make_source(data, config.mix)
    train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    kept = torch.load(tmp_path / "state.pt", weights_only=True)["progress"]
    assert kept["step"] > 0
    assert kept["minutes"] == pytest.approx(0.015, abs=0.015)
    _, second = train(source, config, RunPlan(tmp_path, 0.05, torch.device("cpu")))
    assert second["minutes"] >= kept["minutes"] + 0.03


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


def test_a_teacher_of_no_weight_is_refused(tmp_path: Path) -> None:
    """The card named it all the same: most recipes say teacher_weight = 0."""
    (tmp_path / "mine.toml").write_text("teacher_weight = 0.0\n")
    where = Sources(tmp_path / "speech", tmp_path / "noise", config=tmp_path / "mine.toml")
    plan = RunPlan(tmp_path / "run", 1.0, torch.device("cpu"))
    with pytest.raises(QuietmicError, match="would teach nothing"):
        run_training("tcn", where, plan, tmp_path / "peer.onnx")
    assert not (tmp_path / "run").exists()


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


def test_the_learning_rate_rises_falls_along_its_cosine_and_decays(data: dict[str, Path]) -> None:
    config = TrainConfig(
        sizes=SIZES, mix=MixConfig(segment_s=0.25), batch_size=1, learning_rate=1e-3, warmup_steps=4, planned_hours=2.0
    )
    trainer = Trainer(config, torch.device("cpu"))
    scenes = next(batches(make_source(data, config.mix), config, 0, 0))
    rates = []
    for heard_s, decay in ((0, 1.0), (0, 1.0), (0, 0.5), (0, 1.0), (1800, 1.0), (3600, 1.0), (7200, 1.0), (9000, 1.0)):
        trainer.audio_s = heard_s
        trainer.train_step(scenes, decay)
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    quarter = 0.5 + 0.5 * np.cos(np.pi / 4)
    expected = [0.25, 0.5, 0.375, 1, quarter, 0.5, 0, 0]
    assert rates == pytest.approx([1e-3 * share for share in expected], abs=1e-8)


def test_gradients_are_of_one_batch_and_clipped_and_weights_averaged(data: dict[str, Path]) -> None:
    def of(trainer: Trainer) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in trainer.network.parameters()]).clone()

    config = TrainConfig(sizes=SIZES, mix=MixConfig(segment_s=0.25), batch_size=1, warmup_steps=1)
    scenes = next(batches(make_source(data, config.mix), config, 0, 0))
    still = Trainer(replace(config, learning_rate=0.0, gradient_clip=1e9), torch.device("cpu"))
    gradients = []
    for _ in range(2):
        still.step = 0
        still.train_step(scenes, 1.0)
        gradients.append(of(still))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6 * float(gradients[0].norm()))
    clipped = Trainer(replace(config, gradient_clip=1e-3), torch.device("cpu"))
    weights = []
    for _ in range(3):
        clipped.train_step(scenes, 1.0)
        weights.append(next(clipped.network.parameters()).detach().clone())
        assert float(of(clipped).norm()) == pytest.approx(1e-3, rel=1e-3)
    first = weights[0].lerp(weights[1], 1 - 2 / 11)  # short at first: one weight of eleven and one more is the past's
    average = first.lerp(weights[2], 1 - 3 / 12)
    torch.testing.assert_close(next(clipped.average.module.parameters()), average, rtol=1e-4, atol=1e-7)


def test_what_a_teacher_hears_counts_by_its_weight_with_one_microphone_alone(data: dict[str, Path]) -> None:
    for n_mics in (1, 2):
        losses = []
        for teacher, weight in ((None, 1.0), (lambda noisy: 0.5 * noisy, 1.0), (lambda noisy: 0.5 * noisy, 3.0)):
            config = TrainConfig(
                sizes=SIZES, mix=MixConfig(segment_s=0.25), batch_size=1, mics=(n_mics,), teacher_weight=weight
            )
            scenes = next(batches(make_source(data, config.mix), config, 0, 0))
            losses.append(Trainer(config, torch.device("cpu"), teacher).train_step(scenes, 1.0))
        once, thrice = losses[1] - losses[0], losses[2] - losses[0]
        assert thrice == pytest.approx(3 * once, rel=1e-3)
        assert (once != 0) == (n_mics == 1)


def test_perceptual_terms_come_rarely_with_as_many_times_the_weight() -> None:
    config = TrainConfig(pesq_weight=0.5, stoi_weight=2.0, perceptual_every=3, over_attenuation=0.1)
    weights = [(w.pesq, w.stoi, w.over_attenuation) for w in map(config.weights_at, range(4))]
    assert weights == [(1.5, 6.0, 0.1), (0, 0, 0.1), (0, 0, 0.1), (1.5, 6.0, 0.1)]


def test_a_clock_leaves_its_reserve_and_falls_to_zero_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic=lambda: now.s))
    clock = Clock(10.0, 2.0, Team())
    seen = []
    for minutes, reserve in ((0, 0), (4.9, 0), (5.1, 0), (8.5, 0.5), (9.0, 0.5), (10.2, 0.5)):
        now.s, clock.reserve = 1000 + 60 * minutes, reserve
        clock.tick()
        seen.append((round(clock.left, 6), round(clock.decay, 6), clock.due("saving", 5.0)))
    assert seen == [
        (10, 1, False), (5.1, 1, False), (4.9, 1, True), (1, 0.5, False), (0.5, 0.25, False), (-0.7, 0, True),
    ]  # fmt: skip
    assert Clock(10.0, 0.0, Team()).decay == 1


@pytest.mark.parametrize("earlier", [0.0, 1.0])
def test_scenes_begin_as_if_another_sound_had_come_before(earlier: float, data: dict[str, Path]) -> None:
    config = TrainConfig(sizes=SIZES, batch_size=3, mix=MixConfig(segment_s=0.5), earlier=earlier)
    trainer, heard = Trainer(config, torch.device("cpu")), []
    network = trainer.replica
    trainer.replica = lambda *inputs: (heard.append(inputs), network(*inputs))[1]
    trainer.train_step(next(batches(make_source(data, config.mix), config, 0, 0)), 1.0)
    noisy, _, state = heard[0]
    mean, weight = state["level"].T
    if not earlier:
        assert not state["level"].any()
        return
    power = noisy[:, 0].square().sum(dim=-1).mean(dim=(1, 2))
    louder_db = 10 * torch.log10(mean / weight / power)
    assert louder_db.abs().max() <= 20 and louder_db.std() > 3
    assert 0 < weight.min() < weight.max() < 1


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("learning_speed = 3\n")
    with pytest.raises(QuietmicError, match="learning_speed"):
        read_config(path, "tcn")
    for text, message in [
        ("learning_rate = ", "not TOML"),
        ('batch_size = "x"', "batch_size"),
        ("batch_size = 2.5", "batch_size"),
        ("mics = [1, 9]", "mics"),
        ("unit_share = 0.3\npesq_weight = 0.3", "all units"),
        ("unit_share = 0.3", "has no units"),
        ("unit_share = 0.0", "above 0"),
        ("perceptual_every = 0", "at least 1"),
        ("trained_rate = -0.1", "between 0 and 1"),
        ("trained_rate = nan", "between 0 and 1"),
        ("trained_rate = 0.1", "gives memories"),
        ("[mix]\nsnr_db = 3", "snr_db"),
    ]:
        path.write_text(text)
        with pytest.raises(QuietmicError, match=message) as told:
            read_config(path, "tcn")
        assert told.value.exit_code == 2
    with pytest.raises(QuietmicError, match="no network"):
        read_config(None, "tcm")


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
