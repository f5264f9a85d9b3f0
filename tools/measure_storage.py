"""Measures ways to store weights in fewer bits, on a network and its sound: python tools/measure_storage.py CHECKPOINT.

Every matrix of the network is rounded in one way, float32 then computes with it: what is told is storage alone. Writes
its table into docs/compression.md. A minute for one core.
"""

import copy
import math
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quietmic.compression.factor.quantize import share_weights
from quietmic.enhance.card import StftConfig
from quietmic.enhance.files.audio import read
from quietmic.enhance.measure.metrics import si_sdr
from quietmic.enhance.report.model_table import write_into
from quietmic.models.networks.registry import load_network
from quietmic.models.networks.spectra import analysis, synthesis

ROOT = Path(__file__).resolve().parent.parent
SOUNDS = ("mono_street", "mono_keyboard")
ACIQ = {4: 5.03, 8: 9.89}  # best clip of a Laplace distribution over its mean size (Banner et al. 2019)
LEAST = 256  # weights of a matrix that is worth it


def minmax(rows: Tensor, bits: int) -> Tensor:
    """The largest size of each row."""
    return rows.abs().amax(1)


def percentile(rows: Tensor, bits: int) -> Tensor:
    """What 99.9% of the weights of a row do not exceed."""
    return rows.abs().quantile(0.999, 1)


def least_error(rows: Tensor, bits: int) -> Tensor:
    """The clip of least squared error (MMSE) among a hundred."""
    clips = torch.linspace(0.01, 1, 100)[:, None] * minmax(rows, bits)
    errors = torch.stack([(rounded(rows, clip, bits) - rows).square().sum(1) for clip in clips])
    return clips.gather(0, errors.argmin(0)[None])[0]


def analytic(rows: Tensor, bits: int) -> Tensor:
    """ACIQ: the best clip if weights were of a Laplace distribution."""
    return (ACIQ[bits] * (rows - rows.mean(1, keepdim=True)).abs().mean(1)).minimum(minmax(rows, bits))


def entropy(rows: Tensor, bits: int) -> Tensor:
    """The share of the largest sizes whose distribution is nearest by KL divergence, of 30 shares and 512 bins."""
    tops = minmax(rows, bits).clamp(min=1e-12)
    scaled = rows / tops[:, None]
    reference, found = torch.histc(scaled, 512, -1, 1) + 1e-3, []
    for share in torch.linspace(0.3, 1, 30).tolist():
        kept = torch.histc(rounded(scaled, torch.full_like(tops, share), bits), 512, -1, 1)
        blurred = nn.functional.avg_pool1d(kept[None], 2 ** (10 - bits) + 1, 1, 2 ** (9 - bits))[0] + 1e-3
        p, q = reference / reference.sum(), blurred / blurred.sum()
        found.append((float((p * (p / q).log()).sum()), share))
    return min(found)[1] * tops


def rounded(rows: Tensor, clip: Tensor, bits: int) -> Tensor:
    """Rows at 2^bits - 1 levels between -clip and clip of each."""
    step = clip[:, None].clamp(min=1e-12) / (2 ** (bits - 1) - 1)
    most = 2 ** (bits - 1) - 1
    return (rows / step).round().clamp(-most, most) * step


def by_rows(threshold: Callable[[Tensor, int], Tensor], bits: int) -> Callable[[Tensor], tuple[Tensor, float]]:
    """A rounding with one scale for each row: weights -> (rounded weights, bits that they take)."""

    def work(weight: Tensor) -> tuple[Tensor, float]:
        rows = weight.flatten(1)
        return rounded(rows, threshold(rows, bits), bits).view_as(weight), bits * weight.numel() + 16.0 * len(rows)

    return work


def blocks_of_32(weight: Tensor) -> tuple[Tensor, float]:
    """4 bits and a scale for every 32 weights, as MatMulNBits of ONNX Runtime keeps a matrix."""
    flat = nn.functional.pad(weight.flatten(), (0, -weight.numel() % 32)).view(-1, 32)
    return rounded(flat, minmax(flat, 4), 4).flatten()[: weight.numel()].view_as(weight), 4.5 * weight.numel()


