"""The table of README: our models beside the best other denoiser, from what commands wrote."""

from pathlib import Path

import pytest

from quietmic.enhance.catalogue import ModelEntry, list_models
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.report.model_table import compared_markdown, write_into

START, END = "<!-- x: written by `python tools/write_docs.py` -->", "<!-- end of x -->"


@pytest.fixture(scope="module")
def entry() -> ModelEntry:
    return next(entry for entry in list_models() if entry.is_default)


def quality(entry: ModelEntry, **peers: tuple[float, float, float | None]) -> dict:
    """What `evaluate --json` writes of peers, label -> (SI-SDR, PESQ, OVRL), on the scenes of a model's card."""
    noisy = entry.card.metrics["noisy"]
    means = {"noisy": (noisy["si_sdr"], noisy["pesq_wb"], noisy["ovrl"]), **peers}
    return {
        "systems": [{"label": label, "kind": "peer", "bytes": 2_000_000} for label in peers],
        "summary": {
            label: {
                name: {"mean": mean, "n": 60} for name, mean in zip(("si_sdr", "pesq_wb", "ovrl"), each, strict=True)
            }
            for label, each in means.items()
        },
    }


def speed(**rtf: float) -> dict:
    systems = [{"label": label.replace("_", "-"), "rtf_live": value} for label, value in rtf.items()]
    return {"machine": {"cpu": "a processor"}, "systems": systems}


def test_the_best_other_is_the_one_of_the_highest_pesq(entry: ModelEntry) -> None:
    others = quality(entry, a=(5.0, 1.7, 2.1), b=(6.0, 1.5, None), c=(4.0, 1.4, 2.3))
    timed = speed(a=0.25)
    text = compared_markdown([entry], others, timed)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    metrics = entry.card.metrics["1_mics"]
    figures = [f"{metrics[name]:.2f}" for name in ("si_sdr", "pesq_wb", "ovrl")]
    assert rows[2] == [f"{entry.name} (default)", *figures, f"{entry.path.stat().st_size / 1e6:.1f}", "not measured"]
    assert rows[3] == ["a, best of 3 others", "5.00", "1.70", "2.10", "2.0", "0.250"]
    told = " ".join(text.split())
    assert "6.00 dB (b)" in told and "OVRL 2.30 (c)" in told and "a processor" in told
    assert "48 kHz" not in told
    timed["systems"].append({"label": entry.name, "rtf_live": 0.1, "full_band_hop_ms": 4.0, "hop_duration_ms": 16.0})
    assert f"at 48 kHz, with the whole band, {entry.name} takes 0.250" in " ".join(
        compared_markdown([entry], others, timed).split()
    )


def test_figures_of_other_scenes_are_refused(entry: ModelEntry) -> None:
    other = quality(entry, a=(5.0, 1.7, 2.1))
    other["summary"]["noisy"]["si_sdr"]["mean"] += 0.5
    with pytest.raises(QuietmicError, match="different scenes"):
        compared_markdown([entry], other, speed())
    with pytest.raises(QuietmicError, match="with peers"):
        compared_markdown([entry], quality(entry), speed())


def test_only_what_stands_between_the_comments_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{START}\nold\n{END}\nafter\n", encoding="utf-8")
    write_into(page, "x", "new")
    assert page.read_text(encoding="utf-8") == f"before\n{START}\nnew\n{END}\nafter\n"
    with pytest.raises(QuietmicError, match=r"page\.md has no place for the y"):
        write_into(page, "y", "new")
