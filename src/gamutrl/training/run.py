"""From a preset to a finished run directory."""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from gamutrl.core import Context
from gamutrl.data.describe import files_of, problem_table
from gamutrl.data.problems import Problem
from gamutrl.metrics.intervals import paired_difference
from gamutrl.training import ranks
from gamutrl.training.config import ALLOWED_PACKAGES, ConfigError, from_json, to_json
from gamutrl.training.evaluation import Measured, blind, evaluate, write_outcome
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.samples import plain
from gamutrl.training.session import Session, Stage, TrainingError, Watcher
from gamutrl.training.sft import SFT

CONFIG, SUMMARY = "config.json", "summary.json"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its summary (what `summary.json` holds)."""

    folder: Path
    summary: Mapping[str, Any]

    @property
    def before(self) -> Measured:
        return _measured(self.summary["before"])

    @property
    def after(self) -> Measured:
        return _measured(self.summary["after"])


def train(
    preset: Preset,
    folder: Path | str,
    *,
    seed: int = 0,
    watchers: Sequence[Watcher] = (),
    about: Mapping[str, Any] | None = None,
    allowed: Sequence[str] = (),
) -> Run:
    """Evaluate, train every stage, evaluate after each that trained the policy; everything is written to `folder`.

    about: what the run is of (`{"system": "visual-rft", "preset": "tiny", …}`), kept in `config.json`. allowed: further
    packages that the configuration may name (a user's own reward). Raises `TrainingError` where training cannot go on
    and `Stopped` where it was asked to stop; both can be resumed.

    Under `torchrun` every process calls this with the same arguments: they share the work, and the first one writes.
    """
    ranks.begin()
    folder = Path(folder)
    if ranks.agreed((folder / CONFIG).exists()):
        raise ConfigError(f"{folder} holds a run already: go on with `gamut resume {folder}`, or name another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "gamut": metadata.version("gamutrl"),
        "about": dict(about or {}),
        "seed": seed,
        "allowed": [*ALLOWED_PACKAGES, *allowed],
        "preset": to_json(preset),
    }
    _write(folder / CONFIG, config)
    return _go(preset, folder, seed, watchers, config)


def resume(folder: Path | str, *, watchers: Sequence[Watcher] = (), allowed: Sequence[str] = ()) -> Run:
    """Go on with a run that was stopped or killed, from its last checkpoint."""
    ranks.begin()
    folder = Path(folder)
    preset, config = read_config(folder, allowed)
    if ranks.agreed((folder / SUMMARY).exists()):
        return Run(folder, json.loads((folder / SUMMARY).read_text("utf-8")))
    return _go(preset, folder, config["seed"], watchers, config)


def has_settings(folder: Path, preset: Preset) -> bool:
    """Whether a run directory was made with this preset; a field that is new since has its default there."""
    ran, _ = read_config(folder)
    return to_json(ran) == to_json(preset)


def read_config(folder: Path, allowed: Sequence[str] = ()) -> tuple[Preset, dict[str, Any]]:
    """The preset that a run directory was made with, and its whole configuration."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder} is not a run directory: it has no {CONFIG}.") from None
    except ValueError as error:
        raise ConfigError(f"{folder / CONFIG} is not valid JSON ({error}).") from error
    return from_json(config["preset"], (*ALLOWED_PACKAGES, *allowed)), config


def _go(preset: Preset, folder: Path, seed: int, watchers: Sequence[Watcher], config: dict[str, Any]) -> Run:
    began = time.perf_counter()
    seed_everything(seed)
    if ranks.size() > 1:
        _check_shared(preset)
    watchers = watchers if ranks.first() else ()
    specs = {"policy": preset.model, **dict(preset.models)}
    models = {name: ranks.shared(spec.load()) for name, spec in specs.items()}
    session = Session(
        folder,
        models,
        seed=seed,
        responders=dict(preset.responders),
        watchers=watchers,
        save_every=preset.save_every,
    )
    context = Context(models=models, responders=session.responders)
    try:
        with session.signals():
            if not ranks.agreed((folder / "evaluation" / "before.json").exists()):
                _evaluate(preset, session, context, "before")
            if left_out := _left_out(preset):
                session.say(
                    f"{len(left_out)} bad rows are left out (summary.json lists them); the first: {left_out[0]}"
                )
            first = session.resume()
            began -= sum(line["seconds"] for line in _steps(folder))  # of earlier sittings
            for number, stage in enumerate(preset.stages):
                if number >= first:
                    session.stage_number = number
                    stage.run(session)
                    if stage in _measured_stages(preset):
                        _evaluate(preset, session, context, f"after-{stage.name}")
            if ranks.first():
                models["policy"].save(folder / "model")
            _evaluate(preset, session, context, "after")
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"Writing to {folder} failed ({getattr(error, 'strerror', None) or error}). "
            f"What was saved is whole: make room, then `gamut resume {folder}`."
        ) from error
    finally:
        for watcher in watchers:
            watcher.close()
    summary = {}
    if ranks.first():
        summary = plain(_summary(preset, folder, seed, config, time.perf_counter() - began, context))
    _write(folder / SUMMARY, summary)
    return Run(folder, ranks.agreed(summary))


