"""One training run's network, optimiser and averaged weights; steps that can be taken up again to the bit."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from quietmic.enhance.card import StftConfig
from quietmic.enhance.errors import QuietmicError
from quietmic.models.mixtures.mixing import Batch, mix, stack_scenes
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.networks.beam import beam_or_reference
from quietmic.models.networks.blocks import BandMemory
from quietmic.models.networks.files import load_plain, save_whole
from quietmic.models.networks.registry import build
from quietmic.models.networks.spectra import analysis
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.losses import band_loss, spectra_loss
from quietmic.models.training.parallel import Team
from quietmic.models.training.precision import bfloat16_where_fast

EARLIER_DB = 20.0  # how much louder or quieter than a scene what came before it is, at most
SKIPPED_MOST = 100  # batches in a row whose loss or gradient is no number, until the run ends

Teacher = Callable[[np.ndarray], np.ndarray]  # noisy [B, n_samples] -> enhanced [B, n_samples]
Chosen = dict[str, list[Tensor]]  # {"units": those of each width to train}, or nothing for all


class _Steps(Dataset):
    """Item n is this process's share of the scenes of step n: equal for equal seeds, whoever draws it."""

    def __init__(self, source: SceneSource, config: TrainConfig, first: int, share: slice) -> None:
        self.source, self.config, self.first, self.share = source, config, first, share

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        step = self.first + item
        n_mics = int(np.random.default_rng((self.config.seed, step, 1)).choice(self.config.mics))
        return stack_scenes(self.source.draw((self.config.seed, step), self.config.batch_size, n_mics)[self.share])


