"""A checkpoint of the experiment as the product names it."""
import sys, torch
c=torch.load(sys.argv[1],weights_only=False)
c["sizes"]={**{k:v for k,v in c["sizes"].items() if k not in("memory","late")},"encoder_memories":tuple(c["sizes"]["memory"]),"decoder_memories":tuple(c["sizes"]["late"])}
ren=lambda k:k.replace("memories.","encoder_memories.",1) if k.startswith("memories.") else k.replace("lates.","decoder_memories.",1) if k.startswith("lates.") else k
c["weights"]={ren(k):v for k,v in c["weights"].items()}
c["changes"]={ren(k):v for k,v in c["changes"].items()}
torch.save(c,sys.argv[2])
