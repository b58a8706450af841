"""What the tests of the command and of the report share."""

from __future__ import annotations

import json
from pathlib import Path

SMALL = [
    "--evaluation.rows=4",
    "--rl.prompts_per_step=2",
    "--rl.group_size=2",
    "--rl.sampling.max_tokens=6",
    "--evaluation.sampling.max_tokens=6",
]
"""Options that make a run as short as a run can be."""


def edit(file: Path, change) -> None:
    """Read a JSON file, change it in place, write it back."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
