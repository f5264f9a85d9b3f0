"""Models of the catalogue in the form in which devices/ knows them."""

from dataclasses import replace
from pathlib import Path

from quietmic.devices.engine import Candidate, Engine
from quietmic.enhance.card import ModelCard
from quietmic.enhance.catalogue import find_model, list_models
from quietmic.enhance.network import OnnxNetwork
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.served import FULL_BAND_RATE, Band
from quietmic.enhance.stream import Stream


def live_candidates(
    model: str | None, preferred: str = "default", auto: bool = False, band: Band | None = None
) -> list[Candidate]:
    """Models for a live run: the one asked for, or else the preferred, comes first.

    The others follow where they may be needed: with `auto` to step down to, without a model to choose from. The band
    "full" asks the devices for 48 kHz, "narrow" for the model's rate; without either each candidate is full and has
    a narrow one beside it, for devices that bring no more and machines that bear no more.
    """
    entries = sorted(list_models() if auto or not model else [], key=lambda e: (e.name != preferred, not e.is_default))
    others = [_candidate(e.path, e.card, e.sha256, band) for e in entries]
    if others and not model:
        return others
    path = find_model(model or "default")
    return [_candidate(path, read_card(path), "", band), *others]


def _candidate(path: Path, card: ModelCard, sha256: str, band: Band | None) -> Candidate:
    narrow = _at_rate(path, card, sha256, card.stft.sample_rate)
    if band == "narrow":
        return narrow
    full = _at_rate(path, card, sha256, FULL_BAND_RATE)
    return full if band else replace(full, narrow=narrow)


def _at_rate(path: Path, card: ModelCard, sha256: str, rate: int) -> Candidate:
    hop_length = card.stft.hop_length * rate // card.stft.sample_rate

    def open_engine(n_mics: int, threads: int) -> Engine:
        stream = Stream(OnnxNetwork(path, threads), n_mics, rate)
        stream.warm_up()
        return Engine(
            card.name, stream.process, stream.reset, rate, hop_length, stream.delay, n_mics,
            lambda limit_db: setattr(stream, "attenuation_limit_db", limit_db), lambda: stream.non_finite,
        )  # fmt: skip

    return Candidate(card.name, sha256, card.max_mics, card.macs_per_second, rate, hop_length, open_engine)
