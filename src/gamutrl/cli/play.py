"""`gamut play`: a person takes the model's seat."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import find_preset, find_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from gamutrl.training.preset import Preset
    from gamutrl.training.rollouts import Seat, Setting

VARIANTS = ("default", "released", "paper", "ablation", "pictures")
EXAMPLES = """\
You see what the model sees and write what it would write: an answer, or a call of a tool in the system's own notation;
where a turn is the picture of a next state (visual-planning), a move.
An empty line, or the end of the input, ends your turn. What came back is shown, and at the end every reward.

examples:
  gamut play visual-rft                          the first held-out row
  gamut play visual-rft --row 7                  another one
  gamut play vrag-rl --split train --seed 3      a row of training
  printf '<think></think><answer>3</answer>' | gamut play grpo
                                                 without a keyboard; turns are parted by empty lines

`gamut show SYSTEM` says what a system is about, and `gamut rollout SYSTEM` plays its model.
"""


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "play",
        help="take the model's seat in a system's task",
        description="Plays one row of a system's task with you as the model.",
        epilog=EXAMPLES,
    )
    parser.add_argument("system", metavar="SYSTEM", help="a name from `gamut list`")
    add_row_options(parser)
    parser.add_argument("--out", metavar="DIR", help="where pictures are written (default: a new temporary folder)")
    parser.set_defaults(run=_play, takes_overrides=True)


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Which preset, and which of its rows."""
    parser.add_argument("--preset", choices=("tiny", "paper"), default="tiny")
    parser.add_argument("--variant", choices=VARIANTS, default="default")
    parser.add_argument(
        "--split", choices=("test", "train"), default="test", help="held-out rows (default) or training"
    )
    parser.add_argument("--row", type=int, default=0, metavar="N", help="which row, from 0 (default: 0)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of rows of training, and of what luck decides"
    )


def preset_for(args: argparse.Namespace) -> Preset:
    """The preset that the options name, with its overrides."""
    from gamutrl.training.config import override

    preset = find_preset(find_recipe(args.system), args.preset, args.variant)
    for path, text in args.overrides:
        preset = override(preset, path, text)
    return preset


def _play(args: argparse.Namespace) -> None:
    from gamutrl.cli.terminal import Shown, console_for_output
    from gamutrl.core import Context
    from gamutrl.policies.models import TextModel
    from gamutrl.training.rollouts import Seat, WhenAsked, rows_of, setting_of

    preset = preset_for(args)
    setting = setting_of(preset, args.split)
    (prompt,) = rows_of(setting, args.row, 1, args.seed)
    seat = Seat(prompt, setting.environment, args.seed, getattr(setting.sampling, "prefill", ""))
    if not seat.paints and not (isinstance(preset.model, TextModel) and setting.writes):
        raise UsageError(
            f"The model of {args.system} makes pictures, which cannot be typed. "
            f"`gamut rollout {args.system}` shows what it makes; `gamut sample` makes more."
        )
    console = console_for_output()
    shown = Shown(console, Path(args.out or tempfile.mkdtemp(prefix="gamut-play-")))
    console.rule(f"[bold]{args.system}[/bold], {prompt.id or f'row {args.row}'}", align="left")
    shown.messages(prompt.messages)
    if seat.paints:
        console.print("[dim]Its turns are pictures. Name a move (up, down, left, right), and it is painted.[/dim]")
    _take_turns(seat, shown)
    context = Context(models=WhenAsked.of(preset), responders=dict(preset.responders), seed=args.seed)
    _tell_end(console, setting, seat, context)


def _take_turns(seat: Seat, shown: Any) -> None:
    console = shown.console
    ask = reader()
    while not seat.over:
        console.rule(f"your turn {len(seat.said) + 1}", style="dim", align="left")
        if seat.prefill:
            console.print("[dim]it begins:[/dim] ", end="")
            console.print(seat.prefill, markup=False)
        said = ask()
        if said is None:
            console.print("[dim]Nothing more was typed: the episode is left here.[/dim]")
            return
        if not sys.stdin.isatty():
            from gamutrl.cli.terminal import indented

            console.print(indented(said))
        step = seat.say(said)
        _tell_step(seat, shown, step)


def _tell_step(seat: Seat, shown: Any, step: Any) -> None:
    from gamutrl.cli.terminal import print_calls

    console = shown.console
    print_calls(console, seat.rollout().turns[-1])
    if step.context is not None:
        console.print("[dim]a fresh start: this is all that the next turn sees[/dim]")
        shown.messages(step.context)
    elif step.parts:
        console.print(f"[bold]{step.role}[/bold]")
        shown.parts(step.parts)


def _tell_end(console: Console, setting: Setting, seat: Seat, context: Any) -> None:
    from gamutrl.cli.terminal import print_rewards
    from gamutrl.metrics.behaviour import stop_of
    from gamutrl.training.rollouts import measured, scored

    if not seat.said:
        raise UsageError("No turn was taken, so there is nothing to score: type an answer, or pipe one in.")
    batch, missing = scored(setting, seat.batch(), context)
    values, weights = reward_values(setting, batch, 0)
    ended = f"ended: {stop_of(batch.rollouts[0])}" if seat.over else "not over"
    turns = len(seat.said)
    console.rule(f"the end: {turns} turn{'s' if turns != 1 else ''}, {ended}", align="left")
    print_rewards(console, values, weights, missing)
    if setting.measured.name not in values and (found := measured(setting, batch, context)) is not None:
        console.print(f"measured on held-out rows: {setting.measured.name} {float(found[0]):.3f}")
    if seat.prompt.answer is not None:
        console.print("the row's answer: ", end="")
        console.print(str(seat.prompt.answer)[:400], markup=False)


def reward_values(setting: Setting, batch: Any, r: int) -> tuple[dict[str, float | None], dict[str, float]]:
    """A rollout's rewards by name, its total last (None: does not apply), and the weight of each."""
    values: dict[str, float | None] = {}
    for k, name in enumerate(batch.reward_names):
        value = float(batch["reward_RK"][r, k])
        values[name] = None if value != value else value
    if "reward_R" in batch:
        total = float(batch["reward_R"][r])
        values["total"] = None if total != total else total
    return values, {reward.name: reward.weight for reward in setting.rewards}


def reader() -> Callable[[], str | None]:
    """Reads turns from the terminal or a pipe: lines up to an empty one or the end; None where nothing is left."""
    at_terminal = sys.stdin.isatty()

    def line() -> str | None:
        try:
            return input("› ") if at_terminal else input()
        except EOFError:
            return None

    def turn() -> str | None:
        lines: list[str] = []
        while (found := line()) is not None:
            if found.strip():
                lines.append(found)
            elif lines:
                break
        return "\n".join(lines) if lines else None

    return turn
