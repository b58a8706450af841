"""How a zoo model's folder is written: where, what `from_pretrained` reads, and its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin

from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.phases import Phase

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn")


@contextmanager
def folders(name: str, out: Path | str | None, work: Path | str | None) -> Iterator[tuple[Path, Path]]:
    """Where a model is written (by default in the package), and where the checkpoints are that a build goes on from:
    beside it, and gone once it is written, or in a folder of the user's own, which stays."""
    folder = Path(out) if out else MODELS / name
    kept = Path(work) if work else folder.parent / f".{name}-work"
    yield folder, kept
    if not work:
        shutil.rmtree(kept)


def export(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Write what `from_pretrained` reads: weights in float16 (computed with in float32), configuration, processor.

    A tensor that has two names, as an output weight that is the embedding's, is written under the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)
    names: dict[torch.Tensor, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(tensor, name)
    tensors = {name: tensor.detach().half().contiguous() for tensor, name in names.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_card(
    folder: Path,
    name: str,
    readme: str,
    module: nn.Module,
    plan: DataclassInstance,
    phases: Sequence[Phase],
    held_out: Any,
    *,
    remarks: str = "",
    packages: Sequence[str] = PACKAGES,
    **told: Any,
) -> None:
    """Write `card.json`, and `README.md`: a text with gaps for the plan's fields, for `name`, `parameters` (in
    millions), `phases`, `minutes`, `remarks`, `held_out`, and for what is `told` beside.

    held_out: what was measured on held-out rows. remarks: what the plan does not say, where training did not follow it
    from beginning to end. packages: whose versions the card says.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters())
    minutes = sum(phase.seconds for phase in phases) / 60
    card = {
        "name": name,
        "parameters": parameters,
        "plan": asdict(plan),
        "training": {phase.name: phase.measured | {"steps": phase.step, "seconds": phase.seconds} for phase in phases},
        "minutes": round(minutes, 1),
        "remarks": remarks,
        "versions": {package: version(package) for package in packages},
        "held_out": held_out,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    known = {
        "name": name,
        "parameters": parameters / 1e6,
        "phases": ", ".join(f"{phase.step} steps of `{phase.name}`" for phase in phases),
        "minutes": minutes,
        "remarks": remarks,
        "held_out": held_out,
    }
    (folder / "README.md").write_text(readme.format(**asdict(plan), **known, **told), "utf-8")
