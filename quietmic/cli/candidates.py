"""Models of the catalogue in the form in which devices/ knows them."""

from pathlib import Path

from quietmic.devices.engine import Candidate, Engine
from quietmic.enhance.card import ModelCard
from quietmic.enhance.catalogue import find_model, list_models
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.stream import Stream


def live_candidates(model: str | None, preferred: str = "default", auto: bool = False) -> list[Candidate]:
    """Models for a live run: the one asked for, or else the preferred, comes first.

    The others follow where they may be needed: with `auto` to step down to, without a model to choose from.
    """
    entries = sorted(list_models() if auto or not model else [], key=lambda e: (e.name != preferred, not e.is_default))
    others = [_candidate(e.path, e.card, e.sha256) for e in entries]
    if others and not model:
        return others
    path = find_model(model or "default")
    return [_candidate(path, read_card(path), ""), *others]


def _candidate(path: Path, card: ModelCard, sha256: str) -> Candidate:
    stft = card.stft

    def open_engine(n_mics: int, threads: int) -> Engine:
        stream = Stream(OnnxNetwork(path, threads), n_mics, stft.sample_rate)
        stream.warm_up()
        return Engine(
            card.name, stream.process, stream.reset, stft.sample_rate, stft.hop_length, stream.delay, n_mics,
            lambda limit_db: setattr(stream, "attenuation_limit_db", limit_db), lambda: stream.non_finite,
        )  # fmt: skip

    return Candidate(
        card.name, sha256, card.max_mics, card.macs_per_second, stft.sample_rate, stft.hop_length, open_engine
    )
