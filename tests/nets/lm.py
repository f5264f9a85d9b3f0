"""Language model of recurrent layers: embedding, LSTMs or GRUs, linear layer."""

from torch import Tensor, nn


class LanguageModel(nn.Module):
    """[B, T] symbols -> ([B, T, n_symbols] scores of the next symbol, state of the recurrent layers)."""

    def __init__(
        self,
        n_symbols: int = 100,
        n_embedding: int = 64,
        n_hidden: int = 128,
        n_layers: int = 2,
        kind: str = "LSTM",
        **kw: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_symbols, n_embedding)
        self.rnn = getattr(nn, kind)(n_embedding, n_hidden, n_layers, batch_first=True, **kw)
        self.decoder = nn.Linear(kw.get("proj_size") or n_hidden, n_symbols)

    def forward(self, symbols: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        given = state[0] if state is not None and len(state) == 1 else state  # a GRU's state is one tensor
        outputs, end = self.rnn(self.embedding(symbols), given)
        return self.decoder(outputs), end if isinstance(end, tuple) else (end,)
