"""`gamut train`, `gamut resume` and `gamut demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import about_of, add_preset_options, find_recipe, free_folder, preset_of, settable
from gamutrl.cli.runs import add_allow_option, read_run

if TYPE_CHECKING:
    from gamutrl.recipes.recipe import Variant
    from gamutrl.training.preset import Preset
    from gamutrl.training.run import Run
    from gamutrl.training.session import Watcher

EXAMPLES = """\
examples:
  gamut train visual-rft
  gamut train visual-rft --steps 50 --seed 1 --rl.optimizer.lr 3e-6 --rl.group_size 16
  gamut train grpo --data rows.parquet --columns 'prompt=question,image=image,answer=answer' --dry-run
  gamut train grpo --model Qwen/Qwen2.5-VL-3B-Instruct --model.lora.rank 16 --reward my_reward.py:score
  gamut train grpo --variant next_scale                     plain GRPO on another family of policy
  gamut train video-r1 --preset paper --dry-run

Every field of the preset is an option too, named by its path; `gamut train SYSTEM --help` lists those of one system.
"""

ACTS: tuple[tuple[str, Variant, str], ...] = (("visual-rft", "default", ""), ("diffusionnft", "pictures", "-pictures"))
"""What the demo trains, one after the other: a system, a variant of its `tiny` preset, how the run's folder ends."""


def add_verbs(verbs: Any) -> None:
    demo = verbs.add_parser(
        "demo",
        help="train a small vision-language model, then one that draws, on this machine, in minutes",
        description="Trains two models of the package on data in the package and shows what each learned: one that "
        "answers questions about pictures (visual-rft), then one that draws pictures for prompts (diffusionnft).",
    )
    demo.add_argument(
        "--out",
        metavar="DIR",
        help="the first act's run directory; the second's is DIR-pictures (default: the next free runs/demo-NNN)",
    )
    demo.add_argument("--seed", type=int, default=0, metavar="N")
    demo.set_defaults(run=_demo)

    train = verbs.add_parser(
        "train",
        help="train a system",
        description="Trains a system: evaluates, trains every stage, evaluates again, writes a report.",
        epilog=EXAMPLES,
        add_help=False,
    )
    train.add_argument("system", metavar="SYSTEM", nargs="?", help="a name from `gamut list`")
    train.add_argument(
        "-h", "--help", action="store_true", help="show this, with the fields of SYSTEM where one is named"
    )
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="print the configuration and check all that can be checked without training",
    )
    train.add_argument("--out", metavar="DIR", help="the run directory (default: the next free runs/SYSTEM-NNN)")
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="everything random follows from it (default: 0)"
    )
    add_track_option(train)
    add_preset_options(train)
    train.set_defaults(run=lambda args: _train(args, train), takes_overrides=True)

    resume = verbs.add_parser(
        "resume",
        help="go on with a run that was stopped or killed",
        description="Goes on with a run from its last checkpoint; the result is that of a run that was never stopped.",
        epilog="examples:\n  gamut resume runs/visual-rft-001\n  gamut resume runs/mine --reward my_reward.py:score\n",
    )
    resume.add_argument("folder", metavar="DIR", help="the run directory")
    add_allow_option(resume)
    add_track_option(resume)
    resume.set_defaults(run=_resume)


def add_track_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=("tensorboard", "wandb", "trackio"),
        help="send every step's numbers there too",
    )


