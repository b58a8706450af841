"""`gamut report`, `gamut rows`, `gamut zoo` and `gamut fidelity`: what is in a folder, a world, the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import add_data_options, check_data_options, sources_of


def add_verbs(verbs: Any) -> None:
    report = verbs.add_parser(
        "report",
        help="write a run's report.html",
        description="Writes the report of a run, finished or not, as one self-contained HTML file.",
        epilog="examples:\n  gamut report runs/visual-rft-001\n  gamut report runs/visual-rft-001 --out shared.html\n",
    )
    report.add_argument("folder", metavar="DIR", help="a run directory, or the folder of a comparison")
    report.add_argument("--out", metavar="FILE", help="where to write (default: report.html in the run directory)")
    report.set_defaults(run=_report)

    rows = verbs.add_parser(
        "rows",
        help="look at rows of a world or of your data, as a policy would get them",
        description="Prints the first rows, and with --html shows them with their pictures.",
        epilog="examples:\n"
        "  gamut rows digits --task sum\n"
        "  gamut rows --data rows.parquet --columns 'prompt=question,answer=label' --html rows.html\n",
    )
    rows.add_argument("world", metavar="WORLD", nargs="?", help="a world of the package: digits, scenes, clips, …")
    rows.add_argument("--task", help="the world's task (default: its first)")
    rows.add_argument("--rows", type=int, default=5, metavar="N", help="how many (default: 5)")
    rows.add_argument("--seed", type=int, default=0, metavar="N")
    rows.add_argument("--html", metavar="FILE", help="write them with their media to this HTML file")
    add_data_options(rows)
    rows.set_defaults(run=_rows)

    zoo = verbs.add_parser(
        "zoo",
        help="the small models in the package, and how they are made",
        description="The small models in the package: real architectures at toy size.",
        epilog="examples:\n  gamut zoo list\n  gamut zoo build vlm-tiny --minutes 90 --out models/vlm-tiny\n",
    )
    what = zoo.add_subparsers(dest="what", metavar="WHAT", required=True)
    what.add_parser(
        "list", help="the models there are, how large and where; what each was measured at is in its card.json"
    ).set_defaults(run=_zoo_list)
    build = what.add_parser("build", help="train one anew, from nothing; reproducible by its seed")
    build.add_argument("name", metavar="NAME", help="vlm-tiny, blobs-flow, …; a wrong name lists them all")
    build.add_argument("--minutes", type=float, metavar="N", help="how long, on two cores (default: 90)")
    build.add_argument("--steps", type=int, metavar="N", help="how many steps, in place of --minutes")
    build.add_argument("--seed", type=int, default=0, metavar="N")
    build.add_argument("--out", metavar="DIR", help="where the model goes (default: into the package)")
    build.add_argument("--work", metavar="DIR", help="where checkpoints are kept; a stopped build goes on from there")
    build.add_argument("--rows", type=int, metavar="N", help="held-out rows a task to measure it on (default: 200)")
    build.set_defaults(run=_zoo_build)

    fidelity = verbs.add_parser("fidelity", help="hold our functions against what the papers' released code answered")
    fidelity.set_defaults(run=lambda args: 0)


def _report(args: argparse.Namespace) -> None:
    from gamutrl.report import write_report

    print(write_report(Path(args.folder), Path(args.out) if args.out else None).resolve())


def _rows(args: argparse.Namespace) -> None:
    from rich.console import Console

    from gamutrl.data.describe import medium

    check_data_options(args)
    if bool(args.world) == bool(args.data):
        raise UsageError("Name a world (`gamut rows digits`), or rows of your own with --data.")
    if args.data:
        source: Any = sources_of(args)[0]
    else:
        from gamutrl.data.sources import WorldRows

        task = args.task or WorldRows(args.world, "").module.TASKS[0]
        source = WorldRows(args.world, task)
    prompts = source.batch(0, args.rows, args.seed)
    if args.html:
        from gamutrl.report.rows import write_rows

        print(write_rows(prompts, Path(args.html)).resolve())
        return
    console = Console(highlight=False, markup=False)
    for prompt in prompts:
        console.rule(prompt.id, align="left")
        for message in prompt.messages:
            for part in message.parts:
                console.print(f"{message.role}: {part.value if part.kind == 'text' else f'<{medium(part)}>'}")
        console.print(f"answer: {prompt.answer!r}")
        told = {name: value for name, value in prompt.columns.items() if name != "answer"}
        console.print("columns: " + ", ".join(f"{name}={_cell(value)}" for name, value in told.items()))
    if problems := getattr(source, "problems", ()):
        console.print(f"{len(problems)} rows cannot be used; the first: {problems[0]}")


def _cell(value: Any) -> str:
    """A column's value in a few characters."""
    from PIL import Image

    if isinstance(value, Image.Image):
        return f"<image {value.width}×{value.height}>"
    return repr(str(value)[:60])


def _zoo_list(args: argparse.Namespace) -> None:
    from gamutrl import zoo

    for name in zoo.available():
        card = zoo.path(name) / "card.json"
        told = json.loads(card.read_text("utf-8")) if card.exists() else {}
        size = f"{told['parameters'] / 1e6:.1f} million parameters" if "parameters" in told else ""
        print(f"{name:<16} {size:<28} {zoo.path(name)}")
    if not zoo.available():
        print("The package holds no model yet: `gamut zoo build vlm-tiny` trains one.")


def _zoo_build(args: argparse.Namespace) -> None:
    from gamutrl.zoo.builders import build

    settings = {name: getattr(args, name) for name in ("minutes", "steps", "seed", "out", "work", "rows")}
    print(build(args.name, **settings))
