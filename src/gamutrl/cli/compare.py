"""`gamut compare`: systems against each other, with equal model, data and budget, over several seeds."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.catalogue import seeds_in_words
from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import (
    about_of,
    add_data_options,
    check_data_options,
    find_preset,
    find_recipe,
    free_folder,
    sources_of,
)

if TYPE_CHECKING:
    from gamutrl.rewards.base import Reward
    from gamutrl.training.preset import Preset

EXAMPLES = """\
examples:
  gamut compare visual-rft grpo --seeds 3
  gamut compare video-r1 grpo-care grpo --seeds 5 --steps 100 --out runs/clips
  gamut compare visual-rft grpo --seeds 3 --out runs/comparison-001      go on where it was stopped
  gamut compare vlm-r1 vlm-r1/ablation                                   against itself, less what it claims

All systems run on the first one's model, rows, evaluation and warm start, for as many rollouts as it samples;
--task SYSTEM takes another's. Where one is rewarded for an answer that is the row's letter by letter, as plain GRPO is,
it is rewarded by the measure of the task instead. Overrides (--rl.optimizer.lr 1e-5) hold for all of them.
"""


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "compare",
        help="systems against each other, equal model, data and budget",
        description="Trains several systems under equal conditions and compares them on held-out rows.",
        epilog=EXAMPLES,
    )
    parser.add_argument("systems", metavar="SYSTEM", nargs="+", help="names from `gamut list`, or SYSTEM/VARIANT")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each system (default: 3)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first of them (default: 0)")
    parser.add_argument(
        "--baseline", metavar="SYSTEM", help="what the others are held against (default: grpo if named, else the last)"
    )
    parser.add_argument(
        "--task", metavar="SYSTEM", help="whose model, rows and evaluation all of them take (default: the first)"
    )
    parser.add_argument("--preset", choices=("tiny", "paper"), default="tiny")
    parser.add_argument("--model", metavar="NAME", help="a packaged model, a folder or a hub id for all of them")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="steps of the first system; the others get as many rollouts"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where the runs go (default: the next free runs/comparison-NNN); finished runs there are kept",
    )
    parser.add_argument(
        "--evidence",
        metavar="DIR",
        help="where SYSTEM.json is written for each system but the baseline (default: OUT/evidence)",
    )
    parser.add_argument(
        "--same-rewards", action="store_true", help="all of them train on the rewards of --task (default: the first)"
    )
    add_data_options(parser)
    parser.set_defaults(run=_compare, takes_overrides=True)


def arms(args: argparse.Namespace) -> dict[str, Preset]:
    """Each system's preset under equal conditions, which the overrides are part of."""
    from gamutrl.training.config import override

    def overridden(preset: Preset) -> Preset:
        for path, text in args.overrides:
            preset = override(preset, path, text)
        return preset

    if len(set(args.systems)) < 2:
        raise UsageError("Name at least two different systems to compare.")
    task = _preset(args.task or args.systems[0], args.preset)
    if args.model:
        task = task.with_model(args.model)
    if args.data:
        task = task.with_data(*sources_of(args))
    if args.steps:
        task = task.with_steps(args.steps)
    task = overridden(task)
    system = (args.task or args.systems[0]).partition("/")[0]
    found = {}
    for name in dict.fromkeys(args.systems):
        own = overridden(_preset(name, args.preset))
        if not _trains_its_family(own, task):
            raise UsageError(
                f"{name} does not train models of {task.model.name}'s family, which {args.task or args.systems[0]} "
                f"brings: compare on the model of {name} with --task {name}."
            )
        found[name] = under_equal_conditions(own, task, args.same_rewards, name.partition("/")[0] == system)
    return found


def _trains_its_family(own: Preset, task: Preset) -> bool:
    """Whether a preset's last stage can train the task's model: one that samples in its family's own way (a flow's
    steps, masks) trains no other; what samples plainly trains all, as plain GRPO does."""
    from gamutrl.core import Sampling

    sampling, given = (getattr(preset.stages[-1], "sampling", None) for preset in (own, task))
    return sampling is None or given is None or type(sampling) in (Sampling, type(given))


