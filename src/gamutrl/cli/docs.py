"""The catalogue in README.md and docs/recipes.md, made from the recipes: `python -m gamutrl.cli.docs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gamutrl.cli.catalogue import Entry, catalogue, evidence_line, fidelity_line, markdown

OPEN, CLOSE = "<!-- catalogue -->", "<!-- /catalogue -->"


def with_catalogue(text: str, entries: Sequence[Entry]) -> str:
    """A document with the table between its two marks made anew."""
    head, opened, rest = text.partition(OPEN)
    _, closed, tail = rest.partition(CLOSE)
    if not opened or not closed:
        raise ValueError(f"The document has no {OPEN} … {CLOSE} to put the catalogue in.")
    return f"{head}{OPEN}\n{markdown(entries)}{CLOSE}{tail}"


def recipes_page(entries: Sequence[Entry]) -> str:
    """Every system with its formulas, presets and evidence."""
    parts = ["# Recipes\n", "Made from the recipes and the evidence by `make docs`; not written by hand.\n"]
    for entry in entries:
        tiny, paper = entry["presets"]["tiny"], entry["presets"]["paper"]
        claim = entry["claim"]
        parts.append(f"## {entry['slug']}\n")
        parts.append(f"{entry['title']} ([arXiv {entry['arxiv']}](https://arxiv.org/abs/{entry['arxiv']}))\n")
        parts.append(f"Changes: {entry['change']}.\n")
        parts.append("\n".join(f"    {line}" for line in entry["formulas"]) + "\n")
        lines = [
            f"- kind: {entry['kind']}, policy: {entry['policy']}, {' + '.join(entry['modalities'])}",
            f"- source: {entry['source']}",
            f"- should beat {claim['baseline']} by {claim['metric']}, at equal {claim['budget'].replace('_', ' ')}",
            f"- tiny: `{tiny['model']}`, stages {' → '.join(stage['name'] for stage in tiny['stages'])}",
            f"- paper: `{paper['model']}`{', stand-in: ' + paper['stand_in'] if paper['stand_in'] else ''}",
            *([f"- variants: {', '.join(entry['variants'])}"] if entry["variants"] else []),
            *[f"- our choice, `{field}`: {why}" for field, why in entry["assumptions"].items()],
            f"- fidelity: {fidelity_line(entry)}",
            f"- evidence: {evidence_line(entry)}",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> int:
    root = Path.cwd()
    entries = catalogue()
    readme = root / "README.md"
    readme.write_text(with_catalogue(readme.read_text(encoding="utf-8"), entries), encoding="utf-8")
    (root / "docs" / "recipes.md").write_text(recipes_page(entries), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
