"""tcn-tiny to 0.15M parameters: units of blocks taken out by optimal brain surgeon, everything else widened, the function kept."""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from quietmic.enhance.card import StftConfig
from quietmic.models.mixtures.mixing import mix, stack_scenes
from quietmic.models.networks.blocks import BandMemory
from quietmic.models.networks.registry import load_network, save_network
from quietmic.models.networks.spectra import analysis
from quietmic.models.training.config import read_config
from quietmic.models.training.sources import Sources, open_source

WIDTH, UNITS = 36, 1000
ENC = {0: 16, 1: 24, 2: 28}
MEM = {"encoder_memories": {1: 16, 2: 32}, "decoder_memories": {0: 16, 1: 32, 2: 32}}


def grown(old: torch.Tensor, shape, rows, cols, fan, rows_dim=0, cols_dim=1):
    """New tensor: old at (rows, cols); new columns of old rows zero, new rows random. Returns tensor and mask of new."""
    new = torch.randn(shape) * fan**-0.5
    mask = torch.ones(shape)
    index = [slice(None)] * len(shape)
    index[rows_dim] = torch.as_tensor(rows)
    new[tuple(index)] = 0.0
    new, mask = new.transpose(0, rows_dim) if rows_dim else new, mask
    new = new.transpose(0, rows_dim) if rows_dim else new
    grid = torch.meshgrid(torch.as_tensor(rows), torch.as_tensor(cols), indexing="ij")
    where = [slice(None)] * len(shape)
    where[rows_dim], where[cols_dim] = grid
    if rows_dim > cols_dim:  # advanced indexes in order of dims: old is [cols, rows, ...]
        where[rows_dim], where[cols_dim] = grid[0].T, grid[1].T
    new[tuple(where)] = old
    mask[tuple(where)] = 0.0
    return new, mask


masks: dict[str, torch.Tensor] = {}


def conv(path, layer, n_out, n_in, rows=None, cols=None, zero_new_rows=False):
    rows = list(range(layer.out_channels)) if rows is None else rows
    cols = list(range(layer.in_channels)) if cols is None else cols
    depthwise = layer.groups > 1
    new = type(layer)(n_in, n_out, layer.kernel_size, stride=layer.stride, padding=layer.padding, dilation=layer.dilation,
                      groups=n_in if depthwise else 1, bias=layer.bias is not None)
    shape = new.weight.shape
    if depthwise:
        w, m = new.weight.data.clone(), torch.ones(shape)
        w[rows], m[rows] = layer.weight.data, 0.0
    else:
        fan = shape[1] * shape[2:].numel()
        w, m = grown(layer.weight.data, shape, rows, cols, fan)
        if zero_new_rows:
            fresh = torch.ones(n_out, dtype=torch.bool); fresh[rows] = False
            w[fresh] = 0.0
    new.weight.data = w
    masks[f"{path}.weight"] = m
    if layer.bias is not None:
        b, m = torch.zeros(n_out), torch.ones(n_out)
        b[rows], m[rows] = layer.bias.data, 0.0
        new.bias.data = b
        masks[f"{path}.bias"] = m
    return new


def norm(path, layer, n):
    if isinstance(layer, nn.Identity):
        return layer
    new = type(layer)(n)
    k = layer.num_features
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(new, name).data[:k] = getattr(layer, name).data
    for name in ("weight", "bias"):
        masks[f"{path}.{name}"] = torch.cat([torch.zeros(k), torch.ones(n - k)])
    return new


def memory(path, old: BandMemory, c, n):
    new = BandMemory(c, n)
    n0, c0 = old.n_units, old.enter.in_channels
    q0, q = n0 // 4, n // 4
    units = [k * q + j for k in range(4) for j in range(q0)]
    new.enter = conv(f"{path}.enter", old.enter, n, c, rows=units)
    new.mix = conv(f"{path}.mix", old.mix, n, c + n, cols=[*range(c0), *(c + u for u in units)])
    new.back = conv(f"{path}.back", old.back, c, n, zero_new_rows=True)
    return new


