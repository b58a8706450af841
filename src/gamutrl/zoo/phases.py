"""How a zoo model is trained: in phases, each a walk of so many steps, resumable and a function of its seed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gamutrl.zoo.muon import Muon

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINT_SECONDS = 60

Taken = TypeVar("Taken")
Plan = TypeVar("Plan", bound="DataclassInstance")
Measured = tuple[Tensor, dict[str, float]]
"""A loss, and what is told of it."""


@dataclass
class Phase:
    """A phase on its way: what trains, how far it came, and what was last measured."""

    name: str
    modules: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, modules: nn.Module) -> Phase:
        matrices: list[nn.Parameter] = []
        tables: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for key, parameter in modules.named_parameters():
            table = "embed" in key or parameter.dim() > 2
            (others if parameter.dim() < 2 else tables if table else matrices).append(parameter)
        groups = [{"params": tables, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        adam = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)
        return cls(name, modules, [Muon(matrices, weight_decay=0.05), adam])

    def update(self, loss: Tensor, rate: float) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss of the {self.name} phase is {loss.item()} at step {self.step}.")
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def measure(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.measured[name] = 0.98 * self.measured.get(name, value) + 0.02 * value

    def save(self, folder: Path) -> None:
        """Write weights, optimizer state and progress, in one atomic file each."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weights/{name}": p.detach().contiguous() for name, p in self.modules.named_parameters()}
        names: dict[Tensor, str] = {p: name for name, p in self.modules.named_parameters()}
        for parameter, state in ((p, state) for optimizer in self.optimizers for p, state in optimizer.state.items()):
            tensors |= {f"optimizer/{key}/{names[parameter]}": value for key, value in state.items()}
        progress = {"step": self.step, "seconds": self.seconds, "measured": self.measured}
        partial = folder / f"{self.name}.partial"
        save_file(tensors, partial, {"progress": json.dumps(progress)})
        partial.replace(folder / f"{self.name}.safetensors")

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote, if it did."""
        path = folder / f"{self.name}.safetensors"
        if not path.exists():
            return False
        tensors = load_file(path)
        owner_of = {p: o for o in self.optimizers for group in o.param_groups for p in group["params"]}
        with torch.no_grad():
            for name, parameter in self.modules.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                keys = [key for key in tensors if key.startswith("optimizer/") and key.split("/", 2)[2] == name]
                if keys:
                    owner_of[parameter].state[parameter] = {key.split("/")[1]: tensors[key] for key in keys}
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
        self.step, self.seconds, self.measured = progress["step"], progress["seconds"], progress["measured"]
        return True


def ramp(step: int, steps: int, peak: float, *, warmup: int, decay: float, least: float) -> float:
    """The learning rate of a step: risen to in `warmup` steps, held, and brought down over the last part (`decay`) of
    all steps, to `least` of its peak."""
    left = (steps - step) / max(1.0, decay * steps)
    return peak * min(1.0, (step + 1) / warmup, max(left, least))


def walk(
    phase: Phase,
    steps: int,
    batches: Callable[[int, int], Iterable[Taken]],
    loss_of: Callable[[Taken], Measured],
    folder: Path,
    *,
    rate: float,
    warmup: int,
    decay: float,
    least: float,
) -> Phase:
    """Take the steps that a phase has still to take, from where a run in this folder stopped; returns the phase.

    A checkpoint is written every minute and at the end. batches: those from one step to another (`range`: their
    numbers). rate, warmup, decay, least: the learning rate's `ramp`.
    """
    phase.resume(folder)
    before = phase.seconds
    begun = saved = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[seen]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ) as progress:
        bar = progress.add_task(phase.name, total=steps, completed=phase.step, seen="")
        for batch in batches(phase.step, steps):
            loss, measured = loss_of(batch)
            phase.update(loss, ramp(phase.step, steps, rate, warmup=warmup, decay=decay, least=least))
            phase.measure(measured)
            now = time.monotonic()
            phase.seconds = before + now - begun
            seen = " ".join(f"{name} {value:.3f}" for name, value in phase.measured.items())
            if now - saved > CHECKPOINT_SECONDS or phase.step == steps:
                phase.save(folder)
                saved = now
                progress.console.print(f"{phase.name} {phase.step}/{steps} {phase.seconds:.0f} s {seen}")
            progress.update(bar, completed=phase.step, seen=seen)
    return phase


def beside(data: Dataset[Taken]) -> Callable[[int, int], Iterable[Taken]]:
    """What makes a dataset's batches from one number to another, in a process beside."""
    how: dict[str, Any] = {"num_workers": 1, "prefetch_factor": 16, "multiprocessing_context": "spawn"}
    return lambda first, end: DataLoader(data, batch_size=None, sampler=range(first, end), **how)


def scaled(plan: Plan, phases: Sequence[str], *, takes: float, minutes: float | None, steps: int | None) -> Plan:
    """A plan with all its phases made longer or shorter alike: to take so many minutes, where the plan takes `takes`,
    or to have so many steps in the last. Raises ValueError where both are said."""
    if minutes is not None and steps is not None:
        raise ValueError("Say either how many minutes or how many steps a build takes, not both.")
    share = 1.0 if minutes is None else minutes / takes
    share = share if steps is None else steps / getattr(plan, phases[-1])
    return replace(plan, **{name: max(1, round(getattr(plan, name) * share)) for name in phases})