def under_equal_conditions(preset: Preset, task: Preset, same_rewards: bool = False, own_start: bool = False) -> Preset:
    """A preset on another's model, rows, evaluation and earlier stages, for as many rollouts in its last stage.

    What stays its own is its last stage: rewards (but for `same_rewards`, and the accuracy of plain GRPO, which becomes
    the task's own measure of what is right), advantage, objective, hooks and their settings. Judges and readers that
    the other's evaluation asks come along. A stage made for another family of policy takes the task's sampling, rewards
    and optimizer, too. One that trains in an environment of its own (without the tools that the task is about, say) is
    measured in it. own_start: of a variant of the task's own system, whose earlier stages are part of what it leaves
    out or keeps.
    """
    from gamutrl.training.preset import replace_field

    own: Any = preset.stages[-1]
    given: Any = task.stages[-1]
    own = replace_field(own, "data", given.data)
    if type(getattr(own, "sampling", None)) is not type(getattr(given, "sampling", None)):
        # Another family of policy: what only makes sense for the one that is trained comes with it.
        for name in ("sampling", "rewards", "optimizer"):
            own = replace_field(own, name, getattr(given, name, None)) if hasattr(given, name) else own
    elif same_rewards:
        own = replace_field(own, "rewards", given.rewards)
    else:
        rewards = tuple(_as_measured(reward, task.evaluation.metric) for reward in getattr(own, "rewards", ()))
        own = replace_field(own, "rewards", rewards)
    if sampled(own) and sampled(given):
        own = replace_field(own, "steps", max(1, round(sampled(given) / sampled(own) * own.steps)))
    else:
        own = replace_field(own, "steps", given.steps)
    evaluation = task.evaluation
    if getattr(own, "environment", None) != getattr(given, "environment", None):
        evaluation = dataclasses.replace(evaluation, environment=preset.evaluation.environment)
    return dataclasses.replace(
        preset,
        model=task.model,
        stages=(*(preset if own_start else task).stages[:-1], own),
        evaluation=evaluation,
        models=tuple({**dict(task.models), **dict(preset.models)}.items()),
        responders=tuple({**dict(task.responders), **dict(preset.responders)}.items()),
        save_every=task.save_every,
    )


def _as_measured(reward: Reward, metric: Reward) -> Reward:
    """Plain GRPO's accuracy is exact text, which is 0 wherever answers are right by degrees: it becomes the metric."""
    from gamutrl.recipes.plain import ACCURACY

    if reward.score != ACCURACY.score or metric.scope != "rollout":
        return reward
    return dataclasses.replace(metric, name=reward.name, weight=reward.weight)


def _preset(name: str, preset: str) -> Preset:
    """The preset of SYSTEM or SYSTEM/VARIANT."""
    system, _, variant = name.partition("/")
    return find_preset(find_recipe(system), preset, variant or "default")


def sampled(stage: Any) -> int:
    """How many rollouts a stage samples in all, those beside the trained ones too; 0 for one that samples none."""
    return int(stage.steps * getattr(stage, "rollouts_per_step", 0))


def _compare(args: argparse.Namespace) -> None:
    from gamutrl.report import write_report
    from gamutrl.report.comparison import collect, write_comparison, write_evidence

    check_data_options(args)
    if args.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, not {args.seeds}.")
    presets = arms(args)
    baseline = args.baseline or ("grpo" if "grpo" in presets else args.systems[-1])
    if baseline not in presets:
        raise UsageError(f"--baseline {baseline} is none of the systems compared: {', '.join(presets)}.")
    folder = Path(args.out) if args.out else free_folder("comparison")
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for seed in seeds:
        for name, preset in presets.items():
            _finish(preset, folder / name / f"seed-{seed}", name, args.preset, seed)
    comparison = collect(folder, list(presets), list(seeds), baseline)
    write_comparison(comparison, folder)
    evidence = write_evidence(comparison, Path(args.evidence) if args.evidence else folder / "evidence")
    _print(comparison)
    print(f"\nreport    {write_report(folder).resolve()}")
    for file in evidence:
        print(f"evidence  {file.resolve()}")


def _finish(preset: Preset, folder: Path, name: str, preset_name: str, seed: int) -> None:
    """One run of the comparison, unless it is there: begun anew or gone on with."""
    from gamutrl import api
    from gamutrl.training.run import CONFIG, SUMMARY, has_settings
    from gamutrl.training.watchers import Bar

    is_begun = (folder / CONFIG).exists()
    if is_begun and not has_settings(folder, preset):
        raise UsageError(f"{folder} holds a run with other settings; name another --out.")
    if (folder / SUMMARY).exists():
        return
    print(f"{name}, seed {seed}", file=sys.stderr)
    if is_begun:
        api.resume(folder, watchers=[Bar()])
        return
    system, _, variant = name.partition("/")
    about = about_of(find_recipe(system), name, preset_name, variant or "default")
    about["rollouts"] = sampled(preset.stages[-1])
    api.train(preset, folder, seed=seed, watchers=[Bar()], about=about)


def _print(comparison: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{comparison['metric']}, {seeds_in_words(comparison['seeds'])}",
        box=None,
        pad_edge=False,
        padding=(0, 3, 0, 0),
        title_justify="left",
    )
    for column in (
        "system",
        "before",
        "after",
        "each seed",
        f"against {comparison['baseline']}",
        "95% interval",
        "minutes a run",
    ):
        table.add_column(column, justify="left" if column in ("system", "each seed") else "right")
    for name, arm in comparison["arms"].items():
        difference = arm["difference"]
        table.add_row(
            name,
            f"{arm['before']:.3f}",
            f"{arm['after']:.3f}",
            " ".join(f"{value:.3f}" for value in arm["after_by_seed"]),
            f"{difference['value']:+.3f}" if difference else "",
            f"\\[{difference['low']:+.3f}, {difference['high']:+.3f}]" if difference else "",
            f"{arm['minutes']:.1f}",
        )
    console = Console(highlight=False)
    console.print(table)
    if "constant" in comparison:
        console.print(f"best constant answer: {comparison['constant']['value']:.3f}")
