"""A network of one's own at a third of its parameters: python examples/compress.py (needs quietmic[train])."""

import torch
from torch import nn

from quietmic.compression import Budget, Recipe, compress
from quietmic.compression.recipe import FineTune, Prune

torch.manual_seed(0)
x = torch.rand(512, 2) * 2 - 1
inside = (x.square().sum(dim=1, keepdim=True) < 0.5).float()  # points within a circle
batches = [(x[i : i + 64], inside[i : i + 64]) for i in range(0, 512, 64)]
model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def loss(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(network(batch[0]), batch[1])


prune = Prune(criterion="influence", steps=40)
recipe = Recipe(prune=prune, finetune=FineTune(steps=200, lr=1e-2), budget=Budget("params", 1500))
result = compress(model, (x[:1],), loss, batches, recipe)
for step in result.steps:
    print(f"{step.name:12} {step.parameters:5} parameters, loss {step.loss:.3f}")
print(result.model)  # ordinary layers, narrower
