"""Rows with their media, as a page: what `gamut rows --html` writes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from gamutrl.core import Prompt
from gamutrl.report.page import fill, write
from gamutrl.report.pictures import Pictures
from gamutrl.report.story import asked
from gamutrl.training.samples import describe_prompt


def write_rows(prompts: Sequence[Prompt], file: Path) -> Path:
    """Write prompts with their pictures, and boxes where they have some, to one self-contained page."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(Path(folder))
        told = [describe_prompt(prompt, Path(folder)) for prompt in prompts]
        rows = [(asked(row, pictures), row["columns"]) for row in told]
        return write(fill("rows.html.j2", title="rows", rows=rows, pictures=pictures), file)
