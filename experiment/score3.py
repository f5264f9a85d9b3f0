"""Paired scores of checkpoints on a scenes folder, one microphone: python score3.py SCENES COUNT first.pt other.pt..."""
import sys, numpy as np, torch
from pathlib import Path
from quietmic.models.networks.registry import load_network, build, apply_changes
from quietmic.models.training.progress import read_scenes, score_network
from quietmic.models.networks.spectra import analysis
from quietmic.enhance.card import StftConfig
torch.set_num_threads(1)
folder,count,*paths=sys.argv[1:]
nets=[load_network(Path(p))[0].float().eval() for p in paths]
S=[[] for _ in nets]
for noisy,clean in list(read_scenes(Path(folder)))[:int(count)]:
    s=analysis(torch.from_numpy(noisy[:1].copy())[None],StftConfig())
    for k,n in enumerate(nets): S[k].append(score_network(n,s,s[:,0],clean))
S=np.array(S)
rng=np.random.default_rng(0); ix=rng.integers(0,S.shape[1],(4000,S.shape[1]))
for k,p in enumerate(paths):
    d=S[k]-S[0]; m=d[ix].mean(1); lo,hi=np.percentile(m,[2.5,97.5],axis=0)
    print(p, S[k].mean(0).round(4), "20:",S[k][:20].mean(0).round(4), "diff", " ".join(f"{d.mean(0)[j]:+.3f}[{lo[j]:+.3f},{hi[j]:+.3f}]" for j in range(3)))