def _train(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.help:
        print(parser.format_help())
        if args.system:
            _print_fields(args)
        return 0
    if not args.system:
        raise UsageError("Name a system: `gamut train visual-rft`. `gamut list` shows all.")
    preset, about, allowed = preset_of(args)
    if args.dry_run:
        from gamutrl.cli.dry_run import check

        return check(preset, about, args.seed)
    from gamutrl.training import ranks

    ranks.begin()
    folder = Path(args.out) if args.out else ranks.agreed(free_folder(args.system))
    _run(preset, folder, about, args.seed, args.track, allowed)
    return 0


def _demo(args: argparse.Namespace) -> int:
    folder = Path(args.out) if args.out else free_folder("demo")
    for system, variant, place in ACTS:
        recipe = find_recipe(system)
        about = about_of(recipe, system, "tiny", variant)
        _run(recipe.preset("tiny", variant), folder.with_name(folder.name + place), about, args.seed, [], [])
    return 0


def _resume(args: argparse.Namespace) -> int:
    from gamutrl import api
    from gamutrl.training import ranks
    from gamutrl.training.run import SUMMARY

    folder = Path(args.folder)
    if (folder / SUMMARY).exists():
        print(f"{folder} is finished already; `gamut report {folder}` writes its report again.", file=sys.stderr)
        return 0
    preset, config, allowed = read_run(folder, args)
    ranks.begin()
    told = told_to_trackers(preset, config["about"], config["seed"])
    watchers = _watchers(args.track, folder, told) if ranks.first() else []
    run = api.resume(folder, watchers=watchers, allowed=allowed)
    if ranks.first():
        show_result(run)
    return 0


def _run(preset: Preset, folder: Path, about: dict[str, Any], seed: int, track: list[str], allowed: list[str]) -> Run:
    from gamutrl import api
    from gamutrl.training import ranks
    from gamutrl.training.run import CONFIG

    if not ranks.first():
        return api.train(preset, folder, seed=seed, about=about, allowed=allowed)
    print(f"Training {about['system']} ({about['preset']}) in {folder}", file=sys.stderr)
    is_new = not (folder / CONFIG).exists()
    watchers = _watchers(track, folder, told_to_trackers(preset, about, seed))
    try:
        run = api.train(preset, folder, seed=seed, watchers=watchers, about=about, allowed=allowed)
    except Exception:
        if is_new and {file.name for file in folder.glob("*")} == {
            CONFIG
        }:  # It failed before there was anything to keep.
            (folder / CONFIG).unlink()
            folder.rmdir()
        raise
    show_result(run)
    return run


def told_to_trackers(preset: Preset, about: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a tracker is told of a run: what it is of, its seed, and every number, word and switch of the preset."""
    from gamutrl.training.config import paths

    fields = {path: value for path, value in paths(preset).items() if isinstance(value, bool | int | float | str)}
    return {**about, "seed": seed, **fields}


def _watchers(track: list[str], folder: Path, config: Mapping[str, Any]) -> list[Watcher]:
    from transformers.utils import logging

    from gamutrl.training.watchers import Bar, tracker

    logging.disable_progress_bar()  # One bar at a time: ours.
    return [Bar(), *(tracker(name, folder, config) for name in track)]


def show_result(run: Run) -> None:
    """The table that a run ends with, and where its report is."""
    from rich.console import Console
    from rich.table import Table

    summary = run.summary
    metric, heat = summary["after"]["metric"], summary["sampling"].get("temperature")
    manner = f", single samples at temperature {heat:g}" if heat else ""
    table = Table(
        title=f"{metric} on {summary['after']['rows']} held-out rows{manner}",
        box=None,
        pad_edge=False,
        padding=(0, 3, 0, 0),
        title_justify="left",
    )
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for label, measured in (
        ("before", summary["before"]),
        *((f"after {one['stage']}", one["measured"]) for one in summary.get("stages", ())[:-1]),
        ("after", summary["after"]),
        ("best constant answer", summary.get("constant")),
        ("from the question alone", summary.get("text_only")),
    ):
        if measured is None:
            continue
        style = "bold" if label == "after" else ""
        table.add_row(label, *_figures(measured, "{:.3f}"), style=style)
    last = summary.get("stages", ())[1:][-1:]
    for label, gain in (("gain", summary["gain"]), *((f"of it by {one['stage']}", one["gain"]) for one in last)):
        table.add_row(
            label,
            *_figures(gain, "{:+.3f}"),
            style="bold green" if gain["rows"] and gain["low"] > 0 else "bold yellow",
        )
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print(
        f"\nwall time  {_duration(summary['wall_seconds'])}   "
        f"(training {_duration(summary['training_seconds'])}, {summary['steps']} steps)"
    )
    console.print(f"report     {(run.folder / 'report.html').resolve()}", soft_wrap=True)
    console.print(f"model      {(run.folder / 'model').resolve()}", soft_wrap=True)


def _figures(measured: Mapping[str, Any], form: str) -> tuple[str, str]:
    """A mean and its interval as the table shows them; dashes where the metric applied to no row."""
    value, low, high = (measured[name] for name in ("value", "low", "high"))
    return ("–", "–") if value is None else (form.format(value), f"[{form.format(low)}, {form.format(high)}]")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _print_fields(args: argparse.Namespace) -> None:
    preset, _, _ = preset_of(args)
    rows = settable(preset)
    width = max(len(path) for path, _ in rows)
    print(f"the fields of {args.system} ({args.preset}), with their values:")
    for path, value in rows:
        print(f"  --{path:<{width}}  {value if len(value) <= 100 else value[:97] + '…'}")
