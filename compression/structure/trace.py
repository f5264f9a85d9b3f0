"""One forward pass with labels: where units are made, passed on and read."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from quietmic.compression.structure.forest import FIXED, NONE, is_none, same, settle, small, varies
from quietmic.compression.structure.labels import Labels
from quietmic.compression.structure.rnn import StackedRnn
from quietmic.compression.structure.rules import LEAVES, rule
from quietmic.models.networks.functional import LayerCalls
from quietmic.models.networks.run import Example, evaluating, example, outputs_of, run, training


class Trace:
    """What one forward pass tells of a network.

    Slots are known by parameter and axis: a layer that runs twice, or shared weights, meet again.

    Attributes:
        labels: their forest holds the couplings.
        found: (id of the parameter, axis) -> module, name inside it, role, labels [size].
        blocks: modules whose output is their input plus something, by path.
    """

    def __init__(self, model: nn.Module, example_inputs: Example) -> None:
        self.model = model
        self.paths = {module: path for path, module in model.named_modules()}
        self.owners = {
            id(value): (module, name)
            for module in model.modules()
            if not isinstance(module, LEAVES)
            for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        }
        self.labels = Labels(self._bind, self._start)
        self.found: dict[tuple[int, int], tuple[nn.Module, str, str, Tensor]] = {}
        self._entered: set[nn.Module] = set()
        self._residual: dict[nn.Module, bool] = {}
        self._stacks: list[tuple[Tensor, Tensor]] = []  # labels of a stacked state, and those that stand for them
        for module, name in self.owners.values():
            value = getattr(module, name)
            if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:  # integers are indices
                self.labels.parameters[value] = True
        handles = self._hooks()
        try:
            with torch.inference_mode(), evaluating(model), LayerCalls(model):
                self._run(example(example_inputs, model))
                if self.unrun:
                    self._run_in_training(example_inputs)
                self._couple_stacks()
                settle(self.labels.forest, self.labels.tangled)
        finally:
            for handle in handles:
                handle.remove()

    @property
    def unrun(self) -> tuple[nn.Module, ...]:
        """Layers with weights that no operation has met: what they read at other inputs is not known."""
        return tuple(
            module for module in self.model.modules()
            if isinstance(module, LEAVES) and module not in self._entered
            and (own := [id(value) for value in module.parameters()]) and self.labels.touched.isdisjoint(own)
        )  # fmt: skip

    @property
    def blocks(self) -> tuple[str, ...]:
        """The residual blocks that lie in no other."""
        mine = [self.paths[module] for module, ok in self._residual.items() if ok]
        return tuple(path for path in mine if not any(path.startswith(f"{other}.") for other in mine))

    def add(self, module: nn.Module, parameter: str, axis: int, role: str, values: Tensor) -> Tensor:
        """Notes a slot; returns its labels, coupled with those of earlier meetings."""
        key = (id(getattr(module, parameter)), axis)
        if key in self.found:
            known_module, known_name, known_role, known = self.found[key]
            self.labels.forest.join(known, values)
            values = torch.where(known != NONE, known, values)
            module, parameter = known_module, known_name
            role = "in" if "in" in (role, known_role) else known_role
        self.found[key] = (module, parameter, role, values)
        return self.labels.forest.roots(values)

    def _run(self, inputs: Any) -> None:
        # Tensors made outside keep autograd's view bookkeeping, which copies the Python objects: clone them.
        inputs = _clone(inputs)
        for value in inputs.values() if isinstance(inputs, dict) else inputs:
            if isinstance(value, Tensor) and value.is_floating_point():
                self.labels.put(value, torch.full((1,) * value.dim(), FIXED, dtype=torch.double))
        with self.labels:
            result = run(self.model, inputs)
        for value in outputs_of(result):
            self.labels.forest.fix(self.labels.get(value))

    def _run_in_training(self, inputs: Example) -> None:
        """Once more as in training, where heads may run that serve the loss alone."""
        try:
            with torch.random.fork_rng(devices=[]), training(self.model):
                self._run(example(inputs, self.model))
        except Exception:  # what a forward may want in training, and the example does not have
            self.labels.inside.clear()

    def _couple_stacks(self) -> None:
        """Layers of a stack have one width where somebody reads their stacked states, else widths of their own."""
        forest = self.labels.forest
        if not self._stacks:
            return
        read = {label for *_, values in self.found.values() for label in forest.roots(values).tolist()}
        for labels, column in self._stacks:
            roots = forest.roots(column)
            if not torch.equal(roots, column) or not read.isdisjoint(roots.tolist()):
                forest.join(labels, column)

    def _bind(self, value: Tensor, merged: Tensor) -> None:
        """A bare parameter meets units element by element (a scale written out): its axis is a slot that they pass."""
        module, name = self.owners[id(value)]
        merged = self.labels.forest.roots(merged)
        for axis in varies(merged):
            if axis >= -value.dim() and value.shape[axis] > 1:
                rows = small(merged).movedim(axis, 0).reshape(merged.shape[axis], -1)
                self.labels.forest.join(rows, rows.amax(1, keepdim=True))
                self.add(module, name, value.dim() + axis, "pass", rows.amax(1))

    def _start(self, value: Tensor) -> Tensor | None:
        """Labels for a bare parameter before it is moved about, along its last axis: a class token, a table of
        positions, a scale. (Where units lie along another one, the cut shows it, and is undone.)"""
        axes = [axis for axis, n in enumerate(value.shape) if n > 1]
        if not axes:
            return None
        module, name = self.owners[id(value)]
        made = self.add(module, name, axes[-1], "pass", self.labels.forest.new(value.shape[axes[-1]]))
        return made.view([-1 if axis == axes[-1] else 1 for axis in range(value.dim())])

    def _hooks(self) -> list[Any]:
        """Hooks that let the rule of each layer speak, and that notice residual blocks."""

        def enter(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self.labels.inside.append(self.paths[module])
            self._entered.add(module)

        def leave(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            self.labels.inside.pop()
            with _disable_current_modes():  # our own arithmetic needs no labels
                rule(module)(self.labels, self.add, module, args or tuple(kwargs.values()), output)

        def residual(module: nn.Module, inputs: tuple, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            given = inputs[0] if inputs else None
            alike = isinstance(first, Tensor) and isinstance(given, Tensor) and first.shape == given.shape
            if alike:
                with _disable_current_modes():
                    labels = self.labels.get(given)
                    alike = not is_none(labels) and same(self.labels.get(first), labels)
            self._residual[module] = alike and self._residual.get(module, True)

        def before(module: nn.Module, inputs: tuple) -> None:
            tangled.append(len(self.labels.tangled))

        def stacked(module: nn.Module, inputs: tuple, output: Any) -> None:
            del self.labels.tangled[tangled.pop() :]  # it stacks states of several widths, whatever these are
            for state in output[1] if isinstance(output[1], tuple) else output[1:]:
                with _disable_current_modes():
                    column = self.labels.forest.new(state.shape[-1])
                    self._stacks.append((self.labels.get(state), column))
                    self.labels.put(state, column)

        tangled: list[int] = []
        handles: list[Any] = []
        for module in self.model.modules():
            if isinstance(module, StackedRnn):
                handles.append(module.register_forward_pre_hook(before))
                handles.append(module.register_forward_hook(stacked))
            if isinstance(module, LEAVES):
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(module.register_forward_hook(leave, with_kwargs=True))
            elif module is not self.model and sum(isinstance(m, LEAVES) for m in module.modules()) > 1:
                handles.append(module.register_forward_hook(residual))
        return handles


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_clone(item) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
