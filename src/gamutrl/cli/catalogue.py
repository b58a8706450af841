"""`gamut list` and `gamut show`: what there is, made from the recipes and the evidence, never typed."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gamutrl
from gamutrl.cli.errors import UsageError

KINDS = ("understanding", "generation", "unified", "reward")
Entry = dict[str, Any]


def add_verbs(verbs: Any) -> None:
    listing = verbs.add_parser(
        "list",
        help="the published systems there are",
        description="The catalogue of systems.",
        epilog="examples:\n  gamut list\n  gamut list --kind understanding --json\n",
    )
    listing.add_argument("--kind", choices=KINDS, help="only systems of this kind of model")
    listing.add_argument("--json", action="store_true", help="as JSON, with every field")
    listing.add_argument("--markdown", action="store_true", help="as a Markdown table (README and docs are made so)")
    listing.set_defaults(run=_list)

    show = verbs.add_parser(
        "show",
        help="what a system changes, its formulas, presets and evidence",
        description="One system: what the paper changes, how, and what was measured here.",
        epilog="examples:\n  gamut show visual-rft\n  gamut show video-r1 --json\n",
    )
    show.add_argument("system", metavar="SYSTEM", help="a name from `gamut list`")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)


def catalogue(kind: str | None = None) -> list[Entry]:
    """Every system as plain values, from the cache where the package has not changed since it was written."""
    entries = _cached(_package_key()) or _remember(_package_key(), _from_recipes())
    return [entry for entry in entries if kind is None or entry["kind"] == kind]


def entry_of(slug: str) -> Entry:
    """One system as plain values. Raises UsageError with the nearest name."""
    entries = {entry["slug"]: entry for entry in catalogue()}
    if slug not in entries:
        from gamutrl.recipes.recipe import unknown

        raise UsageError(unknown(slug, entries))
    return entries[slug]


def markdown(entries: Sequence[Entry]) -> str:
    """The catalogue as a Markdown table."""
    lines = [
        "| system | paper | kind | what it changes | stages | source | fidelity | evidence |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        paper = f"[{_cell(entry['title'])}](https://arxiv.org/abs/{entry['arxiv']})"
        cells = [
            f"`{entry['slug']}`",
            paper,
            entry["kind"],
            _cell(entry["change"]),
            " → ".join(entry["stages"]),
            entry["source"],
            fidelity_line(entry),
            _cell(evidence_line(entry)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fidelity_line(entry: Entry) -> str:
    """What of the authors' released code is held against ours, in a few words."""
    found = entry.get("fidelity")
    if not found:
        return "nothing recorded"
    return f"{found['functions']} of {found['of']} functions, {found['agreeing']} of {found['cases']} cases"


def seeds_in_words(seeds: Sequence[int]) -> str:
    """`3 seeds`; of one it is said what its interval is over instead."""
    return f"{len(seeds)} seeds" if len(seeds) != 1 else "1 seed (interval over rows)"


def evidence_line(entry: Entry) -> str:
    """What was measured of a system, in a few words."""
    evidence = entry.get("evidence")
    if not evidence:
        alone = next((run for run in entry.get("runs", ()) if run["about"]["variant"] == "default"), None)
        return f"not compared; one run's gain {_gain(alone)}" if alone else "not measured yet"
    return (
        f"{interval(evidence['difference'])} {evidence['metric']} "
        f"against {evidence['baseline']}, {seeds_in_words(evidence['seeds'])}"
    )


def runs_lines(entry: Entry) -> list[str]:
    """What single runs of the `tiny` preset and of its variants reached on held-out rows, a line each."""
    lines = []
    for run in entry.get("runs", ()):
        before, after, gain = run["before"], run["after"], run["gain"]
        variant = "" if run["about"]["variant"] == "default" else f" {run['about']['variant']}:"
        constant = f", best constant {run['constant']['value']:.3f}" if run.get("constant") else ""
        lines.append(
            f"{variant} {after['metric']} {before['value']:.3f} → {after['value']:.3f}, gain {interval(gain)}"
            f"{constant}; {after['rows']} rows, seed {run['seed']}".strip()
        )
    return lines


def _gain(run: Mapping[str, Any]) -> str:
    return f"{interval(run['gain'])} {run['after']['metric']}"


def interval(measured: Mapping[str, Any]) -> str:
    """A difference with its 95% interval."""
    return f"{measured['value']:+.3f} [{measured['low']:+.3f}, {measured['high']:+.3f}]"


def evidence_folder() -> Path | None:
    """Where the measured evidence is: beside the checkout's `src/`, or in the installed package."""
    package = Path(gamutrl.__file__).parent
    places = (package.parents[1] / "evidence", package / "evidence")
    return next((place for place in places if place.is_dir()), None)


def _from_recipes() -> list[Entry]:
    from gamutrl.recipes.recipe import load, slugs

    return [_describe(slug, load(slug)) for slug in slugs()]


