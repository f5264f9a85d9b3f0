import sys
from pathlib import Path
import numpy as np, torch
from dataclasses import replace
from quietmic.models.networks import beam as B
from quietmic.models.networks.registry import load_network
from quietmic.models.networks.spectra import analysis, synthesis
from quietmic.models.training.progress import read_scenes
from quietmic.enhance.beamform import BeamSettings
from quietmic.enhance.card import StftConfig
from quietmic.enhance.measure import metrics
stft = StftConfig()
net = load_network(Path("models/weights/tcn-small.pt"))[0].eval()
torch.set_num_threads(1)
def scores(out, clean):
    return metrics.si_sdr(clean, out), metrics.stoi(clean, out, 16000), metrics.pesq_wb(clean, out, 16000)
@torch.no_grad()
def run(noisy, clean, beamer, iters=2, oracle=False):
    x = analysis(torch.nn.functional.pad(torch.from_numpy(noisy)[None].float(), (0, 512)), stft)  # [1,M,F,T,2]
    ref = x[:, 0]
    beam = ref
    st = lambda: net.initial_state(1)
    if oracle:
        c = analysis(torch.nn.functional.pad(torch.from_numpy(clean)[None, None].float(), (0, 512)), stft)[:, 0]
        s, n = c.square().sum(-1), (ref - c).square().sum(-1)
        mask = (s / (s + n + 1e-12)).sqrt()
        beam = beamer(x, mask, c)
    else:
        for _ in range(iters):
            out, mask, _ = net(x, beam, st())
            beam = beamer(x, mask, out)
    out = net(x, beam, st())[0]
    wave = lambda s: synthesis(s, stft)[0].numpy()
    return wave(out), wave(beam)

def means(outer, weight, forget):
    t = torch.arange(outer.shape[2], dtype=torch.float32)
    lag = t[:, None] - t[None, :] - 1
    win = torch.where(lag >= 0, (1 - forget) * forget ** lag.clamp_min(0.0), torch.zeros_like(lag))
    w = torch.view_as_real(outer * weight[..., None, None]).flatten(3)
    return torch.view_as_complex((win @ w).unflatten(3, (*outer.shape[3:], 2)).contiguous())

def taps(X, n):
    """[B,F,T,M] -> [B,F,T,M*n]: with the n-1 frames before"""
    parts = [X]
    for k in range(1, n):
        parts.append(torch.nn.functional.pad(X, (0, 0, k, 0))[:, :, :-k])
    return torch.cat(parts, dim=-1)

def shipped(x, mask, out):
    return B.beamform(x, mask)

def make_shipped(**kw):
    def f(x, mask, out):
        old = B.SETTINGS
        B.SETTINGS = replace(old, **kw)
        r = B.beamform(x, mask)
        B.SETTINGS = old
        return r
    return f

def mwf(forget=0.98, load=1e-2, ntap=1, mode="plain", weight=None):
    def f(x, mask, out):
        X = torch.view_as_complex(x.contiguous()).permute(0, 2, 3, 1)
        S = torch.view_as_complex(out.contiguous())
        Z = taps(X, ntap)
        ones = torch.ones(mask.shape)
        w = ones if weight is None else weight(mask, X, S)
        rxx = means(Z[..., :, None] * Z[..., None, :].conj(), w, forget)
        rxs = means((Z * S[..., None].conj())[..., None], w, forget)[..., 0]
        m = Z.shape[-1]
        p = rxx.diagonal(dim1=-2, dim2=-1).sum(-1).real / m
        eye = torch.eye(m, dtype=torch.complex128)
        A = rxx.to(torch.complex128) + (load * p + 1e-16).double()[..., None, None] * eye
        rhs = rxs.to(torch.complex128)
        rhs[..., 0] += 0
        wts = torch.linalg.solve(A, rhs[..., None])[..., 0].to(torch.complex64)
        y = (wts.conj() * Z).sum(-1)
        if mode == "unit":  # distortionless towards s: divide by w^H h, h = rxs / rss
            rss = means((S * S.conj())[..., None, None].real.to(torch.complex64), w, forget)[..., 0, 0].real
            g = (wts.conj() * rxs).sum(-1) / (rss + 1e-16)
            g = torch.where(g.abs() > 0.05, g, torch.ones_like(g))
            y = y / g
        return torch.view_as_real(y.contiguous())
    return f

