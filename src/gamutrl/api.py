"""What `import gamutrl` gives: recipes as values, training, evaluation, reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gamutrl.core import Context
from gamutrl.recipes.recipe import Recipe, load, slugs
from gamutrl.report import write_report
from gamutrl.training import ranks
from gamutrl.training import run as training
from gamutrl.training.config import override
from gamutrl.training.evaluation import Evaluation, Outcome
from gamutrl.training.evaluation import evaluate as measure_policy
from gamutrl.training.preset import Preset
from gamutrl.training.run import Run
from gamutrl.training.session import Watcher

__all__ = ["evaluate", "override", "recipe", "resume", "systems", "train", "write_report"]


def recipe(slug: str) -> Recipe:
    """A published system by its name (`gamut list` shows all). Raises KeyError, with the nearest name."""
    return load(slug)


def systems() -> list[str]:
    """The names of all systems."""
    return slugs()


def train(
    preset: Preset,
    folder: Path | str,
    *,
    seed: int = 0,
    watchers: Sequence[Watcher] = (),
    about: Mapping[str, Any] | None = None,
    allowed: Sequence[str] = (),
) -> Run:
    """Evaluate, train, evaluate again; leaves a whole run directory with its `report.html` (`training.run.train`)."""
    run = training.train(preset, folder, seed=seed, watchers=watchers, about=about, allowed=allowed)
    if ranks.first():
        write_report(run.folder)
    return run


def resume(folder: Path | str, *, watchers: Sequence[Watcher] = (), allowed: Sequence[str] = ()) -> Run:
    """Go on with a run that was stopped or killed, from its last checkpoint."""
    run = training.resume(folder, watchers=watchers, allowed=allowed)
    if ranks.first():
        write_report(run.folder)
    return run


def evaluate(preset: Preset, model: Any = None, evaluation: Evaluation | None = None) -> Outcome:
    """How good a model is on a preset's held-out rows.

    model: a policy, a model's name, folder or hub id, or None for the preset's own. evaluation: what to measure
    instead of the preset's evaluation.
    """
    if model is None or isinstance(model, str | Path):
        model = (preset if model is None else preset.with_model(str(model))).model.load()
    context = Context(models={"policy": model}, responders=dict(preset.responders))
    return measure_policy(model, evaluation or preset.evaluation, context)
