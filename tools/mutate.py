"""Changes the core maths of compression/ by hand and sees whether the tests notice: python tools/mutate.py.

Each row of MUTATIONS is one wrong line. It is written into a copy of the checkout, the fast tests of compression run
there until one fails, and the table in docs/compression.md says which. What survives is named first: a hole in the
tests. Takes about half an hour on a busy machine of two cores.
"""

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import click
import onnxruntime  # noqa: F401  what all tests load, before the first fork; nothing of ours, which is read there
import pytest
import torch  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("quietmic", "enhance", "models", "compression", "tests", "pyproject.toml")  # what the tests need, no weights
TESTS = {  # file -> tests of that part, those first that look at it most closely
    "influence": ("influence", "what_goes"), "data_scores": ("what_goes",), "calibration": ("what_goes",),
    "weight_scores": ("what_goes",), "reconstruct": ("what_goes", "criteria", "any_network"),
    "gates": ("criteria", "what_goes"), "learned": ("what_goes", "criteria", "pipeline"),
    "allocate": ("what_goes", "allocate", "pipeline"), "cost": ("allocate", "any_network"),
    "schedules": ("pipeline",), "forest": ("any_network",), "rules": ("any_network",), "surgery": ("any_network",),
    "check": ("any_network",), "svd": ("lowrank",), "lowrank_conv": ("lowrank",), "quantize": ("any_network",),
    "finetune": ("pipeline",), "count": ("any_network",),
}  # fmt: skip
FAST = "not resnet and not mobilenet"  # large networks take longest, and the small ones see the same
LIMIT_S = 1200  # a wrong line may never end; on a busy machine a right one takes minutes
FOUND = ROOT / "docs" / "data" / "mutation.json"  # what is wrong -> the test that noticed it, or ""


@dataclass(frozen=True)
class Mutation:
    """One wrong line.

    Attributes:
        file: in compression/, or in models/ where it says so.
        right: text that stands there once.
        wrong: what takes its place.
        what: for people.
    """

    file: str
    right: str
    wrong: str
    what: str


