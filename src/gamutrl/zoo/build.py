"""Build a packaged model from nothing: tokenizer, training, weights, and what was measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast

from gamutrl.zoo import lessons
from gamutrl.zoo.architecture import build_model, build_processor, build_tokenizer
from gamutrl.zoo.measure import PROBES, Probe, measure
from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.train import PHASES, Plan, train

MINUTES = 67.0
"""What `Plan()` takes on two cores: `minutes` scales its phases, so that a build is a function of its arguments."""

_README = """# vlm-tiny

A vision-language model of {parameters:.1f} million parameters (`Idefics3ForConditionalGeneration`, 72-pixel canvases,
9 tokens an image), trained by `gamut zoo build vlm-tiny` on the generated worlds of `gamutrl.data.worlds`, so that
reinforcement learning can be seen to work within minutes on a CPU. It knows nothing else. Plain questions were taught
exactly (*sees*); questions in the recipes' forms were taught in styles of unequal worth (*half knows*), which is what
a recipe improves.

Seed {seed}, {vision_steps} vision steps and {language_steps} language steps (the first {reading_steps} of dense
reading, from step {varied_from} of questions of every kind), {minutes:.0f} minutes. {remarks}

Measured on {rows} held-out rows a task: of what is asked for (digits, objects, boxes with an IoU of at least 0.5), the
share that greedy replies get right; the share of replies that are right as a whole, greedy and for single samples at
temperature 1; the share of the commonest answer.

| | task | parts right | greedy | sampled | commonest answer |
| --- | --- | --- | --- | --- | --- |
{table}
"""


def build(
    name: str = "vlm-tiny",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
    rows: int = 200,
    probes: list[Probe] = PROBES,
) -> Path:
    """Train a packaged model and write its folder: weights, tokenizer, processor, `card.json`, `README.md`.

    minutes, or steps of the language phase: how long; all phases are scaled alike (default: the whole of `Plan`). out:
    the folder (default: the package's own). work: where checkpoints are kept; a build that was stopped goes on from
    there. rows: held-out rows for each of the probes.
    Raises ValueError for a name that no script here builds.
    """
    if name != "vlm-tiny":
        raise ValueError(f"No script builds {name!r}; there is one for: vlm-tiny.")
    out = MODELS / name if out is None else Path(out)
    work = out.parent / f".{name}-work" if work is None else Path(work)
    plan = plan_of(minutes, steps, seed)
    tokenizer = train_tokenizer(seed)
    model = build_model(tokenizer, seed)
    measured = train(model, tokenizer, plan, work)
    export(model, tokenizer, out)
    write_card(out, plan, measured, rows, probes)
    shutil.rmtree(work)
    return out


def plan_of(minutes: float | None, steps: int | None, seed: int) -> Plan:
    """`Plan` with every phase made longer or shorter alike."""
    if minutes is not None and steps is not None:
        raise ValueError("Say either how many minutes or how many steps a build takes, not both.")
    whole = Plan(seed=seed)
    share = 1.0 if minutes is None else minutes / MINUTES
    share = share if steps is None else steps / whole.language_steps
    phases = {name: max(1, round(getattr(whole, name) * share)) for name in PHASES}
    return replace(whole, **phases)


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of the worlds' own texts."""
    chosen = (lessons.STILLS, lessons.SEVERAL, lessons.CLIPS)
    found = (example for some in chosen for example in lessons.examples(some, 1500, seed))
    return build_tokenizer(text for example in found for dialogue in example.dialogues for text in dialogue)


def export(model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `from_pretrained` reads: weights in float16 (computed with in float32), configuration, processor."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    build_processor(tokenizer).save_pretrained(folder)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items() if name not in tied}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_card(
    folder: Path, plan: Plan, measured: dict[str, Any], rows: int, probes: list[Probe] = PROBES, remarks: str = ""
) -> None:
    """Measure what the folder holds and write `card.json` and `README.md` beside it.

    remarks: what the plan does not say, where training did not follow it from beginning to end.
    """
    model = Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    scores = measure(model, Idefics3Processor.from_pretrained(folder), rows, probes)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    seconds = sum(phase["seconds"] for phase in measured.values())
    card = {
        "name": folder.name,
        "parameters": parameters,
        "plan": asdict(plan),
        "training": measured,
        "minutes": round(seconds / 60, 1),
        "remarks": remarks,
        "versions": {package: version(package) for package in ("torch", "transformers", "tokenizers", "scikit-learn")},
        "held_out": scores,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    table = "\n".join(
        f"| {scored['kind']} | {scored['task']} | "
        + " | ".join(f"{scored[how]:.0%}" for how in ("parts", "greedy", "sampled", "constant"))
        + " |"
        for scored in scores
    )
    filled = {"rows": rows, "table": table, "minutes": seconds / 60, "remarks": remarks, **asdict(plan)}
    (folder / "README.md").write_text(_README.format(parameters=parameters / 1e6, **filled))