def hashed(weight: Tensor) -> tuple[Tensor, float]:
    """Weights of one random bucket share their mean (Chen et al. 2015), an eighth as many float32 values."""
    n = max(1, weight.numel() // 8)
    bucket = torch.randint(n, (weight.numel(),), generator=torch.Generator().manual_seed(0))
    total = torch.zeros(n).index_add(0, bucket, weight.flatten())
    return (total / torch.bincount(bucket, minlength=n).clamp(min=1))[bucket].view_as(weight), 32.0 * n


def decomposed(weight: Tensor) -> tuple[Tensor, float]:
    """CP: a kernel as a sum of products of three vectors at an eighth of its numbers, by alternating least squares."""
    if weight.dim() < 3 or weight[0, 0].numel() == 1:
        return weight, 32.0 * weight.numel()
    sizes = (weight.shape[0], weight.shape[1], weight[0, 0].numel())
    rank = max(1, weight.numel() // 8 // sum(sizes))
    tensor, drawn = weight.reshape(sizes), torch.Generator().manual_seed(0)
    factors = [torch.randn(size, rank, generator=drawn) for size in sizes]
    for _ in range(40):
        for axis in range(3):
            a, b = (factors[other] for other in range(3) if other != axis)
            products = torch.einsum("ir,jr->ijr", a, b).flatten(0, 1)
            flat = tensor.movedim(axis, 0).flatten(1)
            factors[axis] = torch.linalg.lstsq(products, flat.T).solution.T
    return torch.einsum("ir,jr,kr->ijk", *factors).reshape_as(weight), 32.0 * rank * sum(sizes)


FORMS: dict[str, Callable[[Tensor], tuple[Tensor, float]]] = {
    f"{bits} bits, a scale for each row, {name}": by_rows(threshold, bits)
    for bits in (8, 4)
    for name, threshold in {
        "minmax": minmax, "percentile": percentile, "MMSE": least_error, "ACIQ": analytic, "entropy": entropy,
    }.items()
} | {
    "4 bits in blocks of 32 (MatMulNBits)": blocks_of_32,
    "hashed, an eighth of the values": hashed,
    "CP of k x k kernels, an eighth of the numbers": decomposed,
}  # fmt: skip


def score(network: nn.Module) -> float:
    """Mean SI-SDR in dB over two recordings of this repository."""
    values = []
    for name in SOUNDS:
        noisy, clean = (
            read(ROOT / "recordings" / f"{name}_{kind}.{suffix(name)}")[0][:1] for kind in ("noisy", "clean")
        )
        spectra = analysis(torch.from_numpy(noisy), StftConfig())[:, None]
        with torch.no_grad():
            enhanced = network(spectra, spectra[:, 0], network.initial_state(1))[0]
        sound = synthesis(enhanced, StftConfig())[0].numpy()
        values.append(si_sdr(clean[0, : len(sound)], sound[: clean.shape[1]]))
    return sum(values) / len(values)


def suffix(name: str) -> str:
    """The format of a recording."""
    return "wav" if (ROOT / "recordings" / f"{name}_noisy.wav").is_file() else "flac"


def in_form(network: nn.Module, form: Callable[[Tensor], tuple[Tensor, float]]) -> tuple[nn.Module, float, float]:
    """A copy with its matrices in a form, the bits of a weight of these, and how far they are from it in dB."""
    result, bits, n, error, power = copy.deepcopy(network), 0.0, 0, 0.0, 0.0
    with torch.no_grad():
        for parameter in result.parameters():
            if parameter.dim() > 1 and parameter.numel() >= LEAST:
                changed, taken = form(parameter)
                error += float((changed - parameter).square().sum())
                power += float(parameter.square().sum())
                bits, n = bits + taken, n + parameter.numel()
                parameter.copy_(changed)
    return result, bits / n, 10 * math.log10(power / error) if error else math.inf


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(checkpoint: Path) -> None:
    """Rounds the matrices of CHECKPOINT in each way and tells bits, error and SI-SDR."""
    network = load_network(checkpoint)[0].eval()
    lines = ["| form | bits a weight | weights over error, dB | SI-SDR dB |", "|---|---|---|---|"]
    lines.append(f"| float32 | 32 | | {score(network):.2f} |")
    for name, form in FORMS.items():
        changed, bits, decibel = in_form(network, form)
        lines.append(f"| {name} | {bits:.1f} | {decibel:.1f} | {score(changed):.2f} |")
        click.echo(lines[-1])
    shared, bytes_of = share_weights(network, 4)
    lines.append(
        f"| 16 values for each matrix (k-means) | {32 * bytes_of['ratio']:.1f} | | {score(shared.eval()):.2f} |"
    )
    write_into(ROOT / "docs" / "compression.md", "storage", "\n".join(lines), "python tools/measure_storage.py")


if __name__ == "__main__":
    main()
