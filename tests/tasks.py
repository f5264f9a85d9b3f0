"""Small real tasks that need no download, for the tests of compression."""

import copy
import functools
import json
import tokenize
from pathlib import Path

import torch
import torch.nn.functional as F
from nets.lm import LanguageModel
from torch import Tensor, nn

from quietmic.compression.finetune import finetune
from quietmic.compression.task import Task


class DigitsNet(nn.Module):
    """Three convolutions with batch norm, a residual one among them, and a linear layer on 8 x 8 digits."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.BatchNorm2d(2 * width)
        self.conv3, self.norm3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width)
        self.hidden, self.out = nn.Linear(2 * width, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = x + F.relu(self.norm3(self.conv3(x)))
        return self.out(F.relu(self.hidden(x.mean((2, 3)))))


class Shuffled:
    """Batches of rows in an order that a seed fixes; a new order each time."""

    def __init__(self, x: Tensor, y: Tensor, size: int, seed: int) -> None:
        self.x, self.y, self.size = x, y, size
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self):
        order = torch.randperm(len(self.x), generator=self.generator)
        for rows in order[: len(order) // self.size * self.size].split(self.size):
            yield self.x[rows], self.y[rows]


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images [n, 1, 8, 8] and labels of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def digits_task(seed: int = 0) -> Task:
    x, y, _, _ = digits()
    return Task(
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), Shuffled(x, y, 64, seed),
        predict=lambda model, batch: model(batch[0]), distance="kl",
    )  # fmt: skip


def digits_error(model: nn.Module) -> float:
    """Share of test digits that are wrong."""
    _, _, x, y = digits()
    with torch.no_grad():
        return (model.eval()(x).argmax(1) != y).float().mean().item()


@functools.cache
def _trained_digits(seed: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    model = DigitsNet()
    finetune(model, digits_task(seed), steps, 3e-3)
    return model


def trained_digits(seed: int = 0, steps: int = 200) -> nn.Module:
    return copy.deepcopy(_trained_digits(seed, steps))


@functools.cache
def library_text() -> tuple[Tensor, Tensor, int]:
    """Characters of some modules of the standard library: training and test symbols, number of symbols."""
    text = "".join(Path(module.__file__).read_text() for module in (tokenize, functools, copy, json))
    symbols = sorted(set(text))
    index = {symbol: i for i, symbol in enumerate(symbols)}
    data = torch.tensor([index[c] for c in text])
    n = int(0.9 * len(data))
    return data[:n], data[n:], len(symbols)


def windows(data: Tensor, length: int = 33) -> Tensor:
    return data[: len(data) // length * length].view(-1, length)


def text_task(seed: int = 0) -> Task:
    rows = windows(library_text()[0])

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0])[0].flatten(0, 1), batch[1].flatten())

    return Task(
        loss,
        Shuffled(rows[:, :-1], rows[:, 1:], 16, seed),
        predict=lambda model, batch: model(batch[0])[0],
        distance="kl",
    )


def bits_per_character(model: nn.Module) -> float:
    """Cross entropy of the test text in bits."""
    rows = windows(library_text()[1], 129)
    with torch.no_grad():
        scores = model.eval()(rows[:, :-1])[0]
        return F.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten()).item() / 0.6931471805599453


@functools.cache
def _trained_lm(seed: int, steps: int, kind: str, n_hidden: int) -> nn.Module:
    torch.manual_seed(seed)
    model = LanguageModel(library_text()[2], 32, n_hidden, kind=kind)
    finetune(model, text_task(seed), steps, 5e-3)
    return model


def trained_lm(seed: int = 0, steps: int = 300, kind: str = "LSTM", n_hidden: int = 96) -> nn.Module:
    return copy.deepcopy(_trained_lm(seed, steps, kind, n_hidden))
