"""`gamut eval`: how good a model is on held-out rows, beside what needs no looking."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import (
    VARIANTS,
    add_data_options,
    check_data_options,
    find_preset,
    find_recipe,
    sources_of,
    with_rewards,
)
from gamutrl.cli.runs import add_allow_option, is_run, preset_of_run

if TYPE_CHECKING:
    from gamutrl.training.preset import Preset

EXAMPLES = """\
examples:
  gamut eval runs/visual-rft-001                            the trained model of a run, on the run's held-out rows
  gamut eval runs/visual-rft-001 --data rows.parquet        the same model on rows of your own
  gamut eval Qwen/Qwen2.5-VL-3B-Instruct --system grpo --data rows.parquet --columns 'prompt=question,answer=label'
  gamut eval vlm-tiny --system visual-rft --json
"""


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "eval",
        help="measure a model on held-out rows",
        description="Measures a run's model, or any model, on held-out rows.",
        epilog=EXAMPLES + "\nEvery field of the evaluation is an option too: --evaluation.sampling.max_tokens 256",
    )
    parser.add_argument(
        "target", metavar="DIR_OR_MODEL", help="a run directory, a model's folder, a packaged model or a hub id"
    )
    parser.add_argument("--system", metavar="SYSTEM", help="whose evaluation to use, for a model that is no run's")
    parser.add_argument("--preset", choices=("tiny", "paper"), default="tiny")
    parser.add_argument("--variant", choices=VARIANTS, default="default")
    parser.add_argument("--metric", metavar="FILE.py:FUNCTION", help="what is measured, in place of the recipe's")
    parser.add_argument("--rows", type=int, metavar="N", help="how many held-out rows")
    parser.add_argument("--out", metavar="DIR", help="keep the outcome there, with the answers to the first rows")
    parser.add_argument("--json", action="store_true", help="print the measures as JSON")
    add_allow_option(parser)
    add_data_options(parser)
    parser.set_defaults(run=_evaluate, takes_overrides=True)


def _evaluate(args: argparse.Namespace) -> None:
    from gamutrl.core import Context
    from gamutrl.training.evaluation import Measured, blind, evaluate, write_outcome
    from gamutrl.training.samples import plain
    from gamutrl.training.watchers import Bar

    preset = _preset_of(args)
    policy = preset.model.load()
    context = Context(models={"policy": policy}, responders=dict(preset.responders))
    evaluation = preset.evaluation
    bar = Bar()
    bar.begin("evaluate", evaluation.rows, 0)
    try:
        outcome = evaluate(policy, evaluation, context, lambda done, total: bar.advance(done))
    finally:
        bar.close()
    beside = blind(evaluation, context) if outcome.answers else {}
    answer = beside["constant"].pop("answer") if beside else ""
    names = {"constant": "best constant answer", "text_only": "from the question alone"}
    measured = {
        "model": outcome.measured,
        **{names[name]: Measured(**value) for name, value in beside.items()},
    }
    if args.out:
        write_outcome(outcome, Path(args.out), "eval", evaluation.samples)
    if args.json:
        told: dict[str, Any] = {name: dataclasses.asdict(value) for name, value in measured.items()}
        told |= {
            "others": outcome.others,
            "answers": outcome.answers,
            "mean_length": outcome.mean_length,
            "constant_text": answer,
        }
        print(json.dumps(plain(told), ensure_ascii=False, indent=1))
        return
    _print(outcome, measured, answer)


def _preset_of(args: argparse.Namespace) -> Preset:
    from gamutrl.training.config import override

    check_data_options(args)
    folder = Path(args.target)
    if is_run(folder):
        preset, _ = preset_of_run(folder, args)
        if args.system:
            preset = dataclasses.replace(
                preset, evaluation=find_preset(find_recipe(args.system), args.preset, args.variant).evaluation
            )
    elif args.system:
        preset = find_preset(find_recipe(args.system), args.preset, args.variant).with_model(args.target)
    else:
        raise UsageError(
            f"{args.target} is no run directory; say whose evaluation to use with --system (`gamut list` shows all)."
        )
    if args.data:
        preset = preset.with_data(*sources_of(args))
    preset, _ = with_rewards(preset, [], args.metric, alone=bool(args.data))
    if args.rows:
        preset = dataclasses.replace(preset, evaluation=dataclasses.replace(preset.evaluation, rows=args.rows))
    for path, text in args.overrides:
        preset = override(preset, path, text)
    return preset


def _print(outcome: Any, measured: dict[str, Any], answer: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{outcome.measured.metric} on {outcome.measured.rows} held-out rows",
        box=None,
        pad_edge=False,
        padding=(0, 3, 0, 0),
        title_justify="left",
    )
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for name, value in measured.items():
        table.add_row(
            name,
            *(
                (f"{value.value:.3f}", f"\\[{value.low:.3f}, {value.high:.3f}]")
                if value.rows
                else ("-", "applies to no row")
            ),
            style="bold" if name == "model" else "",
        )
    console = Console(highlight=False)
    console.print(table)
    for name, value in outcome.others.items():
        console.print(f"{escape(name)}: {'applies to no row' if math.isnan(value) else format(value, '.3f')}")
    if outcome.answers:
        top = ", ".join(f"{escape(repr(text[:30]))} × {count}" for text, count in list(outcome.answers.items())[:6])
        console.print(f"commonest answers: {top}")
    if answer:
        console.print(f"best constant answer: {escape(answer)}")