def _describe(slug: str, recipe: Any) -> Entry:
    presets = {"tiny": recipe.tiny, "paper": recipe.paper}
    return {
        "slug": slug,
        "title": recipe.title,
        "arxiv": recipe.arxiv,
        "kind": recipe.kind,
        "policy": recipe.policy,
        "modalities": list(recipe.modalities),
        "change": recipe.change,
        "stages": [stage.name for stage in recipe.tiny.stages],
        "source": recipe.source,
        "formulas": list(recipe.formulas),
        "claim": vars(recipe.claim).copy(),
        "presets": {name: _describe_preset(preset) for name, preset in presets.items()},
        "variants": sorted(recipe.variants),
        "assumptions": dict(recipe.assumptions),
        "fidelity": _fidelity(slug),
        "evidence": _evidence(slug),
        "runs": _runs(slug),
    }


def _describe_preset(preset: Any) -> Entry:
    stages = []
    for stage in preset.stages:
        rewards = {reward.name: reward.weight for reward in getattr(stage, "rewards", ())}
        numbers = {
            name: getattr(stage, name)
            for name in ("steps", "prompts_per_step", "group_size", "rows_per_step")
            if isinstance(getattr(stage, name, None), int)
        }
        stages.append(
            {
                "name": stage.name,
                "kind": type(stage).__name__,
                "data": describe_source(getattr(stage, "data", None)),
                "rewards": rewards,
                "learning_rate": getattr(getattr(stage, "optimizer", None), "lr", None),
                **numbers,
            }
        )
    evaluation = preset.evaluation
    return {
        "model": preset.model.name,
        "stand_in": preset.stand_in,
        "stages": stages,
        "evaluation": {
            "metric": evaluation.metric.name,
            "rows": evaluation.rows,
            "data": describe_source(evaluation.data),
        },
    }


def describe_source(source: Any) -> str:
    """A data source in a few words: its class, the fields that say what it reads, the sources that it is made of."""
    from gamutrl.data.sources import Ahead, Changed, Mixture, Repeat, Stages, Texts

    match source:
        case None:
            return ""
        case Mixture():
            weights = source.weights or (1.0,) * len(source.sources)
            told = [f"{weight:g} × {describe_source(part)}" for weight, part in zip(weights, source.sources)]
        case Stages():
            told = [f"from {start}: {describe_source(part)}" for start, part in source.stages]
        case Changed():
            told = [describe_source(source.source), getattr(source.change, "__name__", type(source.change).__name__)]
        case Repeat():
            told = [describe_source(source.source), f"{source.times} times"]
        case Ahead():
            return describe_source(source.source)
        case Texts():
            told = [f"{len(source)} texts"]
        case _:
            fields = [name for name in ("world", "task", "path", "name", "split") if name in vars(source)]
            told = [str(vars(source)[name]) for name in fields if vars(source)[name]]
    return f"{type(source).__name__}({', '.join(told)})"


def _fidelity(slug: str) -> Entry | None:
    """How many recorded functions are bound, and how many of their cases agree; None where nothing is recorded."""
    from gamutrl.fidelity.harness import bound

    found = bound(slug)
    return vars(found).copy() if found else None


def _evidence(slug: str) -> Entry | None:
    folder = evidence_folder()
    file = folder / f"{slug}.json" if folder else None
    return json.loads(file.read_text("utf-8")) if file and file.exists() else None


def _runs(slug: str) -> list[Entry]:
    """The summaries of single runs that are kept with the evidence, the recipe's own before its variants'."""
    folder = evidence_folder()
    files = [folder / "runs" / f"{slug}.json", *sorted((folder / "runs").glob(f"{slug}.*.json"))] if folder else []
    return [json.loads(file.read_text("utf-8")) for file in files if file.exists()]


# What the list needs is in the recipes, and they need PyTorch, which takes seconds to import. So the list is kept in
# the user's cache, under a key that changes with any file of the package or any evidence.


def _package_key() -> str:
    package = Path(gamutrl.__file__).parent
    evidence = evidence_folder()
    files = [*package.rglob("*.py"), *(evidence.rglob("*.json") if evidence else ())]
    stats = sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return hashlib.blake2b(repr(stats).encode(), digest_size=12).hexdigest()


def _cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gamut" / "catalogue.json"


def _cached(key: str) -> list[Entry] | None:
    try:
        kept = json.loads(_cache_file().read_text("utf-8"))
        return kept["entries"] if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(key: str, entries: list[Entry]) -> list[Entry]:
    file = _cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"key": key, "entries": entries}), "utf-8")
        os.replace(draft, file)
    except OSError:
        pass  # A machine without a home of its own: the list is just slower.
    return entries


def _list(args: argparse.Namespace) -> None:
    entries = catalogue(args.kind)
    if args.json:
        print(json.dumps(entries, ensure_ascii=False, indent=1))
    elif args.markdown:
        print(markdown(entries), end="")
    else:
        _print_table(entries)


