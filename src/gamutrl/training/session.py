"""One run of a preset: its folder, its models, its place in time; what every stage shares.

A stage walks `session.steps(...)`; the session restores it where a killed run stopped, writes a line of `metrics.jsonl`
a step, saves checkpoints, and stops cleanly on SIGTERM and Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from gamutrl.core import Context
from gamutrl.training import checkpoint, ranks
from gamutrl.training.samples import plain


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the step, the rows and the last good checkpoint."""


class Stopped(Exception):
    """The run was asked to stop, saved its state, and can be resumed."""

    def __init__(self, signal_number: int, place: Path) -> None:
        self.signal_number = signal_number
        super().__init__(
            f"Stopped by {signal.Signals(signal_number).name}; saved {place.name}. "
            f"Go on with `gamut resume {place.parents[1]}`."
        )


class Stage(Protocol):
    """One phase of a run. `steps` is its length; `run` does it, on the session's models."""

    @property
    def name(self) -> str: ...

    def run(self, session: Session) -> None: ...


class Watcher(Protocol):
    """Sees a run as it goes: a progress bar, TensorBoard, W&B, trackio."""

    def begin(self, stage: str, steps: int, done: int) -> None: ...

    def step(self, metrics: Mapping[str, Any]) -> None: ...

    def message(self, text: str) -> None: ...

    def close(self) -> None: ...