CRITERIA, STRUCTURE, FACTOR = "compression/criteria", "compression/structure", "compression/factor"
MUTATIONS = (
    Mutation(f"{CRITERIA}/influence.py", "weight.detach().conj() * gradient", "gradient",
             "influence without the weight"),
    Mutation(
        f"{CRITERIA}/influence.py", "unit_influence(group, influences))", "unit_influence(group, influences).flip(0))",
        "influence of a unit goes to another",
    ),
    Mutation(
        f"{CRITERIA}/influence.py", "return sum_units(group, influences, group.reads())",
        "return sum_units(group, influences, group.makes())", "a unit's influence read where it is made",
    ),
    Mutation(
        f"{CRITERIA}/influence.py", "momentum * old.get(name, value) + (1 - momentum) * value",
        "(1 - momentum) * old.get(name, value) + momentum * value", "running mean the wrong way round",
    ),
    Mutation(f"{CRITERIA}/data_scores.py", "values.abs().mean(0)", "values.mean(0)", "signed influences cancel"),
    Mutation(f"{CRITERIA}/data_scores.py", "values.square().mean(0)", "values.mean(0).square()", "Taylor of the mean"),
    Mutation(f"{CRITERIA}/data_scores.py", "1 - share for", "share for", "units that are mostly zero stay"),
    Mutation(f"{CRITERIA}/data_scores.py", "gate[unit] = 0", "gate[unit] = 0.5", "CURL takes half of a unit away"),
    Mutation(f"{CRITERIA}/calibration.py", '"l1": maps.abs().sum(2)', '"l1": maps.sum(2)', "activations without size"),
    Mutation(f"{CRITERIA}/weight_scores.py", "{name: w.abs() for name, w in weights_of(model, slots).items()}, slots)",
             "{name: w for name, w in weights_of(model, slots).items()}, slots)", "l1 without the absolute value"),
    Mutation(f"{CRITERIA}/weight_scores.py", "folded = fold_norms(model, inputs)", "folded = model",
             "norms behind filters do not count"),
    Mutation(f"{CRITERIA}/weight_scores.py", "torch.cdist(v, v).sum(1)", "-torch.cdist(v, v).sum(1)",
             "the most unlike filter goes"),
    Mutation(f"{CRITERIA}/weight_scores.py", "(w.abs() >= w.abs().mean())", "(w.abs() < w.abs().mean())",
             "S(n) counts the small weights"),
    Mutation(f"{CRITERIA}/weight_scores.py", "scale * (sparsity_of(group, model) if sparse else 1.0)", "scale",
             "slimming without S(n)"),
    Mutation(f"{CRITERIA}/weight_scores.py", "(magnitudes >= threshold)", "(magnitudes <= threshold)",
             "the largest single weights go"),
    Mutation(f"{CRITERIA}/reconstruct.py", "(flat.conj() @ flat.T)", "torch.ones_like(flat @ flat.T)",
             "Gram matrix without the next layer's weights"),
    Mutation(f"{CRITERIA}/reconstruct.py", "weights.square() / inverse", "weights.square() * inverse",
             "ThiNet: the rise of the error upside down"),
    Mutation(f"{CRITERIA}/reconstruct.py", "inverse - torch.outer(column, inverse[j])", "inverse",
             "ThiNet without refitting"),
    Mutation(f"{CRITERIA}/reconstruct.py", "torch.linalg.solve(inner, gram[index].sum(1))", "torch.ones(len(index))",
             "units that stay do not make up for those that go"),
    Mutation(f"{CRITERIA}/reconstruct.py", "rest.abs() - strength", "rest.abs() + strength", "the lasso grows weights"),
    Mutation(f"{CRITERIA}/reconstruct.py", "torch.randperm(len(rows), generator=generator)",
             "torch.arange(0, len(rows), len(rows) // N_POSITIONS)", "windows at a fixed stride"),
    Mutation(f"{CRITERIA}/gates.py", "5 * abs(kept - ratio) if kept >= ratio else 0.0", "5 * abs(kept - ratio)",
             "the penalty never lets go"),
    Mutation(f"{CRITERIA}/gates.py", "len(gates) * penalty_weight(kept, ratio)", "0",
             "nothing is pulled to the budget"),
    Mutation(f"{CRITERIA}/gates.py", "0.4 * x.mean(1)", "-0.4 * x.mean(1)", "the learner starts upside down"),
    Mutation(f"{CRITERIA}/gates.py", "beta * schedule.growth ** (rate / schedule.steps)", "beta", "beta does not grow"),
    Mutation(f"{CRITERIA}/learned.py", "kept[name] * gate.clamp(min=0.5)", "kept[name] * gate",
             "a unit that the budget brings back stays shut"),
    Mutation(f"{CRITERIA}/allocate.py", "argsort(scores, descending=True", "argsort(scores, descending=False",
             "the worst units stay"),
    Mutation(f"{CRITERIA}/allocate.py", "score.double() / weights[name]", "score.double() * weights[name]",
             "dear units stay rather than cheap ones"),
    Mutation(f"{CRITERIA}/allocate.py", "math.ceil(floor * sizes[name])", "1", "no floor"),
    Mutation("compression/cost.py", "n = n * stays.sum()", "n = n * size", "costs that do not see the cut"),
    Mutation("compression/cost.py", "layer.macs * matrix / whole", "layer.macs", "MACs that do not see the cut"),
    Mutation("compression/schedules.py", "excess ** (1 - (i + 1) / stages)", "excess ** (1 - i / stages)",
             "gradual budgets end one stage short"),
    Mutation(f"{STRUCTURE}/forest.py", "(first != second) & (first != NONE)", "(first == second) & (first != NONE)",
             "nothing is coupled"),
    Mutation(f"{STRUCTURE}/forest.py", "if bool(stuck.any()):", "if False:", "tangled units go alone"),
    Mutation(f"{STRUCTURE}/rules.py", "read = same_in_each(labels, read, groups)", "read = read.view(groups, -1)[0]",
             "groups of a convolution lose different channels"),
    Mutation(f"{STRUCTURE}/surgery.py", "n = mask.sum(axes, keepdim=True)",
             "n = torch.ones_like(mask).sum(axes, keepdim=True)",
             "norms average over units that are off"),
    Mutation(f"{STRUCTURE}/surgery.py", "setattr(module, key, parameter)",
             "setattr(module, key, nn.Parameter(value.clone()))",
             "shared weights part in surgery"),
    Mutation(f"{STRUCTURE}/check.py", "if difference := _difference(expected, actual)", "if difference := None",
             "cuts are not compared"),
    Mutation(f"{FACTOR}/svd.py", "s >= thresh * s[0]", "s >= thresh", "threshold in absolute terms"),
    Mutation(f"{FACTOR}/svd.py", "root[:, None] * v[:rank]", "root[:, None] * v[-rank:]",
             "factors of the wrong singular vectors"),
    Mutation(f"{FACTOR}/lowrank_conv.py", "return split if _error(conv, split) < _error(conv, tucker) else tucker",
             "return tucker if _error(conv, split) < _error(conv, tucker) else split", "the worse of two factors"),
    Mutation(f"{FACTOR}/quantize.py", "centres = torch.where(count > 0, total / count.clamp(min=1), centres)",
             "centres = torch.where(count > 0, total, centres)", "centres are sums, not means"),
    Mutation("compression/finetune.py", "soft**2 * task.gap(expected / soft", "task.gap(expected / soft",
             "distillation without T^2"),
    Mutation("models/networks/count.py", "query.numel() * key.shape[-2] + ", "", "attention's scores are not counted"),
)  # fmt: skip


