"""The catalogue in README.md, docs/recipes.md and docs/results.md, made from recipes and evidence:
`python -m gamutrl.cli.docs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gamutrl.cli.catalogue import Entry, catalogue, evidence_line, fidelity_line, interval, markdown, runs_lines

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
            *[f"- one run: {line}" for line in runs_lines(entry)],
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def results_page(entries: Sequence[Entry]) -> str:
    """What was measured: every comparison and every single run that is kept in `evidence/`."""
    compared = [(entry, entry["evidence"]) for entry in entries if entry["evidence"]]
    lines = [
        "# Results\n",
        "Made from `evidence/` by `make docs`; not written by hand. All of it is of `tiny` presets: small models on",
        "generated rows, on a CPU. It says what a recipe does there, and nothing about the models of the papers.\n",
        "## Against a baseline\n",
        "Equal model, rows and budget; the interval (95%) is over seeds, or over rows where there is one seed.\n",
        "| system | against | measure | before | after | baseline after | difference | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry, found in compared:
        after, other = (_mean(found[name]) for name in ("after_by_seed", "baseline_after_by_seed"))
        cells = [f"`{entry['slug']}`", f"`{found['baseline']}`", found["metric"], f"{found['before']:.3f}"]
        cells += [f"{after:.3f}", f"{other:.3f}", interval(found["difference"]), str(len(found["seeds"]))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "\n## Single runs\n",
        "One seed each, so what another seed would give is not known; the interval is over held-out rows, of the",
        "paired difference. A variant is the system less what its claim is about (`ablation`), or another way of it.",
        "The minutes are of a machine that did other work beside.\n",
        "| run | measure | before | after | gain | best constant answer | rows | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        for run in entry["runs"]:
            name = entry["slug"] + ("" if run["about"]["variant"] == "default" else f"/{run['about']['variant']}")
            constant = f"{run['constant']['value']:.3f}" if run.get("constant") else ""
            cells = [
                f"`{name}`",
                run["after"]["metric"],
                f"{run['before']['value']:.3f}",
                f"{run['after']['value']:.3f}",
            ]
            cells += [interval(run["gain"]), constant, str(run["after"]["rows"]), f"{run['wall_seconds'] / 60:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> int:
    root = Path.cwd()
    entries = catalogue()
    readme = root / "README.md"
    readme.write_text(with_catalogue(readme.read_text(encoding="utf-8"), entries), encoding="utf-8")
    for name, page in (("recipes", recipes_page(entries)), ("results", results_page(entries))):
        (root / "docs" / f"{name}.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
