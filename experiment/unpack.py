"""unpack.py IN.pt8 OUT.pt: the reverse of pack8.py."""
import io, sys, zlib, torch
c = torch.load(io.BytesIO(zlib.decompress(open(sys.argv[1], "rb").read())), weights_only=False)
def u(v):
    if isinstance(v, tuple):
        return v[0].float() * v[1].view(-1, *[1] * (v[0].dim() - 1))
    return v.float() if v.is_floating_point() else v
c["weights"] = {k: u(v) for k, v in c["weights"].items()}
torch.save(c, sys.argv[2])
