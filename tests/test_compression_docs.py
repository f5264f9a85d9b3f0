"""The example of docs/compression.md runs as it stands."""

import re
from pathlib import Path


def test_the_example_runs_and_keeps_its_budget(capsys):
    text = (Path(__file__).parent.parent / "docs" / "compression.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    scope: dict = {}
    exec(code, scope)
    result = scope["result"]
    assert sum(p.numel() for p in result.model.parameters()) <= 1500
    assert "fine-tuned" in capsys.readouterr().out
    assert result.steps[-1].loss < 0.7 * 0.693
