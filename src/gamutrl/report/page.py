"""From a folder to a finished page."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gamutrl.report.history import NoRun

TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a run directory, or of a comparison's folder, and return its path.

    out: the file (default: `report.html` in the folder). Works for runs that are not finished, too. Raises
    ValueError where the folder holds neither.
    """
    from gamutrl.report import comparison, run

    folder = Path(folder)
    if (folder / comparison.FILE).exists():
        html = comparison.render(folder)
    elif (folder / "config.json").exists():
        html = run.render(folder)
    else:
        raise NoRun(
            f"{folder} is neither a run directory (it has no config.json) nor a comparison (no {comparison.FILE})."
        )
    return write(html, Path(out) if out is not None else folder / "report.html")


def write(content: str, file: Path) -> Path:
    """Write a text whole or not at all."""
    draft = file.with_name(f".{file.name}.draft")
    # Half surrogates, which a model's bytes may decode to, have no UTF-8.
    draft.write_bytes(content.encode("utf-8", "replace"))
    os.replace(draft, file)
    return file


def fill(template: str, **values: Any) -> str:
    """A page from its template. Everything that is not markup of our own making is escaped.

    The page's policy names its one script by hash: even markup that slipped through could run nothing.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return (
        _templates().get_template(template).render(**values, script=Markup(script), digest=digest, style=Markup(style))
    )


@functools.cache
def _templates() -> jinja2.Environment:
    # Model output reaches these pages: escaping is on for every template, whatever its name.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
