"""A bench as tables."""

from typing import Any

from quietmic.enhance.measure.tables import MISSING, Table, markdown


def bench_markdown(record: dict[str, Any]) -> str:
    """Machine and tables as Markdown."""
    return f"{machine_text(record)}\n\n{markdown(bench_tables(record['figures']))}"


def machine_text(record: dict[str, Any]) -> str:
    """Processor, governor, load and versions in a line."""
    machine, load = record["machine"], record["figures"]["load_average"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, int8 by {machine.get('int8') or 'no instructions of its own'}, "
        f"governor {machine['governor'] or 'not readable'}, "
        f"load average at the start {MISSING if load is None else f'{load:.1f}'}; Python {machine['python']}, "
        f"onnxruntime {record['versions']['onnxruntime']}"
    )


def bench_tables(result: dict[str, Any]) -> list[Table]:
    """A bench as tables: times, memory, distance to the limit, threads and ratios."""
    models = [system for system in result["systems"] if system["kind"] == "model"]
    tables = [_speed_table(result["systems"])]
    if models:
        rate = result["rates"]["macs_per_second"]
        tables += [_cost_table(models), *_start_tables(models), _limit_table(models, rate), _thread_table(models)]
        tables += session_tables(models)
    if result["ratios"]:
        tables.append(_ratio_table(result["ratios"]))
    return tables


def _number(value: float | None, decimals: int, scale: float = 1.0) -> str:
    return MISSING if value is None else f"{value * scale:,.{decimals}f}"


def _speed_table(systems: list[dict[str, Any]]) -> Table:
    rows = []
    for system in systems:
        hop = system["hop_ms"] or {}
        times = [_number(hop.get(name), 3) for name in ("p50", "p95", "p99", "max")]
        rows.append([system["label"], *times, _number(system["rtf_live"], 4), _number(system["rtf_files"], 4)])
    headings = ["", "hop p50 ms", "p95 ms", "p99 ms", "max ms", "RTF live", "RTF in files"]
    return Table("Speed, one thread; live is one hop at a time", headings, rows)


def _cost_table(models: list[dict[str, Any]]) -> Table:
    rows = [
        [
            model["label"],
            _number(model["parameters"], 3, 1e-6),
            _number(model["macs_per_second"], 1, 1e-6),
            _number(model["bytes"], 2, 1e-6),
            _number(model["load_ms"], 0),
            _number(model["peak_memory_bytes"], 1, 1e-6),
            _number(model["memory_before_bytes"], 1, 1e-6),
            _number(model["algorithmic_delay_ms"], 1),
            _number(model.get("full_band_hop_ms"), 3),
            _number(model.get("upper_band_ms"), 3),
            _number(model.get("beamformer_ms"), 3),
        ]
        for model in models
    ]
    headings = [
        "", "M parameters", "MMAC/s", "file MB", "load ms", "peak memory MB", "of it before loading MB",
        "algorithmic delay ms", "a hop at 48 kHz ms", "of it above 8 kHz ms", "beamformer ms",
    ]  # fmt: skip
    return Table("Cost of a model", headings, rows)


def _start_tables(models: list[dict[str, Any]]) -> list[Table]:
    """From nothing to the first sound; no table of a record from before that was measured."""
    rows = []
    for model in models:
        if not (start := model.get("start")):
            continue
        times = [_number(start[name], 0) for name in ("libraries_ms", "import_ms", "open_ms")]
        rows.append([model["label"], *times, _number(start["denoise_s"], 2)])
    headings = ["", "import of numpy and ONNX Runtime ms", "of quietmic ms", "open_stream ms", "denoise of 5 s, s"]
    return [Table("Start, the best of three processes", headings, rows)] if rows else []


def _limit_table(models: list[dict[str, Any]], rate: float) -> Table:
    rows = [
        [
            model["label"],
            _number(model["network_ms"], 3),
            *(_number(model["limit"][name], 4) for name in ("compute_ms", "memory_ms")),
            _number(model["limit"]["distance"], 1),
        ]
        for model in models
    ]
    title = f"Distance to the limit, one hop; this machine multiplies matrices at {rate / 1e9:.1f} GMAC/s, one thread"
    return Table(title, ["", "graph ms", "multiplications ms", "reading weights ms", "graph / limit"], rows)


def _thread_table(models: list[dict[str, Any]]) -> Table:
    counts = list(models[0]["threads"])
    rows = [[model["label"], *(_number(model["threads"][n]["p50"], 3) for n in counts)] for model in models]
    return Table("Threads: median time of a hop in ms, live", ["", *counts], rows)


def session_tables(models: list[dict[str, Any]]) -> list[Table]:
    """How many sessions one core carries; no table where that was not counted."""
    counting = [model for model in models if "sessions" in model]
    rows = []
    for model in counting:
        counted = model["sessions"]
        times = [_number(counted[name], 2) for name in ("p50_ms", "p99_ms")]
        load, memory = _number(counted["load"], 2), _number(counted["memory_bytes"], 2, 1e-6)
        rows.append([model["label"], str(counted["n_sessions"]), *times, load, memory])
    title = "Sessions that one core carries; times from the arrival of a frame of 20 ms to its result"
    headings = ["", "sessions", "p50 ms", "p99 ms", "load", "MB a session"]
    return [Table(title, headings, rows)] if rows else []


def _ratio_table(ratios: list[dict[str, Any]]) -> Table:
    rows = []
    for ratio in ratios:
        live = ratio["live"]
        text = f"{live['mean']:.3f}" + (f" [{live['low']:.3f}, {live['high']:.3f}]" if live["low"] is not None else "")
        rows.append([f"{ratio['first']} / {ratio['second']}", text])
    return Table("Ratios of live time, from interleaved rounds: mean [95% interval]", ["", "ratio"], rows)
