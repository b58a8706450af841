"""Who watches a run: a progress bar on the terminal, and experiment trackers by one option."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gamutrl.training.session import Watcher


class Bar:
    """A progress bar a stage, with the running reward or loss beside it; plain lines where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: Any = None
        self.started = False
        self.smooth: float | None = None
        self.total = 0

    def begin(self, stage: str, steps: int, done: int) -> None:
        if not self.started:
            self.progress.start()
            self.started = True
        if self.task is not None:
            self.progress.stop_task(self.task)
        self.smooth, self.total = None, steps
        self.task = self.progress.add_task(stage, total=steps, completed=done, note="")

    def advance(self, done: int, note: str = "") -> None:
        """For work that has no metrics of its own (evaluation)."""
        self.progress.update(self.task, completed=done, note=note)

    def step(self, metrics: Mapping[str, Any]) -> None:
        key = "reward/mean" if "reward/mean" in metrics else "loss"
        value = metrics.get(key)
        note = ""
        if value is not None:
            self.smooth = value if self.smooth is None else 0.9 * self.smooth + 0.1 * value
            note = f"{key.split('/')[0]} {self.smooth:.3f}"
        if "entropy" in metrics:
            note += f"  entropy {metrics['entropy']:.2f}"
        if "length/mean" in metrics:
            note += f"  length {metrics['length/mean']:.0f}"
        self.progress.update(self.task, completed=metrics["step"] + 1, note=note)
        if not self.console.is_terminal and (metrics["step"] + 1) % max(1, self.total // 10) == 0:
            self.console.print(f"{metrics['stage']} {metrics['step'] + 1}/{self.total}  {note}", highlight=False)

    def message(self, text: str) -> None:
        self.progress.console.print(text, highlight=False)

    def close(self) -> None:
        if self.started:
            self.progress.stop()


class _Tracker:
    """Numbers of every step to a tracker's own `log(values, step)`; steps are counted through all stages."""

    def __init__(self, folder: Path, log: Callable[[dict[str, float], int], None], close: Callable[[], None]) -> None:
        self.metrics, self.log, self.end = folder / "metrics.jsonl", log, close
        self.count = 0

    def begin(self, stage: str, steps: int, done: int) -> None:
        # A run that goes on has been cut to its checkpoint by now, so its lines say how far it is.
        self.count = len(self.metrics.read_bytes().splitlines()) if self.metrics.exists() else 0

    def step(self, metrics: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        self.log({key: value for key, value in numbers.items() if key != "step"}, self.count)
        self.count += 1

    def message(self, text: str) -> None:
        pass

    def close(self) -> None:
        self.end()


@contextmanager
def _tracked_as(folder: Path) -> Iterator[str]:
    """What trackers know a run by: drawn once and, if the tracker begins, kept in the run's folder, so that a run gone
    on with is the same one."""
    file = folder / "tracked.txt"
    identity = file.read_text(encoding="utf-8").strip() if file.exists() else uuid.uuid4().hex[:8]
    yield identity
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(identity, encoding="utf-8")


def tracker(name: str, folder: Path, config: Mapping[str, Any]) -> Watcher:
    """TensorBoard, W&B or trackio, by name. Raises RuntimeError where it is not installed, ValueError for another."""
    try:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(folder / "tensorboard"))

            def write(values: dict[str, float], step: int) -> None:
                for key, value in values.items():
                    writer.add_scalar(key, value, step)

            return _Tracker(folder, write, writer.close)
        if name == "wandb":
            import wandb

            about: dict[str, Any] = {"project": "gamut", "dir": str(folder), "config": dict(config)}
            with _tracked_as(folder) as identity:
                run = wandb.init(name=folder.name, id=identity, resume="allow", **about)
            return _Tracker(folder, lambda values, step: run.log(values, step=step), run.finish)
        if name == "trackio":
            import trackio

            with _tracked_as(folder) as identity:
                trackio.init(project="gamut", name=f"{folder.name}-{identity}", config=dict(config), resume="allow")
            return _Tracker(folder, lambda values, step: trackio.log(values, step=step), trackio.finish)
    except ImportError as error:
        extra = "trackio" if name == "trackio" else "loggers"
        raise RuntimeError(f"--track {name} needs the package {error.name}: pip install 'gamutrl[{extra}]'.") from error
    raise ValueError(f"--track: there is no tracker called {name!r}; choose tensorboard, wandb or trackio.")
