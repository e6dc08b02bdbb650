"""The page on filters is true: its Python runs, and what it follows stays near the truth."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "filters.md"


def test_the_python_runs():
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["found"].mean.shape == (1, 40, 40)
    assert float(names["error"][0, 20:].mean()) < 1.0 < float(names["states"].std()) / 3
    assert names["ahead"].shape == (40, 2, 40)
