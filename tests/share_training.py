"""Shows that processes share a batch as one would train it: python tests/share_training.py DATA OUT MODEL STEPS.

Run alone, and by `python -m torch.distributed.run --standalone --nproc-per-node 2 tests/share_training.py ...`, it
writes the same losses (tests/test_parallel.py compares them). A second run goes on from where the first one ended.
"""

import json
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from quietmic.models.mixtures.pack import pack_folder
from quietmic.models.mixtures.rooms import RoomCache
from quietmic.models.mixtures.scene import MixConfig
from quietmic.models.mixtures.source import SceneSource
from quietmic.models.training.config import TrainConfig
from quietmic.models.training.parallel import Team, close_team, open_team
from quietmic.models.training.trainer import Trainer, batches

SIZES = {
    "tcn": {"encoder": (4, 6), "width": 8, "n_units": 8, "dilations": (1, 2)},
    "fullsubnet": {"full_units": 12, "sub_units": 8, "n_neighbours": 3, "n_pair_features": 4},
}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("model", type=click.Choice(sorted(SIZES)))
@click.argument("n_steps", metavar="STEPS", type=int)
def main(data: Path, out: Path, model: str, n_steps: int) -> None:
    """Trains a tiny MODEL for STEPS on DATA (speech/, noise/, cache/); OUT gets state.pt and the losses as JSON."""
    torch.set_num_threads(1)
    team = open_team(torch.device("cpu"))
    share(team, data, out, model, n_steps)
    close_team(team)


def share(team: Team, data: Path, out: Path, model: str, n_steps: int) -> None:
    """This process's part of the training."""
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
    main()
