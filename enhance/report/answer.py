"""What a report says first: which model to take on this machine, and why."""

from typing import Any

from quietmic.enhance.measure.systems import NOISY
from quietmic.enhance.measure.tables import HEADINGS, format_figure

MEASURES = ("pesq_wb", "si_sdr", "ovrl")  # the first that was measured decides
ENOUGH_RTF = 0.5  # share of one core that live use may take: a machine has other work, and hops differ

System = dict[str, Any]


def find_answer(figures: dict[str, Any], bench: dict[str, Any] | None) -> dict[str, Any] | None:
    """The model to take, as {"title", "reasons"}: sentences for a person; None where no model was measured.

    It is the best of those that leave half a core free, or the cheapest where none does; of those with the fewest
    microphones, as the others are another device's.

    Args:
        figures: of an evaluation.
        bench: record of one that timed the same systems here; without it the best is named, and that its speed is
            not known.
    """
    rtf = {system["label"]: system["rtf_live"] for system in bench["figures"]["systems"]} if bench else {}
    models = [system for system in figures["systems"] if system["kind"] == "model"]
    fewest = min((system["n_mics"] for system in models), default=0)
    models = [system for system in models if system["n_mics"] == fewest]
    name = next((one for one in MEASURES if any(_mean(figures, model, one) is not None for model in models)), None)
    if name is None:
        return None
    known = [model for model in models if _mean(figures, model, name) is not None]
    timed = [model for model in known if rtf.get(model["label"])]
    fast = [model for model in timed if rtf[model["label"]] <= ENOUGH_RTF]
    cheapest = min(timed, key=lambda model: rtf[model["label"]], default=None)
    if cheapest and not fast:
        taken = cheapest
        told = _described(figures, taken, name)
        reason = f"None of {len(timed)} models leaves half of one core free; {told} takes the least."
    else:
        taken = max(fast or known, key=lambda model: _mean(figures, model, name))
        reason = _why_best(figures, name, taken, len(fast or known), bool(fast))
    reasons = [reason, _cost(taken, rtf)]
    if cheapest and cheapest is not taken and fast:
        reasons.append(f"With less to spare: {_described(figures, cheapest, name)}. {_cost(cheapest, rtf)}")
    reasons += [*_better_peer(figures, name, taken, rtf), *_tell_busy(bench)]
    place = "On this machine take" if timed else "Take"
    return {"title": f"{place} {taken['label']}", "reasons": reasons}


def _why_best(figures: dict[str, Any], name: str, taken: System, n_models: int, is_timed: bool) -> str:
    before = figures["summary"][NOISY][name]["mean"]
    noisy = f" (noisy {format_figure(before, name)})" if before is not None else ""
    which = "leave half of one core free" if is_timed else "were measured"
    among = f"Of {n_models} models that {which} it has the highest" if n_models > 1 else "The only model measured has"
    return f"{among} {HEADINGS[name][0]}: {format_figure(_mean(figures, taken, name), name)}{noisy}."


def _cost(model: System, rtf: dict[str, float | None]) -> str:
    share = rtf.get(model["label"])
    if share is None:
        return "How fast it is here was not measured."
    live = (
        f"Live it takes {share:.1%} of one core" if share <= 1 else f"Live it would need {share:.1f} cores of this kind"
    )
    return f"{live}; the file has {model['bytes'] / 1e6:.1f} MB." if model.get("bytes") else f"{live}."


def _better_peer(figures: dict[str, Any], name: str, taken: System, rtf: dict[str, float | None]) -> list[str]:
    """Says so where another denoiser that runs live scores higher."""
    peers = [system for system in figures["systems"] if system["kind"] == "peer" and rtf.get(system["label"])]
    own = _mean(figures, taken, name)
    better = [peer for peer in peers if (mean := _mean(figures, peer, name)) is not None and mean > own]
    if not better:
        return []
    best = max(better, key=lambda peer: _mean(figures, peer, name))
    return [f"Of the other denoisers {_described(figures, best, name)} scores higher. {_cost(best, rtf)}"]


def _tell_busy(bench: dict[str, Any] | None) -> list[str]:
    """Times that were taken beside other work say little."""
    load, cores = (bench["figures"]["load_average"], bench["machine"]["cores"]) if bench else (None, 1)
    if load is None or load < cores:
        return []
    return [
        f"The machine was busy when it was timed (load average {load:.1f}, {cores} cores), and all look slower than "
        "they are: time them again when it is idle."
    ]


def _described(figures: dict[str, Any], system: System, name: str) -> str:
    return f"{system['label']} ({HEADINGS[name][0]} {format_figure(_mean(figures, system, name), name)})"


def _mean(figures: dict[str, Any], system: System, name: str) -> Any:
    return figures["summary"][system["label"]][name]["mean"]
