"""Build a packaged model from nothing: tokenizer, training, weights, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast

from gamutrl.zoo import lessons, writing
from gamutrl.zoo.architecture import build_model, build_processor, build_tokenizer
from gamutrl.zoo.measure import PROBES, Probe, measure
from gamutrl.zoo.phases import Phase, scaled
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
    plan = plan_of(minutes, steps, seed)
    with writing.folders(name, out, work) as (out, work):
        tokenizer = train_tokenizer(seed)
        model = build_model(tokenizer, seed)
        phases = train(model, tokenizer, plan, work)
        writing.export(model, build_processor(tokenizer), out)
        write_card(out, plan, phases, rows, probes)
    return out


def plan_of(minutes: float | None, steps: int | None, seed: int) -> Plan:
    """`Plan` with every phase made longer or shorter alike."""
    return scaled(Plan(seed=seed), PHASES, takes=MINUTES, minutes=minutes, steps=steps)


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of the worlds' own texts."""
    chosen = (lessons.STILLS, lessons.SEVERAL, lessons.CLIPS)
    found = (example for some in chosen for example in lessons.examples(some, 1500, seed))
    return build_tokenizer(text for example in found for dialogue in example.dialogues for text in dialogue)


def write_card(
    folder: Path, plan: Plan, phases: Sequence[Phase], rows: int, probes: list[Probe] = PROBES, remarks: str = ""
) -> None:
    """Measure what the folder holds and write its card."""
    model = Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    scores = measure(model, Idefics3Processor.from_pretrained(folder), rows, probes)
    table = "\n".join(
        f"| {scored['kind']} | {scored['task']} | "
        + " | ".join(f"{scored[how]:.0%}" for how in ("parts", "greedy", "sampled", "constant"))
        + " |"
        for scored in scores
    )
    writing.write_card(
        folder, "vlm-tiny", _README, model, plan, phases, scores, remarks=remarks, rows=rows, table=table
    )
