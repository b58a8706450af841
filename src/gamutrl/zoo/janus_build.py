"""Build `janus-tiny` from nothing: training, weights, and what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from gamutrl.core import Context, Message, Prompt, Sampling, image, text
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.environments.planned import Answer, PlanThenDraw
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.rewards.shown import DigitShown, Shown
from gamutrl.zoo import janus, janus_lessons
from gamutrl.zoo.janus_training import Plan, train
from gamutrl.zoo.packaged import MODELS

ONE = Sampling(max_tokens=40)

_README = """# janus-tiny

A unified model of {parameters:.1f} million parameters (`JanusForConditionalGeneration`: {side}-pixel pictures as
{edge} × {edge} codes of {codes}, four Llama layers of {width}, a small tower that looks), trained by
`gamut zoo build janus-tiny` on the generated world of pictures: coloured shapes and handwritten digits. It draws
what is asked, plans first (`Plan: …` runs on into the picture, `Describe: …` is a text of its own), and answers
questions about pictures (`Think. …` with tags). It knows nothing else, and it is half-competent on purpose: what is
left to learn is what a recipe teaches.

Seed {seed}: {code_steps} steps for the codes ({code_batch} pictures each), {steps} for words and codes ({batch}
sequences each), {minutes:.0f} minutes on a shared core.

Measured on {rows} held-out prompts a task, one sample each at temperature 1: `right` is the share of pictures (or
answers) in which all is as asked and nothing else is there; `facts` the share of single facts.

| task | right | facts |
| --- | --- | --- |
{table}
"""


def build(
    name: str = "janus-tiny",
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
    rows: int = 128,
) -> Path:
    """Train, write and measure the model, or go on where a build in `work` stopped.

    steps: of the last phase. rows: held-out prompts a task.
    """
    plan, out = Plan(seed=seed), Path(out) if out else MODELS / name
    plan = plan if steps is None else replace(plan, steps=steps)
    tokenizer = janus.build_tokenizer(janus_lessons.words())
    model = janus.build_model(tokenizer, plan.seed)
    measured = train(model, tokenizer, plan, Path(work) if work else out.parent / f".{name}-work")
    export(model, tokenizer, out)
    write_card(out, plan, measured, rows)
    return out


def export(model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `from_pretrained` reads: weights in float16 (computed with in float32), configuration, processor."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    janus.build_processor(tokenizer).save_pretrained(folder)
    tensors = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def measure(policy: ImageTokenPolicy, rows: int) -> list[dict[str, Any]]:
    """How well it draws each task, with a plan of its own too, and how well it reads, on held-out rows."""
    scores = []
    for task in ("object", "count", "pair", "relation", "mixed", "layout", "any"):
        scores.append(_drawn(policy, task, rows, "", SingleTurn()))
    scores.append(_drawn(policy, "any", rows, "", SingleTurn(), Sampling(guidance=2.0)))
    scores.append(_drawn(policy, "any", rows, janus_lessons.PLAN, PlanThenDraw()))
    scores.append(_drawn(policy, "any", rows, janus_lessons.DESCRIBE, PlanThenDraw(fresh=True)))
    digits = pictures.rows("test", rows, 0, task="digit")
    batch = policy.rollout(digits, 1, SingleTurn(), ONE, seed=0)
    scores.append({"task": "digit", "right": float(DigitShown(certain=True)(batch, Context()).mean()), "facts": None})
    asked = [_seen(row, row.columns["question"]) for row in pictures.rows("test", rows, 0, task="any")]
    said = policy.rollout(asked, 1, Answer(), Sampling(max_tokens=8), seed=0).rollouts
    right = sum(r.text.strip() == r.prompt.columns["question_answer"] for r in said) / rows
    scores.append({"task": "any, questions about a picture", "right": right, "facts": None})
    return scores


def _drawn(
    policy: ImageTokenPolicy, task: str, rows: int, before: str, environment: Any, sampling: Sampling = ONE
) -> dict[str, Any]:
    prompts = [
        Prompt.ask(f"{before}{row.columns['prompt']}", id=row.id, **row.columns)
        for row in pictures.rows("test", rows, 0, task=task)
    ]
    batch = policy.rollout(prompts, 1, environment, sampling, seed=0)
    right, facts = (float(Shown(partial=partial)(batch, Context()).mean()) for partial in (False, True))
    how = f", {before[:-2].lower()}" if before else ""
    how = f"{how}, guided by {sampling.guidance:g}" if sampling.guidance != 1 else how
    return {"task": f"{task}{how}", "right": right, "facts": facts}


def _seen(row: Prompt, question: str) -> Prompt:
    shown = Message("user", (image(pictures.target(row, janus.SIDE)), text(question)))
    return Prompt((shown,), None, row.columns, id=row.id)


def write_card(folder: Path, plan: Plan, trained: dict[str, Any], rows: int) -> None:
    """Measure what the folder holds; write `card.json` and `README.md` beside it."""
    policy = ImageTokenPolicy.load(folder, dtype="float32", device="cpu")
    scores = measure(policy, rows)
    parameters = sum(parameter.numel() for parameter in policy.module.parameters())
    minutes = sum(phase["seconds"] for phase in trained.values()) / 60
    card = {
        "name": folder.name,
        "parameters": parameters,
        "plan": asdict(plan),
        "training": trained,
        "minutes": round(minutes, 1),
        "versions": {package: version(package) for package in ("torch", "transformers", "tokenizers", "scikit-learn")},
        "held_out": scores,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    table = "\n".join(
        f"| {one['task']} | {one['right']:.0%} | {'' if one['facts'] is None else format(one['facts'], '.0%')} |"
        for one in scores
    )
    filled = {"rows": rows, "table": table, "minutes": minutes, "parameters": parameters / 1e6, **asdict(plan)}
    sizes = {"side": janus.SIDE, "edge": janus.EDGE, "codes": janus.CODES, "width": janus.WIDTH}
    (folder / "README.md").write_text(_README.format(**filled, **sizes))