@torch.no_grad()
def surgeon(net, batches):
    """Takes units out of the blocks, the least missed first, until UNITS are left in all."""
    tables = []
    for b in net.blocks:
        k = b.expand.out_channels
        tables.append(torch.zeros(k + 1, k + 1, dtype=torch.float64))
    hooks = []
    def hook(i):
        def f(_m, _i, out):
            h = out.transpose(1, 2).reshape(-1, out.shape[1]).double()
            h = torch.cat([h, torch.ones(len(h), 1, dtype=torch.float64)], 1)
            tables[i].add_(h.T @ h)
        return f
    for i, b in enumerate(net.blocks):
        hooks.append(b.act.register_forward_hook(hook(i)))
    outs = []
    for noisy in batches:
        outs.append(net(noisy, noisy[:, 0], net.initial_state(noisy.shape[0]))[0])
    for h in hooks:
        h.remove()
    n = float(tables[0][-1, -1])
    state = []
    for b, c in zip(net.blocks, tables):
        c = c / n
        c[:-1, :-1] += 1e-6 * c.diagonal()[:-1].mean() * torch.eye(len(c) - 1)
        p = torch.cat([b.project.weight.data[:, :, 0], b.project.bias.data[:, None]], 1).double()
        state.append([torch.linalg.inv(c), p, list(range(b.expand.out_channels)), 0.0])
    total = sum(len(s[2]) for s in state)
    costs = [s[1][:, :-1].square().sum(0) / s[0].diagonal()[:-1] for s in state]
    while total > UNITS:
        best = [float(c.min()) if len(c) > 24 else 1e9 for c in costs]
        i = int(np.argmin(best)); s = state[i]; j = int(costs[i].argmin())
        inv, p = s[0], s[1]
        p = p - p[:, j:j + 1] * inv[j:j + 1] / inv[j, j]
        inv = inv - inv[:, j:j + 1] @ inv[j:j + 1] / inv[j, j]
        keep = [k for k in range(len(inv)) if k != j]
        s[0], s[1] = inv[keep][:, keep], p[:, keep]
        s[2].pop(j); s[3] += best[i]; total -= 1
        costs[i] = s[1][:, :-1].square().sum(0) / s[0].diagonal()[:-1]
    for b, s in zip(net.blocks, state):
        k = s[2]
        e = nn.Conv1d(b.expand.in_channels, len(k), 1); e.weight.data, e.bias.data = b.expand.weight.data[k], b.expand.bias.data[k]
        pr = nn.Conv1d(len(k), b.project.out_channels, 1); pr.weight.data, pr.bias.data = s[1][:, :-1, None].float(), s[1][:, -1].float()
        b.expand, b.project = e, pr
        print(len(k), f"{s[3]:.2e}", end="; ")
    print()
    for noisy, before in zip(batches, outs):
        now = net(noisy, noisy[:, 0], net.initial_state(noisy.shape[0]))[0]
        print("lost by surgery", float((now - before).square().sum() / before.square().sum()))
        break


def main(start, config_path, cache, out):
    net, facts = load_network(Path(start))
    config = read_config(Path(config_path), "tcn")
    source, _ = open_source(Sources(Path("SPEECH"), Path("NOISE"), Path("RIR"), 1000, Path(config_path), Path(cache), 1), config)
    batches = []
    for i in range(6):
        scenes = stack_scenes(source.draw((99, i), 8, 1))
        batches.append(analysis(mix(scenes, torch.device("cpu"), i).noisy, StftConfig()))
    surgeon(net, batches)
    noisy = batches[0]
    with torch.no_grad():
        before = net(noisy, noisy[:, 0], net.initial_state(8))[0]
    torch.manual_seed(5)
    chans = [3] + [ENC.get(i, l.conv.out_channels) for i, l in enumerate(net.encoder)]
    for i, l in enumerate(net.encoder):
        l.conv = conv(f"encoder.{i}.conv", l.conv, chans[i + 1], chans[i])
        l.norm = norm(f"encoder.{i}.norm", l.norm, chans[i + 1])
        net.skips[i] = conv(f"skips.{i}", net.skips[i], net.skips[i].out_channels, chans[i + 1])
    enc, dec = [0] * 4, [0] * 4
    for part, sizes, target in (("encoder_memories", MEM["encoder_memories"], enc), ("decoder_memories", MEM["decoder_memories"], dec)):
        d = getattr(net, part)
        for i, n in sizes.items():
            c = chans[i + 1] if part[0] == "e" else net.skips[i].out_channels
            target[i] = n
            if str(i) in d:
                d[str(i)] = memory(f"{part}.{i}", d[str(i)], c, n)
            else:
                d[str(i)] = BandMemory(c, n)
                for name, p in d[str(i)].named_parameters():
                    masks[f"{part}.{i}.{name}"] = torch.ones_like(p)
        ordered = sorted(d.items()); d.clear(); d.update(ordered)
    net.squeeze = conv("squeeze", net.squeeze, WIDTH, net.squeeze.in_channels)
    for i, b in enumerate(net.blocks):
        b.depthwise = conv(f"blocks.{i}.depthwise", b.depthwise, WIDTH, WIDTH)
        b.norm = norm(f"blocks.{i}.norm", b.norm, WIDTH)
        b.expand = conv(f"blocks.{i}.expand", b.expand, b.expand.out_channels, WIDTH)
        b.project = conv(f"blocks.{i}.project", b.project, WIDTH, b.project.in_channels)
        b.project.weight.data[21:] *= 0.3
    net.unsqueeze = conv("unsqueeze", net.unsqueeze, net.unsqueeze.out_channels, WIDTH)
    net.config = replace(net.config, encoder_memories=tuple(enc), decoder_memories=tuple(dec))
    net.eval()
    with torch.no_grad():
        after = net(noisy, noisy[:, 0], net.initial_state(8))[0]
    print("difference by growth", float((after - before).abs().max() / before.abs().max()))
    print("parameters", sum(p.numel() for p in net.parameters()))
    save_network(net, Path(out), facts)
    torch.save(masks, out.replace(".pt", ".masks"))
    load_network(Path(out))


main(*sys.argv[1:])
