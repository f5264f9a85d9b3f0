"""Recordings to listen to and look at: noisy, enhanced by each system, clean."""

from pathlib import Path
from typing import Any

from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files import audio
from quietmic.enhance.measure.recordings import Recording, find_recordings
from quietmic.enhance.measure.records import git_commit
from quietmic.enhance.measure.systems import System, run_system
from quietmic.enhance.report.media import sound_uri
from quietmic.enhance.report.pages import render
from quietmic.enhance.report.spectrogram import peak_db, spectrogram_uri

_FACTS = {"snr_db": "input SNR {} dB", "rt60_s": "reverberation {} s", "n_mics": "{} microphones"}


def colour_name(kind: str, facts: dict[str, Any]) -> str:
    """Name of a system's colour on a page: the family of a model, else "peer" or "noisy"."""
    return str(facts["family"]) if kind == "model" else kind


def listening_card(
    recording: Recording, systems: list[System], codec: str = "flac", figures: dict[str, str] | None = None
) -> dict[str, Any]:
    """One recording with all its sounds and pictures on one scale.

    Args:
        recording: what is heard; systems that need more channels than it has are left out.
        systems: what enhances it.
        codec: see `quietmic.enhance.report.media.sound_uri`.
        figures: system's label -> text printed beside its player.

    Returns:
        {"name", "facts", "seconds", "khz", "sounds": [{"label", "kind", "sound", "picture", "figures"}]} for the
        template.
    """
    noisy, sample_rate = audio.read(recording.noisy)
    signals = [("noisy", "noisy", noisy[0])]
    for system in systems:
        if system.n_mics <= len(noisy):
            signals.append(
                (system.label, colour_name(system.kind, dict(system.facts)), run_system(system, noisy, sample_rate))
            )
    if recording.clean:
        signals.append(("clean", "clean", audio.read(recording.clean)[0][0]))
    top_db = peak_db(noisy[0])
    sounds = [
        {
            "label": label,
            "kind": kind,
            "sound": sound_uri(samples, sample_rate, codec),
            "picture": spectrogram_uri(samples, top_db, sample_rate),
            "figures": (figures or {}).get(label, ""),
        }
        for label, kind, samples in signals
    ]
    facts = [_FACTS.get(name, name + " {}").format(value) for name, value in recording.facts.items() if value != ""]
    return {
        "name": recording.name,
        "facts": facts,
        "seconds": noisy.shape[1] / sample_rate,
        "khz": sample_rate / 2000,
        "sounds": sounds,
    }


def write_listening_page(
    folder: Path, systems: list[System], path: Path, count: int = 10, names: tuple[str, ...] = ()
) -> None:
    """Writes one static page of scenes to listen to, in Opus so that it stays small enough for a repository.

    Args:
        folder: scenes in any layout that `find_recordings` knows.
        systems: ours and peers, in the order of the page.
        path: the HTML file.
        count: scenes, spread evenly over the folder.
        names: scenes to take instead.

    Raises:
        QuietmicError: a name that is not in the folder.
    """
    recordings = find_recordings(folder)
    known = {recording.name: recording for recording in recordings}
    if missing := [name for name in names if name not in known]:
        raise QuietmicError(f"no scene {', '.join(missing)} in {folder}", exit_code=2)
    if names:
        chosen = [known[name] for name in names]
    else:
        count = min(count, len(recordings))
        chosen = [recordings[i * len(recordings) // count] for i in range(count)]
    cards = [listening_card(recording, systems, codec="opus") for recording in chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render("listen.html", cards=cards, commit=git_commit()), encoding="utf-8")
