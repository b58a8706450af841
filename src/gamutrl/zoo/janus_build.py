"""Build `janus-tiny` from nothing: training, weights, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gamutrl.core import Context, Message, Prompt, Sampling, image, text
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.environments.planned import Answer, PlanThenDraw
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.rewards.shown import DigitShown, Shown
from gamutrl.zoo import janus, janus_lessons, writing
from gamutrl.zoo.janus_training import Plan, train
from gamutrl.zoo.phases import Phase

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
    plan = Plan(seed=seed) if steps is None else Plan(seed=seed, steps=steps)
    with writing.folders(name, out, work) as (out, work):
        tokenizer = janus.build_tokenizer(janus_lessons.words())
        model = janus.build_model(tokenizer, seed)
        phases = train(model, tokenizer, plan, work)
        writing.export(model, janus.build_processor(tokenizer), out)
        write_card(out, plan, phases, rows)
    return out


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


def write_card(folder: Path, plan: Plan, phases: Sequence[Phase], rows: int) -> None:
    """Measure what the folder holds and write its card."""
    policy = ImageTokenPolicy.load(folder, dtype="float32", device="cpu")
    scores = measure(policy, rows)
    table = "\n".join(
        f"| {one['task']} | {one['right']:.0%} | {'' if one['facts'] is None else format(one['facts'], '.0%')} |"
        for one in scores
    )
    told = {"rows": rows, "table": table, **asdict(janus.TINY)}
    writing.write_card(folder, "janus-tiny", _README, policy.module, plan, phases, scores, **told)
