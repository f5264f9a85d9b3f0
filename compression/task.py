"""What compression needs to know of a network's task: batches, a loss, and where asked for, its outputs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import length_hint
from typing import Any

import torch
from torch import Tensor, nn

from quietmic.enhance.errors import QuietmicError
from quietmic.models.networks.run import evaluating


@dataclass(frozen=True)
class Task:
    """A loss on batches of any kind.

    Attributes:
        loss: (network, batch) -> scalar to make small.
        data: batches; iterated again and again, so a list, a data set or a loader (an iterator ends). Data without
            end may have a method `skip(n)` that gives those from batch n on; of others these are read and dropped.
        predict: (network, batch) -> the output that counts; for distillation and for the criterion `curl`.
        distance: how outputs are compared: "kl" for scores of classes (last axis), "energy" for signals.
        n_calibration: batches over which scores are averaged.
        heard: batches that training has had before: `batches` goes on behind them.
    """

    loss: Callable[[nn.Module, Any], Tensor]
    data: Iterable[Any] | None
    predict: Callable[[nn.Module, Any], Tensor] | None = None
    distance: str = "energy"
    n_calibration: int = 8
    heard: int = 0
    _cache: list[Any] = field(default_factory=list, repr=False, compare=False)

    def batches(self) -> Iterator[Any]:
        """Batches without end, from the first one on that training has not had."""
        skip = getattr(self.data, "skip", None)
        if skip is not None:
            return _again_and_again(skip(self.heard))
        length = length_hint(self.data, 0)  # 0: unknown
        return islice(_again_and_again(self.data), self.heard % length if length else self.heard, None)

    def calibration(self) -> list[Any]:
        """A few batches for scores, the first of the data, equal each time it is asked."""
        if not self._cache:
            self._cache.extend(islice(_again_and_again(self.data), self.n_calibration))
        return self._cache

    def scalar(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch; an error for people where it is not one number."""
        value = self.loss(model, batch)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise QuietmicError(
                f"the loss must be a tensor of one number for a batch, its mean: it is {shape}", exit_code=2
            )
        return value.reshape(())

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        """Outputs of a network; an error for people where the task does not say how to get them."""
        if self.predict is None:
            raise QuietmicError("this step compares outputs: the task must say how to get them (predict)", exit_code=2)
        return self.predict(model, batch)

    def gap(self, expected: Tensor, actual: Tensor) -> Tensor:
        """Distance between two outputs: KL divergence of classes, or error energy over signal energy."""
        if self.distance == "kl":
            log_p, log_q = expected.log_softmax(-1), actual.log_softmax(-1)
            return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
        return (expected - actual).square().sum() / expected.square().sum().clamp(min=1e-12)

    def mean_loss(self, model: nn.Module) -> float:
        """Mean loss over the calibration batches, in evaluation mode."""
        with torch.no_grad(), evaluating(model):
            values = [float(self.scalar(model, batch)) for batch in self.calibration()]
        return sum(values) / len(values)


def _again_and_again(data: Iterable[Any] | None) -> Iterator[Any]:
    """The batches of the data, from the first one again when they end."""
    if data is None:
        raise QuietmicError("this step needs data and there is none: give batches of the task", exit_code=2)
    while True:
        n = 0
        for n, batch in enumerate(data, start=1):  # noqa: B007  # n is read behind the loop
            yield batch
        if n == 0:
            raise QuietmicError(
                "the data have no more batches: give a list, a data set or a loader, not an iterator", exit_code=2
            )
