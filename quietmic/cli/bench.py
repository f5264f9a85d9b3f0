"""What `bench` prints and writes."""

from pathlib import Path
from typing import Any

from quietmic.enhance.catalogue import find_model
from quietmic.enhance.jsonfile import write_json
from quietmic.enhance.measure.plan import plan, plan_text
from quietmic.enhance.measure.speed_tables import bench_markdown


def print_bench(record: dict[str, Any], json_path: str | None, markdown_path: Path | None) -> None:
    """Writes the files that were asked for, and the tables to the screen unless JSON goes there."""
    text = bench_markdown(record)
    if markdown_path:
        markdown_path.parent.mkdir(parents=True, exist_ok=True)
        markdown_path.write_text(text, encoding="utf-8")
    if json_path:
        facts = {"machine": record["machine"], "versions": record["versions"], "record": record["path"]}
        write_json({**facts, **record["figures"]}, json_path)
    if json_path != "-":
        print(text)
        print(f"Record: {record['path']}")


def print_plan(model: str, hours: float, cores: int, link_mbit: float, json_path: str | None) -> None:
    """Measures the throughput of a model and prints what an archive of `hours` would cost."""
    figures = plan(str(find_model(model)), hours, cores, link_mbit)
    if json_path:
        write_json(figures, json_path)
    if json_path != "-":
        print(plan_text(figures))