@dataclass
class Session:
    """What a stage works with.

    models: the named policies. responders: judges, readers, embedders by name. products: datasets that earlier stages
    made, by name. save_every: steps between checkpoints. keep: how many to keep. stage_number: which stage runs now.
    """

    folder: Path
    models: dict[str, Any]
    seed: int = 0
    responders: dict[str, Any] = field(default_factory=dict)
    products: dict[str, Any] = field(default_factory=dict)
    watchers: Sequence[Watcher] = ()
    save_every: int = 20
    keep: int = 2
    stage_number: int = 0
    _restored: _Restored | None = None
    _signal: int = 0
    _last: Path | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def context(self, step: int, steps: int) -> Context:
        return Context(step, steps, self.stage_seed, models=self.models, responders=self.responders)

    @property
    def fresh(self) -> bool:
        """Whether the stage about to run starts from its beginning."""
        return self._restored is None

    @property
    def stage_seed(self) -> int:
        return self.seed * 1000 + self.stage_number

    def say(self, text: str) -> None:
        for watcher in self.watchers:
            watcher.message(text)

    # -- the walk through a stage ---------------------------------------------------------------------------------

    def steps(self, name: str, total: int, state: Mapping[str, Any]) -> Iterator[StepRecord]:
        """The steps of a stage, restored where the run stopped.

        state: what the stage keeps between steps, by name: objects with `state_dict`/`load_state_dict`; optimizers too.
        Each step is handed out as a record to be filled with metrics; the next request writes it and saves when due.
        """
        start = self._restore(state)
        for watcher in self.watchers:
            watcher.begin(name, total, start)
        for step in range(start, total):
            torch.manual_seed(self.stage_seed * 1_000_003 + step)
            record = StepRecord(step)
            began = time.perf_counter()
            yield record
            line = {
                "stage": name,
                "stage_number": self.stage_number,
                "step": step,
                **record.metrics,
                "seconds": time.perf_counter() - began,
                "peak_memory_gib": peak_memory_gib(),
            }
            self._append("metrics.jsonl", [line])
            if record.samples:
                self._append(
                    "rollouts.jsonl",
                    [{"stage": name, "stage_number": self.stage_number, "step": step, **s} for s in record.samples],
                )
            for watcher in self.watchers:
                watcher.step(line)
            done = step + 1
            self._signal = ranks.most(self._signal)  # All of the processes stop after the same step.
            if done % self.save_every == 0 or done == total or self._signal:
                self.save(done, state)
            if self._signal:
                assert self._last is not None
                raise Stopped(self._signal, self._last)
        if total == 0 or start >= total:
            self.save(total, state)

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the models, the stage's state and the run's place in time (one process for all)."""
        folder_name = checkpoint.name_of(self.stage_number, step)
        if not ranks.first():
            self._last = self.checkpoints / folder_name
            return self._last
        packed: dict[str, Any] = {
            "models": {name: model.state_dict() for name, model in self.models.items()},
            "stage": {},
        }
        scalars: dict[str, Any] = {}
        tensors: dict[str, torch.Tensor] = {}
        for name, thing in state.items():
            if isinstance(thing, torch.optim.Optimizer):
                these, scalars[name] = checkpoint.pack_optimizer(thing)
                tensors |= {f"optimizer/{name}/{key}": value for key, value in these.items()}
            else:
                packed["stage"][name] = thing.state_dict()
        more, skeleton = checkpoint.pack(packed, "state")
        place = checkpoint.write(
            self.checkpoints,
            folder_name,
            {**tensors, **more},
            {
                "stage_number": self.stage_number,
                "step": step,
                "optimizers": scalars,
                "skeleton": skeleton,
                "products": {name: str(path) for name, path in self.products.items()},
            },
            self.keep,
        )
        self._last = place
        return place

    def resume(self) -> int:
        """Load the newest checkpoint, if there is one; returns the number of the stage to go on with."""
        place = checkpoint.latest(self.checkpoints)
        if place is None:
            self._trim(0, 0)
            return 0
        tensors, state = checkpoint.read(place)
        self._last = place
        self._restored = _Restored(tensors, state)
        content = checkpoint.unpack(tensors, state["skeleton"])
        for name, model in self.models.items():
            model.load_state_dict(content["models"][name])
        self._restored.stage = content["stage"]
        self.products.update({name: Path(path) for name, path in state["products"].items()})
        self.stage_number = state["stage_number"]
        self._trim(self.stage_number, state["step"])
        return self.stage_number

    def fail(self, what: str) -> TrainingError:
        """The error to raise when a step cannot be finished: `what`, and where the last good state is."""
        if self._last is None:
            return TrainingError(f"{what} No checkpoint had been saved yet.")
        return TrainingError(f"{what} The last good checkpoint is {self._last.name} in {self.checkpoints}.")

    def _restore(self, state: Mapping[str, Any]) -> int:
        found, self._restored = self._restored, None
        if found is None:
            return 0
        for name, thing in state.items():
            if isinstance(thing, torch.optim.Optimizer):
                prefix = f"optimizer/{name}/"
                tensors = {k.removeprefix(prefix): v for k, v in found.tensors.items() if k.startswith(prefix)}
                checkpoint.unpack_optimizer(thing, tensors, found.state["optimizers"][name])
            else:
                thing.load_state_dict(found.stage[name])
        return int(found.state["step"])

    def _append(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        if not ranks.first():
            return
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(plain(line), ensure_ascii=False) + "\n" for line in lines)

    def _trim(self, stage_number: int, step: int) -> None:
        """Drop what was logged after the checkpoint: those steps are done again."""
        if not ranks.first():
            return
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            file = self.folder / name
            if not file.exists():
                continue
            kept = []
            for line in file.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # The last line of a killed run may be cut.
                if (entry["stage_number"], entry["step"]) < (stage_number, step):
                    kept.append(line)
            draft = file.with_suffix(".draft")
            draft.write_text("".join(line + "\n" for line in kept), "utf-8")
            os.replace(draft, file)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Inside, SIGTERM and Ctrl-C let the step finish and save; a second Ctrl-C stops at once."""

        def ask(number: int, frame: object) -> None:
            if self._signal:
                raise KeyboardInterrupt
            self._signal = number
            self.say(f"{signal.Signals(number).name}: finishing this step and saving; once more to stop at once.")

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # Not in the main thread: whoever runs us there handles signals.
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class StepRecord:
    """One step, to be filled by its stage: `metrics` for `metrics.jsonl`, `samples` for `rollouts.jsonl`."""

    step: int
    metrics: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Restored:
    """A checkpoint that was read and not yet handed to its stage."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    stage: dict[str, Any] = field(default_factory=dict)


class Timer:
    """Seconds spent in named parts of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def stateful(owner: object) -> dict[str, Any]:
    """The fields of a stage that remember: whatever has a `state_dict`, by field name (elements of tuples by
    number)."""
    found: dict[str, Any] = {}
    for name, value in vars(owner).items():
        items = value if isinstance(value, tuple) else (value,)
        for number, item in enumerate(items):
            if callable(getattr(item, "state_dict", None)):
                found[f"{name}.{number}" if isinstance(value, tuple) else name] = item
    return found


def peak_memory_gib() -> float:
    """The most memory this process has held so far: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