_COLUMNS: dict[str, tuple[Callable[[Entry], str], int]] = {
    "system": (lambda entry: entry["slug"], 0),
    "arXiv": (lambda entry: entry["arxiv"], 0),
    "kind": (lambda entry: entry["kind"], 0),
    "policy": (lambda entry: entry["policy"], 160),
    "modalities": (lambda entry: ", ".join(entry["modalities"]), 200),
    "stages": (lambda entry: " → ".join(entry["stages"]), 130),
    "source": (lambda entry: entry["source"], 130),
    "presets": (lambda entry: ", ".join(entry["presets"]), 200),
    "evidence": (lambda entry: "compared" if entry["evidence"] else "one run" if entry.get("runs") else "", 160),
    "what it changes": (lambda entry: entry["change"], 0),
    "title": (lambda entry: entry["title"], 300),
}
"""Columns of the list: what stands in them, and how wide a terminal has to be to show them."""


def _print_table(entries: Iterable[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    entries = list(entries)
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # Whoever reads from a pipe wants whole names.
    columns = [name for name, (_, least) in _COLUMNS.items() if console.width >= least]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        cells = [_COLUMNS[name][0](entry) for entry in entries]
        width = max(map(len, cells), default=0)  # A name that is cut short cannot be typed.
        short = name not in ("title", "what it changes")
        whole = short or console.width >= 130
        style = "bold cyan" if name == "system" else ""
        table.add_column(name, style=style, no_wrap=whole, min_width=width if short else None)
    for entry in entries:
        table.add_row(*(_COLUMNS[name][0](entry) for name in columns))
    console.print(table)
    measured = sum(bool(entry["evidence"]) for entry in entries)
    console.print(
        f"\n{len(entries)} systems, {measured} with measured evidence. `gamut show SYSTEM` says more.", highlight=False
    )


def _show(args: argparse.Namespace) -> None:
    entry = entry_of(args.system)
    if args.json:
        print(json.dumps(entry, ensure_ascii=False, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False)
    say = console.print
    say(f"[bold]{_safe(entry['title'])}[/]")
    sides = " + ".join(entry["modalities"])
    say(f"arXiv {entry['arxiv']} · {entry['kind']} · policy: {entry['policy']} · {sides}\n")
    say(_safe(entry["change"]))
    _say_list(say, "Formulas", entry["formulas"])
    sources = {
        "code": "checked against the released code",
        "paper": "built from the paper's text",
        "reconstruction": "formulas had to be chosen; evidence never claims the paper's effect",
    }
    say(f"\n[bold]Source[/]  {entry['source']}: {sources[entry['source']]}")
    claim = entry["claim"]
    say(
        f"[bold]Claim[/]   beats {claim['baseline']} by {claim['metric']}, at equal {claim['budget'].replace('_', ' ')}"
    )
    for name, preset in entry["presets"].items():
        _say_preset(say, name, preset)
    if entry["variants"]:
        say(f"\n[bold]Variants[/]  {', '.join(entry['variants'])}")
    _say_list(say, "Choices that are ours", [f"{field}: {why}" for field, why in entry["assumptions"].items()])
    say(f"\n[bold]Fidelity[/]  {_safe(fidelity_line(entry))}")
    say(f"[bold]Evidence[/]  {_safe(evidence_line(entry))}")
    _say_list(say, "Single runs", runs_lines(entry))
    say(
        f"\nTrain it: [cyan]gamut train {entry['slug']}[/]   every setting: [cyan]gamut train {entry['slug']} --help[/]"
    )


def _say_preset(say: Any, name: str, preset: Mapping[str, Any]) -> None:
    say(f"\n[bold]Preset {name}[/]  model {preset['model']}")
    if preset["stand_in"]:
        say(f"  stand-in: {_safe(preset['stand_in'])}")
    for stage in preset["stages"]:
        size = (
            f"{stage['prompts_per_step']} prompts × {stage['group_size']} rollouts, " if stage.get("group_size") else ""
        )
        rate = f", learning rate {stage['learning_rate']:g}" if stage["learning_rate"] else ""
        steps = f"{stage['steps']} steps" if "steps" in stage else ""
        say(f"  {stage['name']} ({stage['kind']}): {size}{steps}{rate}; data {_safe(stage['data'])}")
        if stage["rewards"]:
            told = ", ".join(f"{reward} × {weight:g}" for reward, weight in stage["rewards"].items())
            say(f"    rewards: {told}")
    evaluation = preset["evaluation"]
    say(f"  measured: {evaluation['metric']} on {evaluation['rows']} held-out rows of {_safe(evaluation['data'])}")


def _say_list(say: Any, title: str, lines: Sequence[str]) -> None:
    if lines:
        say(f"\n[bold]{title}[/]")
        for line in lines:
            say(f"  {_safe(line)}")


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
