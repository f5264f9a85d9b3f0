"""What the pages tell people to type: blocks of code, and code inside the prose."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+(?:\n+(?: {8}.*\n)+)*")  # a body further in belongs to what begins it


@dataclass(frozen=True)
class Block:
    """Code of a page.

    Attributes:
        language: of a fenced block, as it says; empty for an indented one.
        text: without its indentation.
    """

    language: str
    text: str

    def lines(self) -> list[str]:
        """Commands, continued lines joined, without prompts and comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text).splitlines()
        bare = (re.sub(r"^(\w+\$ |\.venv/bin/)|(^|\s+)# .*$", "", line.strip()) for line in joined)
        return [line for line in bare if line]


def blocks(page: Path) -> list[Block]:
    """All code of a page, fenced and indented."""
    text = page.read_text(encoding="utf-8")
    found = [(match[2], match[1], match[3]) for match in FENCE.finditer(text)]
    found += [("", "    ", match[0]) for match in INDENTED.finditer(FENCE.sub("", text))]
    return [Block(language, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)) for language, indent, code in found]


def spans(page: Path) -> list[str]:
    """Code inside the prose, `like this`."""
    text = INDENTED.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
