"""Training on several processes, one model each, started by torchrun: each takes a share of every batch."""

import gc
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from quietmic.enhance.errors import QuietmicError

TIMEOUT = timedelta(hours=1)  # the others wait while the first one validates


@dataclass(frozen=True)
class Team:
    """The processes of one run; alone, everything here does nothing.

    Attributes:
        rank: of this process; 0 writes files and shows progress.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """Which scenes of a batch are this process's: the shares of all processes are the batch.

        Raises:
            QuietmicError: a batch that cannot be shared equally, where means over shares would not be the batch's mean.
        """
        if batch_size % self.size:
            raise QuietmicError(
                f"a batch of {batch_size} cannot be shared by {self.size} processes equally", exit_code=2
            )
        return slice(self.rank * batch_size // self.size, (self.rank + 1) * batch_size // self.size)

    def mean(self, value: Tensor) -> Tensor:
        """Mean of each process's value over all processes."""
        if self.size > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.size
        return value

    def same(self, value: float) -> float:
        """The first process's number, for all: clocks differ."""
        if self.size == 1:
            return value
        holder = [value]
        distributed.broadcast_object_list(holder, src=0)
        return holder[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are means over the processes, and whose norms see the whole batch."""
        if self.size == 1:
            return network
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.__class__ = SharedBatchNorm  # the parameters and their names stay
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=True)


def open_team(device: torch.device) -> Team:
    """The processes that torchrun started, NCCL between GPUs and gloo between CPUs; a team of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    return Team(distributed.get_rank(), distributed.get_world_size())


def close_team(team: Team) -> None:
    """Ends the connections, of which the caller's trainer must be gone.

    A trainer refers to itself, so that it lives on until it is collected; with one of its threads alive at the end of
    the program, gloo aborted one run in ten.
    """
    if team.size > 1:
        gc.collect()
        team.wait()
        distributed.destroy_process_group()


class NoLog:
    """What the processes that do not lead show and keep: nothing."""

    def step(self, trainer: object, loss: float) -> None:
        """Leaves the log of this step to the process that leads."""

    def plan_validation(self, trainer: object, scenes: object, at_most: float) -> float:
        """No time, as they do not validate."""
        return 0.0

    def validate(self, trainer: object, scenes: object) -> None:
        """Leaves the validation to the process that leads."""

    def close(self) -> None:
        """Has nothing to close, as this process wrote nothing."""


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the shares of all processes, on any device; torch's SyncBatchNorm needs GPUs."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Takes any number of dimensions, as one class stands for BatchNorm1d and 2d."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> the same; equal shares are assumed."""
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        size = distributed.get_world_size()
        values = x.float()
        mean = all_reduce(values.mean(axes)) / size
        centred = values - mean.view(shape)
        variance = all_reduce(centred.square().mean(axes)) / size
        with torch.no_grad():
            n_values = size * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n_values / (n_values - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
