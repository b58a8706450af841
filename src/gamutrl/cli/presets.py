"""From a command line to a preset: the recipe's own, with what the options and overrides change."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError

if TYPE_CHECKING:
    from gamutrl.core import Source
    from gamutrl.recipes.recipe import Recipe
    from gamutrl.training.preset import Preset


FAMILIES = ("image_tokens", "next_scale", "flow", "masked", "unified")
VARIANTS = ("default", "released", "paper", "ablation", "pictures", "ppo", *FAMILIES)


def add_preset_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose and change a preset."""
    what = parser.add_argument_group("what is trained")
    what.add_argument(
        "--preset",
        choices=("tiny", "paper"),
        default="tiny",
        help="tiny: minutes on a CPU (default); paper: as published",
    )
    what.add_argument(
        "--variant",
        choices=VARIANTS,
        default="default",
        help="the code's choices with plain defects mended (default), as released, the paper's text, the system less "
        "the part that its claim is about, or on a small model that draws for prompts; of grpo, on another family of "
        "policy, or with a critic (ppo)",
    )
    what.add_argument(
        "--model", metavar="NAME", help="a packaged model, a folder or a hub id, in place of the preset's"
    )
    what.add_argument("--steps", type=int, metavar="N", help="steps of the last stage")
    add_data_options(parser)
    own = parser.add_argument_group("your reward")
    own.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="FILE.py:FUNCTION",
        help="in place of the recipe's rewards; may be repeated; the name of one of the recipe's own keeps that one",
    )
    own.add_argument(
        "--metric",
        metavar="FILE.py:FUNCTION",
        help="what is measured on held-out rows (default: the recipe's; with --reward, the first of them)",
    )
    own.add_argument(
        "--reward-timeout",
        type=float,
        metavar="SECONDS",
        help="the longest that a reward may take a step, and a batch of held-out rows",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The options that bring rows from outside."""
    data = parser.add_argument_group("your data")
    data.add_argument(
        "--data", metavar="PATH", help="a parquet, JSON Lines or CSV file, a folder, or owner/name on the hub"
    )
    data.add_argument(
        "--columns",
        metavar="PART=COLUMN,…",
        help="what each part of a prompt is made of: 'prompt=Is it true? {sentence},image=image,answer=label' "
        "(default: found by the usual names)",
    )
    data.add_argument("--test-data", metavar="PATH", help="held-out rows in a place of their own")
    data.add_argument(
        "--held-out",
        metavar="N",
        help="rows held out where the data have no test split: a share or a number (default: 0.1)",
    )
    data.add_argument(
        "--split-by", metavar="COLUMN", help="rows that agree in this column stay on one side of the split"
    )
    data.add_argument("--where", metavar="CONDITION", help="only rows that meet it, like 'difficulty<3'")
    data.add_argument("--subset", metavar="NAME", help="a hub data set's configuration")
    data.add_argument("--image-root", metavar="DIR", help="where image paths start (default: the data file's folder)")
    data.add_argument("--allow-http", action="store_true", help="fetch media from http(s) addresses in the rows")
    data.add_argument(
        "--on-bad-row",
        choices=("fail", "skip"),
        default="fail",
        help="stop at rows that cannot be used (default), or leave them out and list them",
    )


def sources_of(args: argparse.Namespace) -> tuple[Source, Source]:
    """The rows to train on and the held-out rows that the data options name."""
    from gamutrl.data.columns import Columns
    from gamutrl.data.media import MediaOptions
    from gamutrl.data.rows import FileRows

    rows = FileRows(
        path=args.data,
        columns=Columns.parse(args.columns) if args.columns else Columns(),
        split_by=args.split_by or "",
        held_out=_share(args.held_out),
        where=args.where or "",
        subset=args.subset or "",
        on_bad_row=args.on_bad_row,
        media=MediaOptions(image_root=args.image_root or "", allow_http=args.allow_http),
    )
    if args.test_data:
        return dataclasses.replace(rows, split="all"), dataclasses.replace(rows, split="all", path=args.test_data)
    return rows, dataclasses.replace(rows, split="test")


def _share(text: str | None) -> float:
    try:
        share = float(text) if text else 0.1
    except ValueError:
        raise UsageError(f"--held-out takes a share (0.1) or a number of rows (200), not {text!r}.") from None
    if not 0 < share < float("inf"):
        raise UsageError(f"--held-out must be positive, not {text}.")
    return share


def check_data_options(args: argparse.Namespace) -> None:
    """Options about rows from outside mean nothing without `--data`."""
    alone = ("columns", "test_data", "held_out", "split_by", "where", "subset", "image_root")
    given = [name for name in alone if getattr(args, name)]
    if given and not args.data:
        raise UsageError(f"--{given[0].replace('_', '-')} says how to read --data, which is missing.")


def preset_of(args: argparse.Namespace) -> tuple[Preset, dict[str, Any], list[str]]:
    """The preset that a command line asks for, what it is of, and the packages outside of gamutrl that it names."""
    from gamutrl.training.config import override

    recipe = find_recipe(args.system)
    preset = find_preset(recipe, args.preset, args.variant)
    if args.model:
        check_family(preset, args.model)
        preset = preset.with_model(args.model)
    check_data_options(args)
    if args.data:
        preset = preset.with_data(*sources_of(args))
    preset, allowed = with_rewards(preset, args.reward, args.metric, alone=bool(args.data))
    if args.steps is not None:
        if args.steps < 1:
            raise UsageError(f"--steps must be at least 1, not {args.steps}.")
        preset = preset.with_steps(args.steps)
    if args.reward_timeout is not None:
        preset = _within(preset, args.reward_timeout)
    for path, text in args.overrides:
        preset = override(preset, path, text)
    about = about_of(recipe, args.system, args.preset, args.variant)
    if args.reward or args.metric:
        about["rewards"] = [_absolute(name) for name in (*args.reward, args.metric) if name and ":" in name]
    return preset, about, allowed


def check_family(preset: Preset, name: str) -> None:
    """A model whose files say that it acts in another way than the preset trains is a wrong usage.

    Of the hub's models nothing is known before they are fetched, and a model of image tokens answers with text, too.
    """
    from gamutrl.policies.models import ImageTokenModel, TextModel, model_of, place_of

    if not Path(place_of(name)).is_dir():
        return
    wanted, found = type(preset.model), type(model_of(name))
    if found in (wanted, TextModel) or (wanted, found) == (TextModel, ImageTokenModel):
        return
    families = dict(zip(("ImageTokenModel", "NextScaleModel", "FlowModel", "MaskedModel"), FAMILIES))
    family = families[found.__name__]
    raise UsageError(
        f"{name} is of the family {family}, which this preset does not train. `gamut train grpo --variant {family} "
        f"--model {name}` does by the plain method; `gamut list` and `gamut show SYSTEM` say what else does."
    )


def _within(preset: Preset, seconds: float) -> Preset:
    """The preset whose rewards may take so long, in training and on held-out rows."""
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--reward-timeout takes seconds above 0, not {seconds:g}.")
    evaluation = dataclasses.replace(preset.evaluation, reward_timeout=seconds)
    return with_last_rl(dataclasses.replace(preset, evaluation=evaluation), reward_timeout=seconds)


def find_recipe(slug: str) -> Recipe:
    """A recipe by its name; a wrong one is a wrong usage, with the nearest name."""
    from gamutrl.recipes.recipe import load

    try:
        return load(slug)
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def find_preset(recipe: Recipe, name: str, variant: Any = "default") -> Preset:
    """A preset of a recipe; a variant that it does not have is a wrong usage."""
    try:
        return recipe.preset(name, variant)
    except KeyError as error:
        raise UsageError(error.args[0]) from error


def about_of(recipe: Recipe, slug: str, preset: str, variant: str = "default") -> dict[str, Any]:
    """What a run is of, for its `config.json` and its report."""
    own = {family: f"nothing: the plain method, on a policy of the family {family}" for family in FAMILIES}
    own["ppo"] = "a critic in the group's place: a value head on the policy, generalised advantages"
    return {
        "system": slug,
        "preset": preset,
        "variant": variant,
        "title": recipe.title,
        "arxiv": recipe.arxiv,
        "change": own.get(variant, recipe.change),
    }


def _absolute(where: str) -> str:
    source, _, name = where.rpartition(":")
    return f"{Path(source).resolve()}:{name}" if source.endswith(".py") else where


def with_rewards(
    preset: Preset, named: Sequence[str], metric: str | None, *, alone: bool = False
) -> tuple[Preset, list[str]]:
    """The preset with these rewards in its last RL stage, and the modules they come from.

    All of them are measured on held-out rows. alone: the recipe's own further measures are left out, since rows of
    one's own need not have what those look at.
    """
    from gamutrl.rewards.users import from_user

    if not named and metric is None:
        return preset, []
    own = {reward.name: reward for stage in preset.stages for reward in getattr(stage, "rewards", ())}
    own |= {reward.name: reward for reward in (preset.evaluation.metric, *preset.evaluation.others)}
    modules: list[str] = []

    def find(name: str) -> Any:
        if name in own:
            return own[name]
        if ":" not in name:
            have = ", ".join(own)
            raise UsageError(
                f"This recipe has no reward {name!r} (it has: {have}). Name your own as path/to/file.py:function."
            )
        reward = from_user(name)
        function = getattr(reward.score, "function", reward.score)
        modules.append(function.__module__.split(".")[0])
        return reward

    rewards = tuple(find(name) for name in named)
    if rewards:
        preset = with_last_rl(preset, rewards=rewards)
    measured = find(metric) if metric else rewards[0]
    known = {reward.name: reward for reward in (*rewards, *(() if alone else preset.evaluation.others))}
    others = tuple(reward for name, reward in known.items() if name != measured.name)
    evaluation = dataclasses.replace(preset.evaluation, metric=measured, others=others)
    return dataclasses.replace(preset, evaluation=evaluation), sorted(set(modules))


def with_last_rl(preset: Preset, **changes: Any) -> Preset:
    """The preset with some fields of its last stage that scores rollouts changed."""
    numbers = [n for n, stage in enumerate(preset.stages) if hasattr(stage, "rewards")]
    if not numbers:
        raise UsageError(
            "This recipe has no stage that scores rollouts, so it takes no --reward and no --reward-timeout."
        )
    stages = list(preset.stages)
    last: Any = stages[numbers[-1]]
    stages[numbers[-1]] = dataclasses.replace(last, **changes)
    return dataclasses.replace(preset, stages=tuple(stages))


def free_folder(name: str, root: str = "runs") -> Path:
    """The next folder of runs that is not there yet: runs/visual-rft-001, runs/visual-rft-002, …"""
    number = 1
    while (Path(root) / f"{name}-{number:03d}").exists():
        number += 1
    return Path(root) / f"{name}-{number:03d}"


def settable(preset: Preset) -> list[tuple[str, str]]:
    """Every field that an override can set and that a user may want to, with its value, in the preset's order."""
    from gamutrl.training.config import paths

    found = []
    for path, value in paths(preset).items():
        if is_settable(preset, path, value) and not _INNER.search(path):
            found.append((path.removeprefix("stages."), shown(value)))  # A stage's name stands for itself.
    return found


_INNER = re.compile(
    r"(^stages\.\w+|^evaluation)\.(rewards\.[^.]+|others\.[^.]+|metric)\.(name|scope|differentiable|score\..*)$"
)
"""What a reward is made of, but for its weight."""


def is_settable(preset: Preset, path: str, value: Any) -> bool:
    """Whether a field can be given as text."""
    from gamutrl.training.config import ConfigError, override

    if value == ():
        try:
            override(preset, path, "x")
        except ConfigError as error:
            return "cannot be set" not in str(error)
    if isinstance(value, tuple):
        return all(isinstance(item, str | int | float) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def shown(value: Any) -> str:
    """A field's value as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "(empty)"
    if value == "":
        return "(empty)"
    return f"{value:g}" if isinstance(value, float) else str(value)
