"""Trains 30 steps and writes the losses; run alone or by torchrun: python tools/share_training.py DATA OUT MODEL."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import RoomCache
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.parallel import Team, close_team, open_team
from quietmic.models.training.train import Trainer, batches

SIZES = {
    "tcn": {"encoder": (4, 6), "width": 8, "n_units": 8, "dilations": (1, 2)},
    "fullsubnet": {"full_units": 12, "sub_units": 8, "n_neighbours": 3, "n_pair_features": 4},
}


def main(data: Path, out: Path, model: str, n_steps: int) -> None:
    torch.set_num_threads(1)
    team = open_team(torch.device("cpu"))
    share(team, data, out, model, n_steps)
    close_team(team)


def share(team: Team, data: Path, out: Path, model: str, n_steps: int) -> None:
    config = TrainConfig(
        model=model, sizes=SIZES[model], mix=MixConfig(segment_s=0.5, sensor_noise=1.0), batch_size=4,
        mics=(1, 2), unit_share=0.1 if model == "fullsubnet" else 1.0,
    )  # fmt: skip
    packs = [pack_folder(data / name, "train", data / "cache") for name in ("speech", "noise")]
    source = SceneSource(packs[0], packs[1], RoomCache(next((data / "cache").glob("rooms-*"))), config.mix)
    trainer = Trainer(config, torch.device("cpu"), team=team)
    trainer.mixed_precision = False
    if (out / "state.pt").exists():
        trainer.load(out / "state.pt")
    losses = []
    for scenes in batches(source, config, trainer.step, 0, team):
        losses.append(trainer.train_step(scenes, 1.0))
        if len(losses) == n_steps:
            break
    trainer.save(out / "state.pt")
    if team.leads:
        (out / f"losses-{trainer.step}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
