"""Build `agent-tiny`: `vlm-tiny` taught to act, in every system's own notation and environment.

Two phases. First the tower learns to see crops, frames and boards as it sees the canvases that it knows
(`agent_seeing`); then language learns from demonstrations of several turns (`agent_lessons`), in which what the
environments answered is read and not imitated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Idefics3ForConditionalGeneration

from gamutrl.core import Sampling
from gamutrl.data.sources import take
from gamutrl.policies.models import TextModel
from gamutrl.policies.text import TextPolicy
from gamutrl.zoo import writing
from gamutrl.zoo.agent_batches import AgentBatches, Contexts
from gamutrl.zoo.agent_lessons import LESSONS, Lesson
from gamutrl.zoo.agent_seeing import Sights
from gamutrl.zoo.phases import Measured, Phase, beside, scaled, walk
from gamutrl.zoo.train import see

PHASES = ("seeing_steps", "language_steps")
MINUTES = 65.0
"""What `Plan()` took beside other work on two cores."""
TOKENS = 60
"""About how many tokens a context says."""
KEPT = 0.5
"""What it weighs that the tower goes on seeing the rest as it did, against seeing the new."""


@dataclass(frozen=True)
class Plan:
    """The length of each phase in steps and its learning rate, risen to in `warmup` steps, held, and brought to nearly
    nothing over the last part (`decay`) of the phase."""

    seeing_steps: int = 420
    language_steps: int = 1400
    seeing_rate: float = 7e-4
    language_rate: float = 1e-3
    warmup: int = 30
    decay: float = 0.5
    seed: int = 0
    start: str = "vlm-tiny"


def build(
    name: str = "agent-tiny",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
    rows: int = 200,
    lessons: Sequence[Lesson] = LESSONS,
) -> Path:
    """Train the packaged model and write its folder: weights, tokenizer, processor, `card.json`, `README.md`.

    minutes, or steps of the language phase: how long; both phases are scaled alike. out: the folder (default: the
    package's own). work: where checkpoints are kept; a build that was stopped goes on from there. rows: held-out rows
    that each of the lessons is measured on.
    """
    plan = scaled(Plan(seed=seed), PHASES, takes=MINUTES, minutes=minutes, steps=steps)
    with writing.folders(name, out, work) as (out, work):
        policy = TextModel(plan.start, dtype="float32", device="cpu").load()
        phases = train(policy.model, plan, work)  # type: ignore[arg-type]
        writing.export(policy.model, policy.processor, out)
        write_card(out, plan, phases, rows, lessons)
    return out


def train(model: Idefics3ForConditionalGeneration, plan: Plan, folder: Path) -> tuple[Phase, Phase]:
    """Both phases, from where a run in this folder stopped. The model is changed in place."""
    teacher = copy.deepcopy(model).eval()
    tower = nn.ModuleDict({"vision": model.model.vision_model, "connector": model.model.connector})
    seeing, language = Phase.start("seeing", tower), Phase.start("language", model.model.text_model)
    sights = beside(Sights(plan.seeing_steps, plan.seed))
    turns = beside(AgentBatches(plan.language_steps, plan.seed, model=plan.start))
    go = partial(walk, folder=folder, warmup=plan.warmup, decay=plan.decay, least=0.02)
    go(seeing, plan.seeing_steps, sights, lambda batch: seeing_loss(model, teacher, *batch), rate=plan.seeing_rate)
    go(language, plan.language_steps, turns, partial(language_loss, model), rate=plan.language_rate)
    return seeing, language


def seeing_loss(
    model: Idefics3ForConditionalGeneration,
    teacher: Idefics3ForConditionalGeneration,
    shown_MCHW: Tensor,
    drawn_MCHW: Tensor,
    cells_MK: Tensor,
) -> Measured:
    """How far the tower's tokens are from what its teacher sees in the drawing (`cells_MK`) or in the same picture,
    in units of the tokens' variance."""
    with torch.no_grad():
        wanted = see(teacher, shown_MCHW)
        scale = wanted.var((0, 1)).sum()
        some = cells_MK.any(1)
        if some.any():
            wanted[cells_MK] = see(teacher, drawn_MCHW[some])[cells_MK[some]]
    apart_MK = (see(model, shown_MCHW) - wanted).square().sum(-1) / scale
    new, kept = (apart_MK[cells].sum() / cells.sum().clamp(min=1) for cells in (cells_MK, ~cells_MK))
    return new + KEPT * kept, {"new": new.item(), "kept": kept.item()}


def language_loss(model: Idefics3ForConditionalGeneration, batch: Contexts) -> Measured:
    """The negative log-likelihood of all turns' tokens; no gradient reaches the vision tower or the connector.

    A row's is divided by `TOKENS`, however long it is: batches are of like lengths, and a mean over tokens would make
    what is said in few words likelier than it was demonstrated.
    """
    embedded = model.model.text_model.get_input_embeddings()(batch.ids_BL)
    if len(batch.pixels_MCHW):
        with torch.no_grad():
            features = see(model, batch.pixels_MCHW)
        embedded = embedded.masked_scatter((batch.ids_BL == model.config.image_token_id)[..., None], features)
    hidden = model.model.text_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    trained = batch.target_BL >= 0
    logits, target = model.lm_head(hidden[trained]), batch.target_BL[trained]
    loss = F.cross_entropy(logits, target, reduction="sum") / (len(batch.ids_BL) * TOKENS)
    return loss, {
        "loss": loss.item() * len(batch.ids_BL) * TOKENS / len(target),
        "right": (logits.detach().argmax(-1) == target).float().mean().item(),
    }


def measure(policy: TextPolicy, rows: int, lessons: Sequence[Lesson] = LESSONS) -> list[dict[str, Any]]:
    """How right a model is on held-out rows of each lesson, greedy and on single samples; and how often it acts before
    it answers."""
    measured = []
    for lesson in lessons:
        asked = take(lesson.rows("test", rows), rows)
        scores: dict[str, Any] = {"lesson": lesson.name, "rows": rows}
        for how, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            sampling = Sampling(max_tokens=lesson.max_tokens, temperature=temperature)
            said = [
                rollout
                for i in range(0, rows, 50)
                for rollout in policy.rollout(asked[i : i + 50], 1, lesson.environment, sampling, seed=i).rollouts
            ]
            scores[how] = sum(lesson.right(rollout.prompt, rollout) for rollout in said) / rows
            scores[f"{how} turns"] = sum(len(rollout.turns) for rollout in said) / rows
        measured.append(scores)
    return measured


_README = """# agent-tiny

`vlm-tiny` ({parameters:.1f} million parameters, 72-pixel canvases, 9 tokens a picture), taught by
`gamut zoo build agent-tiny` to act: to zoom, point, draw, search, select frames, propose regions, play and try again,
in the notations and through the environments of the systems that `gamutrl.recipes` has. Each task was demonstrated in
styles of unequal worth (a look and the right answer, a look that goes astray first, a guess), so that reinforcement
learning has something to choose from. What it was taught is in `gamutrl/zoo/agent_lessons.py`.

Seed {seed}: {seeing_steps} steps in which the tower learnt to see crops and boards, {language_steps} steps of language,
{minutes:.0f} minutes beside other work. {remarks}

Measured on {rows} held-out rows a lesson: how right the model is, greedy and on single samples at temperature 1, and
how many turns it takes.

| lesson | greedy | sampled | turns, greedy | turns, sampled |
| --- | --- | --- | --- | --- |
{table}
"""


def write_card(
    folder: Path,
    plan: Plan,
    phases: Sequence[Phase],
    rows: int,
    lessons: Sequence[Lesson] = LESSONS,
    remarks: str = "",
) -> None:
    """Measure what the folder holds and write its card."""
    policy = TextModel(str(folder), device="cpu").load()
    scores = measure(policy, rows, lessons)
    table = "\n".join(
        f"| {one['lesson']} | {one['greedy']:.0%} | {one['sampled']:.0%} | {one['greedy turns']:.1f} "
        f"| {one['sampled turns']:.1f} |"
        for one in scores
    )
    writing.write_card(
        folder, "agent-tiny", _README, policy.model, plan, phases, scores, remarks=remarks, rows=rows, table=table
    )