def resid(forget=0.98, load=1e-3, sl=0.01, low=0.002, sharp=0):
    """Noise covariance of x - h s, h from the cross covariance; MVDR towards h."""
    def f(x, mask, out):
        X = torch.view_as_complex(x.contiguous()).permute(0, 2, 3, 1)
        S = torch.view_as_complex(out.contiguous())
        ones = torch.ones(mask.shape)
        sw = mask ** 4
        rxs = means((X * S[..., None].conj())[..., None], sw, forget)[..., 0]
        rss = means((S.abs() ** 2).to(torch.complex64)[..., None, None], sw, forget)[..., 0, 0].real
        h = rxs / (rss + 1e-16)[..., None]
        N = X - h * S[..., None]
        nw = (1 - mask) ** sharp if sharp else ones
        rnn = means(N[..., :, None] * N[..., None, :].conj(), nw, forget)
        m = X.shape[-1]
        p = (rnn.diagonal(dim1=-2, dim2=-1).sum(-1).real / m + sl * rss)
        A = rnn.to(torch.complex128) + (load * p + 1e-16).double()[..., None, None] * torch.eye(m, dtype=torch.complex128)
        hh = h.to(torch.complex128)
        q = torch.linalg.solve(A, hh[..., None])[..., 0]
        den = (hh.conj() * q).sum(-1).real
        w = torch.where((den > 1e-12)[..., None], q / den.clamp_min(1e-12)[..., None], torch.eye(m, dtype=torch.complex128)[0]).to(torch.complex64)
        w = w * h[..., :1].conj() / h[..., :1].abs().clamp_min(1e-6) if False else w
        npow, spow = rnn[..., 0, 0].real, rss
        share = npow / (npow + low * spow + 1e-16)
        w = torch.eye(m)[0] + share[..., None] * (w - torch.eye(m)[0])
        return torch.view_as_real((w.conj() * X).sum(-1).contiguous())
    return f

VARIANTS = {
 "one": None, "shipped": shipped, "oracle mask": "oracle", "mwf": mwf(), "mwf .99": mwf(0.99), "mwf unit": mwf(mode="unit"),
 "mwf 2 taps .99": mwf(0.99, 1e-2, 2), "resid": resid(), "resid sharp 2": resid(sharp=2), "resid sharp 8": resid(sharp=8),
 "oracle out mwf .99": ("o", mwf(0.99)), "oracle out mwf 2 taps": ("o", mwf(0.99, 1e-2, 2)), "oracle resid": ("o", resid()),
}
if __name__ == "__main__":
    n, names = int(sys.argv[1]), sys.argv[2:]
    pairs = list(read_scenes(Path("TUNE"), n))
    for name, v in VARIANTS.items():
        if names and not any(name.startswith(k) for k in names): continue
        rows = []
        for noisy, clean in pairs:
            if v is None: out, bm = run(noisy[:1], clean, lambda x, m, o: x[:, 0], 0)
            elif v == "oracle": out, bm = run(noisy, clean, shipped, oracle=True)
            elif isinstance(v, tuple): out, bm = run(noisy, clean, v[1], oracle=True)
            else: out, bm = run(noisy, clean, v)
            k = min(len(out), len(clean)); rows.append((*scores(out[:k], clean[:k]), metrics.si_sdr(clean[:k], bm[:k])))
        print(f"{name:26s}", "{:.2f} {:.3f} {:.3f}  beam {:.2f}".format(*np.mean(np.array(rows, float), 0)), flush=True)
