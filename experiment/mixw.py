"""mixw.py OUT w1 a.pt w2 b.pt ...: a weighted mean of checkpoints' weights; facts of the first."""
import sys, torch
out,*rest=sys.argv[1:]
ws=[float(x) for x in rest[::2]]; cs=[torch.load(p,weights_only=False) for p in rest[1::2]]
t=sum(ws); c=cs[0]
c["weights"]={k:(sum(w*x["weights"][k].double() for w,x in zip(ws,cs))/t).float() if v.is_floating_point() else v for k,v in c["weights"].items()}
torch.save(c,out)
