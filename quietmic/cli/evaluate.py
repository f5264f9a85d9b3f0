"""What `evaluate` prints and writes."""

from pathlib import Path
from typing import Any

from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.tables import evaluation_tables, markdown, summary_table, write_csv


def print_evaluation(
    record: dict[str, Any], json_path: str | None, csv_path: Path | None, markdown_path: Path | None
) -> None:
    """Writes the files that were asked for, and the table of means to the screen unless JSON goes there."""
    result = record["figures"]
    if csv_path:
        write_csv(result["rows"], csv_path)
    if markdown_path:
        markdown_path.parent.mkdir(parents=True, exist_ok=True)
        markdown_path.write_text(markdown(evaluation_tables(result)), encoding="utf-8")
    if json_path:
        facts = {key: value for key, value in record.items() if key not in ("figures", "path")}
        write_json({**facts, **result, "record": record["path"]}, json_path)
    if json_path != "-":
        print(summary_table(result).markdown())
        print(f"\nRecord: {record['path']}")
