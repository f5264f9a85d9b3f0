"""Every relative link of every Markdown page leads somewhere, its anchor included, and every page can be found."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("*.md", "[a-z]*/**/*.md", ".github/**/*.md")
NOT_OURS = {"build", "out", "runs"}
PAGES = sorted({path for pattern in OURS for path in ROOT.glob(pattern)})
PAGES = [path for path in PAGES if path.relative_to(ROOT).parts[0] not in NOT_OURS]
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:", re.IGNORECASE)


def prose(page: Path) -> str:
    """A page without its blocks of code and its code in lines, in which brackets are no links."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda match: match.group().replace("](", "] ("), text)


def anchors(page: Path) -> set[str]:
    """The anchors that a page gets on the web: each heading in small letters, with - for spaces and without signs."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        n = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{n}" if n else name)
    return names


def links(page: Path) -> list[str]:
    text = prose(page)
    return [link for link in LINK.findall(text) + REFERENCE.findall(text) if not ELSEWHERE.match(link)]


def dead_links(page: Path) -> list[str]:
    """Relative links of a page to no file, or to no heading of one."""
    dead = []
    for link in links(page):
        name, _, anchor = unquote(link).partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert not dead_links(page)


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One: `two`, three\n\n# Same\n\n# Same\n", encoding="utf-8")
    good = "[a](other.md) [b](other.md#one-two-three) [c](other.md#same-1) [d](#here) [e](https://example.org/x.md)"
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n{good}\n\n```\n[f](missing.md)\n```\n`x[0](y)`\n", encoding="utf-8")
    assert dead_links(page) == []
    page.write_text("[a](gone.md) ![b](p.png) [c](other.md#same-2) [d](#nowhere)\n\n[e]: lost.md\n", encoding="utf-8")
    assert dead_links(page) == ["gone.md", "p.png", "other.md#same-2", "#nowhere", "lost.md"]


def test_the_list_of_data_tells_of_all_that_lies_there() -> None:
    told = re.findall(r"`([\w.*-]+)/?`", (ROOT / "docs" / "data" / "README.md").read_text(encoding="utf-8"))
    for path in (ROOT / "docs" / "data").iterdir():
        assert path.name == "README.md" or any(path.match(pattern) for pattern in told), path.name


def test_every_page_is_linked_from_the_readme_or_the_list_of_pages() -> None:
    lists = [ROOT / "README.md", ROOT / "docs" / "README.md"]
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in lists for link in links(page)}
    pages = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.html")]
    assert [page.name for page in pages if page not in {*linked, lists[1]}] == []
