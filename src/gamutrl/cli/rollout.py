"""`gamut rollout`: what a system's model does with a row, turn by turn."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.play import add_row_options, preset_for, reward_values
from gamutrl.cli.presets import about_of, find_recipe
from gamutrl.cli.runs import add_allow_option, is_run, preset_of_run

if TYPE_CHECKING:
    from gamutrl.training.preset import Preset
    from gamutrl.training.rollouts import Setting

EXAMPLES = """\
examples:
  gamut rollout visual-rft                                four rollouts of the first held-out row
  gamut rollout visual-rft --row 7 --n 2 --temperature 0.7
  gamut rollout runs/visual-rft-001 --rows 3              a run's trained model, on three rows
  gamut rollout runs/visual-rft-001 --before              the same with the model that the run started from
  gamut rollout vrag-rl --model runs/vrag-rl-001/model --out story.html
                                                          the same as a page, with every picture and where it was cut

`gamut play SYSTEM` puts you in the model's place; `gamut sample` writes many pictures of a model that makes them.
"""


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "rollout",
        help="show what a system's model does, turn by turn",
        description="Samples rollouts of a system's task and tells them: turns, calls, what came back, every reward.",
        epilog=EXAMPLES,
    )
    parser.add_argument("system", metavar="SYSTEM_OR_RUN", help="a name from `gamut list`, or a run directory")
    add_row_options(parser)
    parser.add_argument("--rows", type=int, default=1, metavar="N", help="how many rows, from --row on (default: 1)")
    parser.add_argument("--n", type=int, default=4, metavar="N", help="rollouts of each row (default: 4)")
    parser.add_argument(
        "--model", metavar="DIR", help="a model's folder, a packaged model or a hub id, in place of the preset's"
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="in place of the temperature of training")
    parser.add_argument("--before", action="store_true", help="of a run: the model that it started from")
    parser.add_argument("--out", metavar="FILE.html", help="tell the rollouts as a page, too")
    parser.add_argument(
        "--pictures", metavar="DIR", help="where pictures are written (default: a new temporary folder)"
    )
    add_allow_option(parser)
    parser.set_defaults(run=_rollout, takes_overrides=True)


def _rollout(args: argparse.Namespace) -> None:
    from gamutrl.core import Context
    from gamutrl.training.rollouts import WhenAsked, rows_of, sampled, scored, setting_of

    if args.n < 1 or args.rows < 1:
        raise UsageError("--n and --rows must be at least 1.")
    if args.out and Path(args.out).suffix != ".html":
        raise UsageError(f"--out names a page, FILE.html, not {args.out}.")
    preset, about = _target(args)
    setting = setting_of(preset, args.split)
    if args.temperature is not None:
        if not hasattr(setting.sampling, "temperature"):
            raise UsageError(f"The model of {args.system} is not sampled at a temperature.")
        setting = dataclasses.replace(
            setting, sampling=dataclasses.replace(setting.sampling, temperature=args.temperature)
        )
    prompts = rows_of(setting, args.row, args.rows, args.seed)
    models = WhenAsked.of(preset)
    batch = sampled(models["policy"], setting, prompts, args.n, args.seed)
    context = Context(models=models, responders=dict(preset.responders), seed=args.seed)
    batch, missing = scored(setting, batch, context)
    made = _tell(setting, batch, missing, Path(args.pictures or tempfile.mkdtemp(prefix="gamut-rollout-")))
    if made:
        target = args.system if is_run(Path(args.system)) else f"{preset.model.name} --system {args.system}"
        print(f"More of its pictures: gamut sample {target} --n 8")
    if args.out:
        from gamutrl.report.rollouts import write_rollouts

        rewards = [reward_values(setting, batch, r)[0] for r in range(len(batch.rollouts))]
        print(write_rollouts(batch, rewards, about, Path(args.out)))


def _target(args: argparse.Namespace) -> tuple[Preset, dict[str, Any]]:
    """The preset with the model that is asked for, and what it is of."""
    from gamutrl.training.config import override

    folder = Path(args.system)
    if is_run(folder):
        if args.model:
            raise UsageError("A run has a model of its own: leave --model out, or name a system.")
        preset, config = preset_of_run(folder, args, before=args.before)
        for path, text in args.overrides:
            preset = override(preset, path, text)
        return preset, config.get("about") or {}
    if args.before:
        raise UsageError(f"--before needs a run directory, which {args.system} is not.")
    preset = preset_for(args)
    if args.model:
        preset = preset.with_model(args.model)
    return preset, about_of(find_recipe(args.system), args.system, args.preset, args.variant)


def _tell(setting: Setting, batch: Any, missing: dict[str, str], folder: Path) -> bool:
    """Every rollout in the terminal; whether any of them made pictures."""
    from gamutrl.cli.terminal import Shown, console_for_output, indented, print_calls, print_rewards
    from gamutrl.metrics.behaviour import stop_of
    from gamutrl.training.samples import pictures_of

    console = console_for_output()
    shown = Shown(console, folder)
    last, made = None, False
    for r, rollout in enumerate(batch.rollouts):
        if rollout.prompt is not last:
            last, number = rollout.prompt, 0
            console.rule(f"[bold]{rollout.prompt.id or 'a row'}[/bold]", align="left")
            shown.messages(rollout.prompt.messages)
            if rollout.prompt.answer is not None:
                console.print(indented(f"answer: {rollout.prompt.answer}", "dim"))
        number += 1
        console.rule(f"rollout {number}", style="dim", align="left")
        shown.drawn = False
        for turn in rollout.turns:
            if not (turn.text or turn.calls or turn.observation):
                continue
            console.print(indented(turn.prefill + turn.text))
            print_calls(console, turn)
            if turn.observation:
                console.print(f"  [bold]{turn.observation_role}[/bold]")
                shown.parts(turn.observation)
        shown.drawn = True
        for picture in pictures_of(rollout):
            made = True
            shown.picture(picture)
        console.print(indented(f"ended: {stop_of(rollout)}, {rollout.length} actions", "dim"))
        values, weights = reward_values(setting, batch, r)
        print_rewards(console, values, weights, missing if r == len(batch.rollouts) - 1 else {})
    return made
