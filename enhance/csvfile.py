"""Tables as spreadsheets save them: with a mark in front, commas, semicolons or tabs between, and empty rows below."""

import csv
import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path

from quietmic.enhance.errors import QuietmicError

SEPARATORS = ",;\t"
_UNSEEN = " \t\r\n\v\f\u00a0\u200b\u200c\u200d\u2060\ufeff"  # what copied text brings along around a word


def read_table(path: Path, needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a table whose first line names the columns.

    Names of columns lose spaces around them and capitals, so that " Split" is "split"; cells lose the spaces.

    Args:
        path: CSV file in UTF-8 or UTF-16; what stands between the columns is found in the first line.
        needed: a column that must be there.

    Raises:
        QuietmicError: another encoding, no such column, a column that stands twice, or a row with more or fewer cells.
    """
    rows = _read_rows(path)
    _, names = next(rows, (0, []))
    columns = [name.lower() for name in names]
    if needed not in columns or len({*columns} - {""}) < len([c for c in columns if c]):
        raise QuietmicError(
            f"{path}: the first line must name the columns, each once, one of them '{needed}'; it is "
            f"'{','.join(names)}'",
            exit_code=2,
        )
    for line, cells in rows:
        if len(cells) != len(columns):
            raise QuietmicError(f"{path}, line {line}: {len(cells)} cells for {len(columns)} columns", exit_code=2)
        yield line, {column: cell for column, cell in zip(columns, cells, strict=True) if column}


def read_text(path: Path) -> str:
    """UTF-8, with or without the mark that Excel puts in front, or UTF-16 with it, which Excel calls Unicode text.

    Raises:
        QuietmicError: another encoding.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuietmicError(f"{path} is not in UTF-8: save it as UTF-8", exit_code=2) from error


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells without spaces around them; no empty rows."""
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for row in reader:
            cells = [cell.strip(_UNSEEN) for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise QuietmicError(f"{path}, line {reader.line_num}: {error}", exit_code=2) from error
