"""A training run whose old weights learn at a share of the rate, element by element; with a teacher's features, if asked."""
import sys
from functools import partial
from pathlib import Path

import torch

from quietmic.models.networks.registry import load_network
from quietmic.models.training import train as loop, trainer as module
from quietmic.models.training.run import run_training
from quietmic.models.training.sources import Sources
from quietmic.models.training.train import RunPlan

start, config, out, minutes, share, until = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6])
feature_weight = float(sys.argv[7]) if len(sys.argv) > 7 else 0.0
masks = torch.load(str(start).replace(".pt", ".masks")) if Path(str(start).replace(".pt", ".masks")).exists() else {}
Base = module.Trainer


def hooked(net, seen):
    def keep(name, _m, _i, out):
        seen[name] = out[0] if isinstance(out, tuple) else out
    for name in ("encoder_memories.1", "encoder_memories.2", "encoder.3", "squeeze", "unsqueeze", "decoder.3", "decoder.2", "decoder.1"):
        net.get_submodule(name).register_forward_hook(partial(keep, name))


def gram(x, dims):
    """x [B, C, F, T]: cosines between rows along `dims`."""
    x = x - x.mean(dim=(2, 3), keepdim=True) if x.dim() == 4 else x - x.mean(dim=2, keepdim=True)
    if dims == "t":
        x = x.flatten(1, -2).transpose(1, 2)
    else:
        x = x.transpose(1, 2).flatten(2)
    x = torch.nn.functional.normalize(x, dim=-1)
    return x @ x.transpose(1, 2)


class Trainer(Base):
    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.masks = {n: share + (1 - share) * m for n, m in masks.items()}
        for n, p in self.network.named_parameters():
            self.masks.setdefault(n, torch.full_like(p, share))
        self.feats = 0.0
        whole = self.optimiser.step
        def step(*a, **k):
            before = {n: p.detach().clone() for n, p in self.network.named_parameters()}
            whole(*a, **k)
            with torch.no_grad():
                for n, p in self.network.named_parameters():
                    p.copy_(before[n] + self.masks[n] * (p - before[n]))
        self.optimiser.step = step
        if feature_weight:
            self.mine, self.theirs = {}, {}
            self.guide = load_network(Path("models/weights/tcn-small.pt"))[0].eval()
            hooked(self.network, self.mine)
            hooked(self.guide, self.theirs)

    def train_step(self, scenes, decay):
        loss = super().train_step(scenes, decay)
        if self.step % 50 == 0 or self.step < 12:
            print(self.step, round(self.minutes, 1), round(loss, 4), round(float(self.feats), 4), flush=True)
        return loss

    def _forward(self, noisy, beam, chosen):
        enhanced = super()._forward(noisy, beam, chosen)
        self.heard = noisy
        return enhanced

    def _distillation(self, batch, enhanced, freqs):
        if not feature_weight or self.minutes > until or self.step % 3 != 1:
            return super()._distillation(batch, enhanced, freqs)
        state = self.guide.initial_state(self.heard.shape[0])
        if self.config.earlier:
            state["level"] = self._level_of_another_sound(self.heard[:, 0])
        with torch.no_grad():
            self.guide(self.heard, self.heard[:, 0], state)
        losses = []
        for name, x in self.mine.items():
            y = self.theirs[name]
            losses.append((gram(x, "t") - gram(y, "t")).square().mean())
            if x.dim() == 4:
                losses.append((gram(x, "f") - gram(y, "f")).square().mean())
        total = torch.stack(losses).mean()
        self.feats = total.detach()
        return 3 * feature_weight * total


loop.Trainer = Trainer
where = Sources(Path("SPEECH"), Path("NOISE"), Path("RIR"), 1000, config, Path("CACHE"), 1)
plan = RunPlan(out, minutes, torch.device("cpu"), 0, Path("TUNE20") if Path("TUNE20").exists() else None, start)
print(run_training("tcn", where, plan))
