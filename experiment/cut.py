import torch, numpy as np
from pathlib import Path
from torch import nn
from quietmic.models.networks.registry import load_network, save_network
from quietmic.models.training.progress import read_scenes, score_network
from quietmic.models.networks.spectra import analysis
from quietmic.enhance.card import StftConfig
torch.set_num_threads(1)
net,facts=load_network(Path("models/weights/tcn-small-memory.pt"))
net=net.float().eval(); stft=StftConfig()
sc=list(read_scenes(Path("/work/trscenes")))
def go(w,c):
    s=analysis(torch.from_numpy(w[:1].copy())[None],stft); 
    with torch.no_grad(): return score_network(net,s,s[:,0],c)
X=[]
b=net.blocks[0]
h=b.project[0].register_forward_pre_hook(lambda m,i: X.append(i[0].detach()))
sco=[]
for noisy,clean in sc: sco.append(go(noisy,clean))
h.remove()
print("before",[np.mean([getattr(s,k) for s in sco]) for k in ("si_sdr","stoi","pesq")] if hasattr(sco[0],"si_sdr") else sco[0])
A=torch.cat([x[0] for x in X],1).double()   # [679, N]
print(A.shape)
W=b.project[0].weight[:,:,0].double()          # [69,679]
P=b.project[1].weight[:,:,0].double()          # [92,69]
M=P@W
keep=list(range(A.shape[0]))
G=A@A.T/A.shape[1]
n_keep=679-134
# backward elimination by exact least squares increase: with inverse of (G+eps), removing c costs (m_c^2)/(Ginv_cc) with weights re-fitted
eps=1e-4*G.diag().mean()
K=torch.linalg.inv(G+eps*torch.eye(len(keep),dtype=torch.double))
Wf=M.clone(); alive=torch.ones(679,dtype=bool)
for _ in range(679-n_keep):
    cost=(Wf**2).sum(0)/K.diag(); cost[~alive]=torch.inf
    c=int(cost.argmin())
    Wf=Wf-Wf[:,c:c+1]*(K[c]/K[c,c])[None]
    K=K-K[:,c:c+1]@K[c:c+1]/K[c,c]
    K[c,c]=1.0; alive[c]=False; Wf[:,c]=0
idx=torch.nonzero(alive)[:,0]
Wk=Wf[:,idx]
print("relative error",float((((M@A)-(Wk@A[idx]))**2).sum()/((M@A)**2).sum()))
# refactor to rank 69 in the metric of G
Gk=G[idx][:,idx]+eps*torch.eye(len(idx),dtype=torch.double)
L=torch.linalg.cholesky(Gk)
U,S,V=torch.linalg.svd(Wk@L,full_matrices=False)
r=69
Pn=U[:,:r]*S[:r].sqrt(); Wn=S[:r].sqrt()[:,None]*(torch.linalg.solve_triangular(L,V[:r],upper=False,left=False))
print("rank error",float((((M@A)-(Pn@Wn@A[idx]))**2).sum()/((M@A)**2).sum()))
e=nn.Conv1d(92,len(idx),1); p0=nn.Conv1d(len(idx),69,1,bias=False)
e.weight.data=b.expand.weight[idx].clone(); e.bias.data=b.expand.bias[idx].clone(); p0.weight.data=Wn.float()[:,:,None]
b.expand=e; b.project[0]=p0; b.project[1].weight.data=Pn.float()[:,:,None]
if hasattr(b.act,"weight") : print("act has weight",b.act)
sco2=[go(n,clean) for n,clean in sc]
print("after",[np.mean([getattr(s,k) for s in sco2]) for k in ("si_sdr","stoi","pesq")] if hasattr(sco[0],"si_sdr") else sco2[0])
print(sum(p.numel() for p in net.state_dict().values()))
save_network(net,Path("/work/start.pt"),facts)
