"""What an evaluation or a bench compares: our models, peers, and the noisy signal itself."""

from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from quietmic.enhance.arrays import Array
from quietmic.enhance.card import ModelCard
from quietmic.enhance.catalogue import WEIGHTS, find_model, list_models
from quietmic.enhance.cluster.remote import find_weights
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.hashes import hash_once
from quietmic.enhance.measure.graph_hash import hash_graph
from quietmic.enhance.measure.peers import Peer, find_peer, list_peers, run_peer
from quietmic.enhance.network import load_network
from quietmic.enhance.onnxfile import read_card
from quietmic.enhance.signals import cut_blocks, enhance_signal
from quietmic.enhance.stream import Stream

NOISY = "noisy"
# What decides a model's output beside its file: a change in one of these makes cached figures stale.
STREAM_SOURCES = (
    "arrays.py", "beamform.py", "fullband.py", "limit.py", "network.py", "offset.py", "polyphase.py", "reference.py",
    "resample.py", "samples.py", "stft.py", "stream.py", "uppergains.py", "upperhead.npz", "upperhead.py",
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """One column of a comparison; plain data, so that it travels to another process.

    Attributes:
        label: as printed, the number of microphones included when it is not one.
        kind: "model", "peer" or "noisy".
        target: path of the model's ONNX file, or the peer's name.
        n_mics: channels that it hears, from channel 0 on.
        fingerprint: identifies what would be run, for caches and records.
        sha256: of the model's file, by which workers find it.
        weights: folder of a peer's files.
        facts: parameters, macs_per_second, bytes, parent, causal...; None where not known.
    """

    label: str
    kind: str
    target: str = ""
    n_mics: int = 1
    fingerprint: str = "1"
    sha256: str = ""
    weights: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()


def noisy_system() -> System:
    """The unprocessed reference microphone, against which gains are counted."""
    return System(NOISY, NOISY)


def model_system(name: str, n_mics: int = 1) -> System:
    """A model of the catalogue, or an ONNX file, with the first `n_mics` channels as its array.

    Raises:
        QuietmicError: unknown model, or more microphones than its card allows.
    """
    path = find_model(name)
    card = read_card(path)
    if not 1 <= n_mics <= card.max_mics:
        message = f"{card.name} takes 1 to {card.max_mics} microphones, not {n_mics}"
        raise QuietmicError(message, exit_code=2, argument="mics")
    label = card.name if n_mics == 1 else f"{card.name}, {n_mics} mics"
    fingerprint = f"{hash_graph(path)} {card.stft} {_source_hash()}"
    return System(label, "model", str(path), n_mics, fingerprint, hash_once(path), None, _model_facts(path, card))


def peer_system(name: str, weights: Path | None = None) -> System:
    """A peer by name; see `quietmic.enhance.measure.peers.find_peer` for names and errors."""
    peer = find_peer(name, weights)
    facts = {
        "family": None, "parent": None, "parameters": peer.parameters, "macs_per_second": None, "causal": peer.causal,
        "frame_by_frame": peer.frame_by_frame,
        "bytes": sum(file.stat().st_size for file in getattr(peer, "files", [])) or None,
        "licence": peer.licence, "source": peer.source, "sample_rate": peer.sample_rate,
    }  # fmt: skip
    label = Path(name).stem if name.endswith(".toml") else name.split(":")[-1]
    return System(label, "peer", name, 1, peer.fingerprint(), "", weights, tuple(facts.items()))


def run_system(system: System, samples: Array, sample_rate: int) -> Array:
    """Enhanced mono signal, aligned with channel 0 of the input and as long.

    Args:
        system: what to run; the last few networks stay open in this process.
        samples: [n_channels, n_samples] with at least `system.n_mics` channels.
        sample_rate: hertz, of input and output.
    """
    if system.kind == NOISY:
        return samples[0]
    if system.kind == "peer":
        return run_peer(_open_peer(system.target, system.weights), samples[0], sample_rate)
    network = load_network(find_weights(Path(system.target), system.sha256), system.sha256)
    stream = Stream(network, system.n_mics, sample_rate)
    blocks = cut_blocks(samples[: system.n_mics], sample_rate)
    return np.concatenate([block[0] for block in enhance_signal([stream], blocks)])


def describe_system(system: System) -> dict[str, Any]:
    """A system as plain data for JSON, from which `recall_system` makes it again.

    A shipped model goes by its name: where it lies is nobody's business, and elsewhere on another machine.
    """
    is_shipped = system.kind == "model" and Path(system.target).parent == WEIGHTS
    return {
        "label": system.label,
        "kind": system.kind,
        "target": system.label.split(",")[0] if is_shipped else system.target,
        "n_mics": system.n_mics,
        "fingerprint": system.fingerprint,
        "weights": str(system.weights) if system.weights else None,
        **dict(system.facts),
    }


def recall_system(described: dict[str, Any]) -> System | None:
    """The system of a record, None where its files are gone or no longer the same."""
    try:
        if described["kind"] == NOISY:
            return noisy_system()
        if described["kind"] == "model":
            system = model_system(described["target"], described["n_mics"])
        else:
            system = peer_system(described["target"], Path(described["weights"]) if described["weights"] else None)
    except QuietmicError:
        return None
    return system if system.fingerprint == described["fingerprint"] else None


@lru_cache(maxsize=16)
def _open_peer(name: str, weights: Path | None) -> Peer:
    return find_peer(name, weights)


def _model_facts(path: Path, card: ModelCard) -> tuple[tuple[str, Any], ...]:
    return (
        ("family", card.name.split("-")[0]),
        ("parent", card.parent),
        ("recipe", (card.recipe or {}).get("name")),
        ("parameters", card.parameters or None),
        ("macs_per_second", card.macs_per_second or None),
        ("bytes", path.stat().st_size),
        ("causal", card.look_ahead == 0),
        ("licence", card.licence),
        ("sample_rate", card.stft.sample_rate),
    )


@lru_cache(maxsize=1)
def _source_hash() -> str:
    digest = sha256()
    for name in STREAM_SOURCES:
        digest.update((Path(__file__).parent.parent / name).read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Selection:
    """What a person names to be compared.

    Attributes:
        models: names of the catalogue, or ONNX files.
        peers: other enhancers, by name.
        mics: numbers of microphones that each model gets.
        peer_weights: folder of the peers' files.
    """

    models: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    mics: tuple[int, ...] = (1,)
    peer_weights: Path | None = None


def choose_systems(selection: Selection) -> list[System]:
    """Every model with every number of microphones, then the peers; the default model when none is named.

    Raises:
        QuietmicError: unknown names, or one system named twice.
    """
    names = selection.models or (() if selection.peers else ("default",))
    systems = [model_system(name, n_mics) for name in names for n_mics in selection.mics]
    systems += [peer_system(name, selection.peer_weights) for name in selection.peers]
    # Versions of one network bear one name: their files tell them apart.
    labels = [system.label for system in systems]
    systems = [
        replace(system, label=f"{system.label} ({Path(system.target).stem})")
        if labels.count(system.label) > 1
        else system
        for system in systems
    ]
    labels = [system.label for system in systems]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise QuietmicError(f"named twice: {', '.join(sorted(twice))}", exit_code=2)
    return systems


def bench_systems(selection: Selection) -> list[System]:
    """The models named, or all that are installed, and the peers.

    Raises:
        QuietmicError: nothing to measure, or unknown names.
    """
    if not selection.models and not selection.peers:
        selection = replace(selection, models=tuple(entry.name for entry in list_models()))
    if not selection.models and not selection.peers:
        raise QuietmicError("no models are installed", exit_code=2, argument="models")
    return choose_systems(selection)


def report_systems(selection: Selection) -> list[System]:
    """The models and peers named; where none is, all models and every peer that is installed.

    Raises:
        QuietmicError: unknown names, or nothing at all to compare.
    """
    if not selection.models and not selection.peers:
        models = tuple(entry.name for entry in list_models())
        peers = tuple(name for name in list_peers() if _is_there(name, selection.peer_weights))
        selection = replace(selection, models=models, peers=peers)
    if not selection.models and not selection.peers:
        raise QuietmicError("no models are installed", exit_code=2, argument="models")
    return choose_systems(selection)


def _is_there(name: str, weights: Path | None) -> bool:
    try:
        find_peer(name, weights)
    except QuietmicError:
        return False
    return True
