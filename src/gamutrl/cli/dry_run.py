"""`gamut train --dry-run`: the configuration as it would run, and all that can be checked without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from gamutrl.cli.presets import settable

if TYPE_CHECKING:
    from gamutrl.core import Prompt
    from gamutrl.training.preset import Preset

LOOKED_AT = 8
"""How many rows of each source are opened."""


def check(preset: Preset, about: dict[str, Any], seed: int) -> int:
    """Print the configuration and every check; returns 0 where all of them passed, else 1."""
    console = Console(highlight=False)
    say = console.print
    say(f"[bold]{escape(about['system'])}[/], preset {about['preset']}, seed {seed}")
    for path, value in settable(preset):
        say(f"  [dim]{escape(path)}[/] = {escape(value)}", soft_wrap=True)
    say("")
    passed = True
    found: dict[str, Any] = {}
    for title, work in (
        ("configuration", lambda: _configuration(preset)),
        ("rows", lambda: _rows(preset, found)),
        ("environment", lambda: _environments(preset, found)),
        ("rewards", lambda: _rewards(preset, found)),
        ("model", lambda: _model(preset, found)),
        ("memory", lambda: _memory(preset, found)),
    ):
        passed &= _tell(say, title, work)
    say("\nAll that can be checked without training is in order." if passed else "\n[bold red]Not ready to train.[/]")
    return 0 if passed else 1


def _tell(say: Callable[..., None], title: str, work: Callable[[], Iterator[str]]) -> bool:
    try:
        for n, line in enumerate(work()):
            mark = "[dim]–[/]" if line.startswith("not ") else "[green]✓[/]"
            say(f"{mark} [bold]{title}[/]" if n == 0 else " ", escape(line), soft_wrap=True)
    except Exception as error:
        from gamutrl.cli.command import explain

        say(f"[red]✗[/] [bold]{title}[/] {escape(explain(error)[0])}", soft_wrap=True)
        return False
    return True


def _configuration(preset: Preset) -> Iterator[str]:
    from gamutrl.training.config import to_json

    to_json(preset)
    stages = ", ".join(f"{stage.name} ({getattr(stage, 'steps', '?')} steps)" for stage in preset.stages)
    yield f"can be written down and run again; stages: {stages}"


def _rows(preset: Preset, found: dict[str, Any]) -> Iterator[str]:
    from gamutrl.data.describe import describe
    from gamutrl.training.collect import Product

    sources = [(stage.name, stage.data) for stage in preset.stages if hasattr(stage, "data")]
    for name, source in [*sources, ("held out", preset.evaluation.data)]:
        if isinstance(source, Product):
            yield f"{name}: what a stage before it keeps as {source.name!r}"
            continue
        told = describe(source, LOOKED_AT)
        size = "never ending" if told.size is None else f"{told.size:,} rows"
        yield f"{name}: {told.name}, {size}"
        for column in told.columns[:12]:
            part = f" → {column.part}" if column.part else ""
            yield f"    {column.name} ({column.holds}){part}: {column.example}"
        for row in told.rows[:2]:
            media = f" [{', '.join(row.media)}]" if row.media else ""
            yield f"    {row.id}:{media} {row.question!r} answer {row.answer!r}"
        for note in told.notes:
            yield f"    note: {note}"
        for problem in told.problems[:3]:
            yield f"    cannot be used: {problem}"
        if told.problems and getattr(source, "on_bad_row", "skip") == "fail":
            raise ValueError(
                f"{len(told.problems)} rows of {told.name} cannot be used; mend them or use --on-bad-row skip."
            )
        found.setdefault("prompts", {})[name] = source.batch(0, LOOKED_AT, seed=0)


def _environments(preset: Preset, found: dict[str, Any]) -> Iterator[str]:
    """An episode of every row looked at, in which nothing is said: a column or a collection that lacks shows now."""
    from gamutrl.environments import SingleTurn

    if not found.get("prompts"):
        yield "not tried: no rows were read"
        return
    told = "each row is answered once"
    for name, stage in [*((stage.name, stage) for stage in preset.stages), ("held out", preset.evaluation)]:
        environment = getattr(stage, "environment", None) or SingleTurn()
        if isinstance(environment, SingleTurn):
            continue
        writes = getattr(environment, "makes", "text") == "text"
        for prompt in found.get("prompts", {}).get(name, ()):
            try:
                environment(prompt, 0).step("" if writes else None)
            except KeyError as error:
                there = ", ".join(prompt.columns) or "none"
                raise ValueError(
                    f"{name}: the environment reads the column {error}, which row {prompt.id} does not have (columns: "
                    f"{there}); name it with --columns."
                ) from None
            for tool in getattr(environment, "tools", {}).values():
                if hasattr(tool, "ready"):
                    tool.ready(prompt)
        told = "an episode of each row begins"
    yield told


def _rewards(preset: Preset, found: dict[str, Any]) -> Iterator[str]:
    """Each reward that reads text alone scores the true answers, so that a missing column or a slip shows now."""
    from gamutrl.rewards.base import PerRollout
    from gamutrl.rewards.users import UserReward
    from gamutrl.training.evaluation import score_texts

    if not found.get("prompts"):
        yield "not scored: no rows were read"
        return
    scored = [(stage.name, reward) for stage in preset.stages for reward in getattr(stage, "rewards", ())]
    evaluation = preset.evaluation
    measured = [("held out", reward) for reward in (evaluation.metric, *evaluation.others)]
    yield "scored on the true answers, laid out as a reply:"
    bare: list[str] = []
    for name, reward in [*scored, *measured]:
        if not isinstance(reward.score, PerRollout | UserReward):
            yield f"    {name}/{reward.name}: needs the policy, so it is not tried here"
            continue
        prompts: list[Prompt] = found.get("prompts", {}).get(name) or []
        if not prompts:
            yield f"    {name}/{reward.name}: no rows were read to try it on"
            continue
        texts = [evaluation.answer_format.format(answer=prompt.answer) for prompt in prompts]
        value_R = score_texts(evaluation, reward, prompts, texts)
        told = "does not apply to any" if bool(value_R.isnan().all()) else f"{float(value_R.nanmean()):.3f}"
        yield f"    {name}/{reward.name} (weight {reward.weight:g}): {told}"
        if not any("<answer>" in prompt.text for prompt in prompts):
            plainly_R = score_texts(evaluation, reward, prompts, [str(prompt.answer) for prompt in prompts])
            if float(value_R.nansum()) > float(plainly_R.nansum()):
                bare.append(reward.name)
    if bare:
        layout = evaluation.answer_format.format(answer="")
        yield f"    note: {', '.join(dict.fromkeys(bare))} pay less for the same answers without {layout},"
        yield f"    and no prompt asks for it. Say so to the model: --columns 'prompt={{…}} Reply {layout}.,…'"


def _model(preset: Preset, found: dict[str, Any]) -> Iterator[str]:
    import torch

    from gamutrl.cli.memory import skeleton
    from gamutrl.policies.families import Backbone
    from gamutrl.policies.models import TextModel

    model = preset.model
    if preset.stand_in:
        yield f"stand-in: {preset.stand_in}"
    if not isinstance(model, TextModel):
        yield f"{model.name}: is not looked into before it is loaded"
        return
    if model.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--model.device {model.device}: PyTorch sees no CUDA device here.")
    found["module"] = module = skeleton(model)
    inner = module.get_base_model() if hasattr(module, "get_base_model") else module
    millions = sum(p.numel() for p in module.parameters()) / 1e6
    yield f"{model.name}: {type(inner).__name__}, {millions:,.1f} million parameters"
    reason = Backbone(inner).reason
    yield "    prompts are shared within their group" if reason is None else f"    prompts are not shared: {reason}"
    prompts = [prompt for some in found.get("prompts", {}).values() for prompt in some]
    lengths = list(_prompt_lengths(model, inner, prompts))
    if lengths:
        found["prompt_tokens"] = max(lengths)
        yield f"    prompts of {min(lengths)} to {max(lengths)} tokens in the rows looked at"
    limit = model.max_prompt_tokens
    if limit is not None and lengths and max(lengths) > limit and model.on_long_prompt == "fail":
        raise ValueError(
            f"A prompt has {max(lengths)} tokens, over model.max_prompt_tokens {limit}: raise it, or leave such "
            "rows out with --model.on_long_prompt drop."
        )


def _prompt_lengths(model: Any, inner: Any, prompts: list[Prompt]) -> Iterator[int]:
    from gamutrl.policies.families import Backbone
    from gamutrl.policies.loading import load_processor
    from gamutrl.policies.segments import Segments

    segments = Segments(load_processor(model.place, inner.config.model_type), Backbone(inner))
    for prompt in prompts:
        yield len(segments.prompt(prompt.messages))


def _memory(preset: Preset, found: dict[str, Any]) -> Iterator[str]:
    from gamutrl.cli.memory import GIB, estimate

    model: Any = preset.model
    if "module" not in found:
        yield "not estimated: the model was not looked into"
        return
    estimates = [
        (stage.name, estimate(model, found["module"], stage, found.get("prompt_tokens", 512)))
        for stage in preset.stages
    ]
    name, largest = max(estimates, key=lambda pair: pair[1].total)
    yield (
        f"about {largest.total / GIB:.2f} GiB in stage {name}, {largest.dtype} on {largest.device}, "
        f"{largest.trained / 1e6:,.1f} of {largest.parameters / 1e6:,.1f} million parameters trained"
    )
    for part, size in largest.parts.items():
        yield f"    {part}: {size / GIB:.2f} GiB"