def _check_shared(preset: Preset) -> None:
    """Raises ConfigError for stages whose work several processes can't share out."""
    for stage in preset.stages:
        if type(stage) not in (RL, SFT) or getattr(stage, "likelihood", None) is not None:
            raise ConfigError(f"The stage {stage.name} is trained by one process: start it without torchrun.")


def _measured_stages(preset: Preset) -> list[Stage]:
    """Those after which the policy is measured, beside the last: the others train nothing, or another model."""
    trained = [stage for stage in preset.stages[:-1] if hasattr(stage, "optimizer")]
    return [stage for stage in trained if getattr(stage, "trains", "policy") == "policy"]


def _evaluate(preset: Preset, session: Session, context: Context, name: str) -> None:
    for watcher in session.watchers:
        watcher.begin(f"evaluate {name}", preset.evaluation.rows, 0)

    def show(done: int, total: int) -> None:
        for watcher in session.watchers:
            if hasattr(watcher, "advance"):
                watcher.advance(done)

    outcome = evaluate(session.models["policy"], preset.evaluation, context, show)
    if ranks.first():
        write_outcome(outcome, session.folder, name, preset.evaluation.samples)


def _summary(
    preset: Preset, folder: Path, seed: int, config: dict[str, Any], seconds: float, context: Context
) -> dict[str, Any]:
    files = {"": "before", **{stage.name: f"after-{stage.name}" for stage in _measured_stages(preset)}}
    files[preset.stages[-1].name] = "after"
    places = {stage: folder / "evaluation" / f"{name}.json" for stage, name in files.items()}
    # A run that an earlier version began has measured nothing between its stages.
    found = {stage: json.loads(file.read_text("utf-8")) for stage, file in places.items() if file.exists()}
    measured = list(found.values())
    before, after = measured[0], measured[-1]
    lines = _steps(folder)
    return {
        "about": config["about"],
        "sampling": asdict(preset.evaluation.sampling),
        "before": before["measured"],
        "after": after["measured"],
        "gain": _gain(before, after),
        "stages": [
            {"stage": stage, "measured": now["measured"], "gain": _gain(last, now)}
            for stage, last, now in zip(list(found)[1:], measured, measured[1:])
        ],
        **(blind(preset.evaluation, context) if before["answers"] else {}),
        "others": {"before": before["others"], "after": after["others"]},
        "left_out": problem_table(_left_out(preset)),
        "steps": len(lines),
        "wall_seconds": seconds,
        "training_seconds": sum(line["seconds"] for line in lines),
        "peak_memory_gib": max((line["peak_memory_gib"] for line in lines), default=0.0),
        "seed": seed,
        "device": device_name(),
        "versions": versions(),
        "commit": commit(),
    }


def _left_out(preset: Preset) -> list[Problem]:
    """The bad rows that were found so far in data whose bad rows are skipped, each once."""
    sources = [stage.data for stage in preset.stages if hasattr(stage, "data")]
    files = [file for source in (*sources, preset.evaluation.data) for file in files_of(source)]
    skipping = [file for file in files if file.on_bad_row == "skip"]
    return list({(p.file, p.row): p for file in skipping for p in file.problems}.values())


def _steps(folder: Path) -> list[dict[str, Any]]:
    """What the steps taken so far logged."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def _gain(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What rows that have both values won on average, with the interval of the paired difference."""
    pairs = [(b, a) for b, a in zip(before["values"], after["values"]) if b is not None and a is not None]
    value, low, high = paired_difference([b for b, _ in pairs], [a for _, a in pairs])
    return {"metric": after["measured"]["metric"], "value": value, "low": low, "high": high, "rows": len(pairs)}


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and PyTorch's global randomness; our own code draws from named generators instead."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("gamutrl", "torch", "transformers", "tokenizers", "diffusers", "peft", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that gamutrl runs from, marked where it was changed; None outside of one."""
    here = Path(__file__).resolve().parent
    try:
        name = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return name.stdout.strip() or None if name.returncode == 0 else None


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _measured(told: Mapping[str, Any]) -> Measured:
    return Measured(told["metric"], told["value"], told["low"], told["high"], told["rows"])


def _write(file: Path, content: Any) -> None:
    if not ranks.first():
        return
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    os.replace(draft, file)