class Trainer:
    """Network, optimiser, averaged weights and progress of one run."""

    def __init__(
        self, config: TrainConfig, device: torch.device, teacher: Teacher | None = None, team: Team | None = None,
        network: nn.Module | None = None,
    ) -> None:  # fmt: skip
        """Trains `network` on, or a fresh one of the configuration's sizes."""
        torch.manual_seed(config.seed)
        self.team = team or Team()
        self.config, self.device, self.teacher, self.stft = config, device, teacher, StftConfig()
        self.mixed_precision = True
        self.network = (network or build(config.model, **config.sizes)).to(device)
        self.average = torch.optim.swa_utils.AveragedModel(self.network, multi_avg_fn=self._move, use_buffers=True)
        self.replica = self.team.wrap(self.network)
        self.optimiser = torch.optim.AdamW(
            self._groups(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.step, self.minutes, self.audio_s = 0, 0.0, 0.0
        self.skipped, self.skipped_in_a_row = 0, 0

    def _groups(self) -> list[dict[str, Any]]:
        """All weights, those of memories behind the others, as they learn at another rate."""
        memories = {p for m in self.network.modules() if isinstance(m, BandMemory) for p in m.parameters()}
        groups = [[p for p in self.network.parameters() if (p in memories) is new] for new in (False, True)]
        return [{"params": group} for group in groups if group]

    def _move(self, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Moving average of weights and norm statistics; short at first, so that it forgets where training began."""
        decay = min(self.config.average, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, current, strict=True):
            average.lerp_(value, 1 - decay) if average.is_floating_point() else average.copy_(value)

    def train_step(self, scenes: dict[str, Tensor], decay: float) -> float:
        """One update; `decay` scales the learning rate.

        A batch whose loss or gradient is no number changes nothing, not the norms' statistics either, and is counted.

        Returns:
            The loss.

        Raises:
            QuietmicError: SKIPPED_MOST batches in a row were skipped.
        """
        warmup = min(1.0, (self.step + 1) / self.config.warmup_steps)
        rate = self.config.learning_rate * warmup * self._cosine() * decay
        for group, share in zip(self.optimiser.param_groups, (self.config.trained_rate, 1.0), strict=False):
            group["lr"] = rate * share
        batch = mix(scenes, self.device, self.step, (self.team.rank, self.team.size))
        self.network.train()
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        loss = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        mean = float(self.team.mean(loss.detach()))
        self.step += 1
        if math.isfinite(mean) and torch.isfinite(norm):  # both are the same for the whole team
            self.optimiser.step()
            self.average.update_parameters(self.network)
            self.audio_s += self.team.size * batch.target.numel() / self.stft.sample_rate
            self.skipped_in_a_row = 0
        else:
            for buffer, value in zip(self.network.buffers(), statistics, strict=True):
                buffer.copy_(value)
            self._count_skipped()
        return mean

    def _count_skipped(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= SKIPPED_MOST:
            raise QuietmicError(
                f"{SKIPPED_MOST} batches in a row, up to step {self.step}, gave a loss or a gradient that is no "
                "number: a lower learning_rate may help, or data without broken files"
            )

    def _cosine(self) -> float:
        """Factor of the learning rate by the share of the planned audio that was heard."""
        planned = self.config.planned_hours
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.audio_s / 3600 / planned)) if planned else 1.0

    def _loss(self, batch: Batch) -> Tensor:
        noisy, chosen = analysis(batch.noisy, self.stft), self._choose()  # [B, M, F, T, 2]
        enhanced, freqs = self._forward(noisy, self.beam(noisy, chosen), chosen), self._frequencies(chosen)
        weights = self.config.weights_at(self.step)
        loss = spectra_loss(enhanced, batch.target, batch.noisy[:, 0], self.stft, freqs, weights)
        return loss + self._distillation(batch, enhanced, freqs)

    def _choose(self) -> Chosen:
        """The units that this step trains; the same when a run goes on from before it."""
        if self.config.unit_share == 1:
            return {}
        generator = torch.Generator().manual_seed(self.config.seed * 10**9 + self.step)
        drawn = self.network.draw_units(self.config.unit_share, generator)
        return {"units": [units.to(self.device) for units in drawn]}

    def _frequencies(self, chosen: Chosen) -> Tensor | None:
        """Those of the units chosen; None for all."""
        return self.network.frequencies(**chosen) if chosen else None

    def beam(self, noisy: Tensor, chosen: Chosen) -> Tensor:
        """The beamformer's output [B, F, T, 2]; the reference at frequencies that are not chosen."""
        return beam_or_reference(noisy, self._frequencies(chosen), partial(self.one_microphone_mask, noisy, chosen))

    def _forward(self, noisy: Tensor, beam: Tensor, chosen: Chosen) -> Tensor:
        """Enhanced spectra, of all units or of those chosen."""
        state = self._state(noisy.shape[0], chosen)
        if self.config.earlier:
            state["level"] = self._level_of_another_sound(noisy[:, 0])
        with bfloat16_where_fast(self.device, self.mixed_precision):
            return self.replica(noisy, beam, state, **chosen)[0].float()

    def _level_of_another_sound(self, reference: Tensor) -> Tensor:
        """State of the running level [B, 2] that a sound before `reference` [B, F, T, 2] left; zeros after nothing.

        Scenes begin with fresh states, a stream does not: music that was louder makes what follows it look quiet.
        """
        generator = torch.Generator().manual_seed(self.config.seed * 10**9 + self.step)
        draws = torch.rand(3, len(reference) * self.team.size, generator=generator).chunk(self.team.size, dim=1)
        there, louder, known = draws[self.team.rank].to(self.device)
        power = reference.square().sum(dim=-1).mean(dim=(1, 2)) * 10 ** (EARLIER_DB / 10 * (2 * louder - 1))
        weight = known * (there < self.config.earlier)
        return torch.stack([weight * power, weight], dim=1)

    def _distillation(self, batch: Batch, enhanced: Tensor, freqs: Tensor | None) -> Tensor:
        """The loss against the teacher's output instead of the clean target, weighted; zero without a teacher.

        Arrays learn from the clean target alone: a teacher that hears one microphone would hold them back.
        """
        if self.teacher is None or not self.config.teacher_weight or batch.noisy.shape[1] > 1:
            return torch.zeros((), device=self.device)
        waves = torch.from_numpy(self.teacher(batch.noisy[:, 0].cpu().numpy())).to(self.device)
        return self.config.teacher_weight * band_loss(enhanced, waves, batch.noisy[:, 0], self.stft, freqs)

    @torch.no_grad()
    def one_microphone_mask(self, noisy: Tensor, chosen: Chosen) -> Tensor:
        """Speech presence [B, F, T] seen by the averaged network at the reference alone: drives the beamformer."""
        reference, state = noisy[:, :1], self._state(noisy.shape[0], chosen)
        with bfloat16_where_fast(self.device, self.mixed_precision):
            return self.average.module.eval()(reference, reference[:, 0], state, **chosen)[1].float()

    def _state(self, batch: int, chosen: Chosen) -> dict[str, Tensor]:
        state = self.network.initial_state(batch, **chosen)
        return {name: value.to(self.device) for name, value in state.items()}

    def progress(self) -> dict[str, float]:
        """Steps, those skipped among them, minutes and hours of audio so far."""
        hours = self.audio_s / 3600
        return {"steps": self.step, "skipped": self.skipped, "minutes": self.minutes, "audio_hours": hours}

    def save(self, path: Path) -> None:
        """Everything that going on needs, with any number of processes; the first one writes it."""
        if not self.team.leads:
            return
        save_whole(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "progress": {
                    "step": self.step, "skipped": self.skipped, "minutes": self.minutes, "audio_s": self.audio_s,
                },
            },
            path,
        )  # fmt: skip

    def load(self, path: Path) -> None:
        """Goes on from what `save` wrote.

        Raises:
            QuietmicError: it is damaged, or of another network.
        """
        content = load_plain(path, self.device)
        try:
            self.network.load_state_dict(content["network"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
            progress = content["progress"]
            self.step, self.skipped = int(progress["step"]), int(progress.get("skipped", 0))
            self.minutes, self.audio_s = float(progress["minutes"]), float(progress["audio_s"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise QuietmicError(
                f"{path} is not the state of such a run ({told}): remove it to begin anew", exit_code=2
            ) from error


def batches(
    source: SceneSource, config: TrainConfig, first: int, workers: int, team: Team | None = None
) -> Iterator[dict[str, Tensor]]:
    """This process's share of stacked scenes from step `first` on, drawn by `workers` processes (0: by this one)."""
    steps = _Steps(source, config, first, (team or Team()).share(config.batch_size))
    pinned = workers > 0 and torch.cuda.is_available()  # copied to the GPU while it computes
    return iter(DataLoader(steps, batch_size=None, shuffle=False, num_workers=workers, pin_memory=pinned))