def copy_checkout(target: Path) -> None:
    """The parts of the checkout that the tests of compression need."""
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "weights", "*.onnx"))
        else:
            shutil.copy(source, target / name)


class _Failures:
    """Notes the tests that fail."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(report.nodeid.removeprefix("tests/"))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.names.append(f"{report.nodeid.removeprefix('tests/')} (import)")


def _test(checkout: Path, tests: tuple[str, ...], answer: Connection) -> None:
    """Runs tests of a checkout in this process, silently, until one fails."""
    os.chdir(checkout)
    sys.path.insert(0, str(checkout))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    failures = _Failures()
    files = [f"tests/test_{name}.py" for name in tests]
    pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-k", FAST, *files], [failures])
    answer.send(failures.names)


def failed_tests(checkout: Path, tests: tuple[str, ...]) -> list[str]:
    """The first of some tests that fails there, or none.

    In a fork of this process, which has loaded what all tests load: importing torch takes longer than most tests.
    """
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_test, args=(checkout, tests, theirs))
    process.start()
    theirs.close()
    try:
        return mine.recv() if mine.poll(LIMIT_S) else ["no end"]
    except EOFError:
        return ["a crash of the interpreter"]
    finally:
        process.kill()
        process.join()


def run(checkout: Path, mutation: Mutation) -> list[str]:
    """Tests that notice one wrong line."""
    path = checkout / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.right) != 1:
        raise click.ClickException(
            f"{mutation.file} holds '{mutation.right}' {text.count(mutation.right)} times, not once"
        )
    path.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")
    try:
        return failed_tests(checkout, TESTS[path.stem])
    finally:
        path.write_text(text, encoding="utf-8")


def table(found: dict[str, str]) -> str:
    """What docs/compression.md shows of the wrong lines that have been tried."""
    rows = [(mutation, found[mutation.what]) for mutation in MUTATIONS if mutation.what in found]
    caught = sum(bool(test) for _, test in rows)
    lines = [
        f"{len(rows)} of {len(MUTATIONS)} lines have been tried, {caught} are noticed:", "",
        "| what is wrong | where | noticed first by |", "|---|---|---|",
    ]  # fmt: skip
    for mutation, test in sorted(rows, key=lambda row: bool(row[1])):
        noticed = f"`{test.replace('|', ' ')}`" if test else "**nobody**"
        lines.append(f"| {mutation.what} | `{mutation.file.removeprefix('compression/')}` | {noticed} |")
    return "\n".join(lines)


@click.command()
@click.argument("words", nargs=-1)
def main(words: tuple[str, ...]) -> None:
    """Tries each wrong line in turn and writes the table into docs/compression.md.

    With WORDS only the wrong lines that are described with one of these are tried, and the other rows stay as they
    were. Each row is kept as soon as it is there: after a run that was stopped, name the rest.
    """
    chosen = [m for m in MUTATIONS if not words or any(word in m.what for word in words)]
    found: dict[str, str] = json.loads(FOUND.read_text(encoding="utf-8")) if words and FOUND.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        copy_checkout(checkout)
        used = (name for mutation in chosen for name in TESTS[Path(mutation.file).stem])
        if broken := failed_tests(checkout, tuple(dict.fromkeys(used))):
            raise click.ClickException(f"the tests fail as they are: {broken[0]}")
        for mutation in chosen:
            started = time.monotonic()
            found[mutation.what] = next(iter(run(checkout, mutation)), "")
            FOUND.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            click.echo(f"{mutation.what}: {found[mutation.what] or 'NOBODY'} ({time.monotonic() - started:.0f} s)")
    from quietmic.enhance.report.model_table import write_into  # not before the last fork

    write_into(ROOT / "docs" / "compression.md", "mutation", table(found), "make mutate")


if __name__ == "__main__":
    main()
