"""Build `agent-tiny`: `vlm-tiny` taught to act, in every system's own notation and environment.

Two phases. First the tower learns to see crops, frames and boards as it sees the canvases that it knows
(`agent_seeing`); then language learns from demonstrations of several turns (`agent_lessons`), in which what the
environments answered is read and not imitated.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Idefics3ForConditionalGeneration

from gamutrl.core import Sampling
from gamutrl.data.sources import take
from gamutrl.policies.models import TextModel
from gamutrl.zoo.agent_batches import AgentBatches, Contexts
from gamutrl.zoo.agent_lessons import LESSONS, Lesson
from gamutrl.zoo.agent_seeing import Sights
from gamutrl.zoo.build import export
from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.train import Phase, see, steps_of

START = "vlm-tiny"
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

    def rate(self, step: int, steps: int, peak: float) -> float:
        left = (steps - step) / max(1.0, self.decay * steps)
        return peak * min(1.0, (step + 1) / self.warmup, max(left, 0.02))


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
    out = MODELS / name if out is None else Path(out)
    work = out.parent / f".{name}-work" if work is None else Path(work)
    plan = plan_of(minutes, steps, seed)
    policy = TextModel(START, dtype="float32", device="cpu").load()
    measured = train(policy.model, plan, work)  # type: ignore[arg-type]
    export(policy.model, policy.tokenizer, out)  # type: ignore[arg-type]
    write_card(out, plan, measured, rows, lessons)
    shutil.rmtree(work)
    return out


def plan_of(minutes: float | None, steps: int | None, seed: int) -> Plan:
    """`Plan` with both phases made longer or shorter alike."""
    if minutes is not None and steps is not None:
        raise ValueError("Say either how many minutes or how many steps a build takes, not both.")
    whole = Plan(seed=seed)
    share = 1.0 if minutes is None else minutes / MINUTES
    share = share if steps is None else steps / whole.language_steps
    scaled = {name: max(1, round(getattr(whole, name) * share)) for name in ("seeing_steps", "language_steps")}
    return replace(whole, **scaled)


def train(model: Idefics3ForConditionalGeneration, plan: Plan, folder: Path) -> dict[str, Any]:
    """Both phases, from where a run in this folder stopped; what was measured last, by phase.

    The model is changed in place.
    """
    teacher = copy.deepcopy(model).eval()
    seeing = Phase.start(
        "seeing", nn.ModuleDict({"vision": model.model.vision_model, "connector": model.model.connector})
    )
    language = Phase.start("language", model.model.text_model)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[seen]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ) as progress:
        seeing.resume(folder)
        for batch in steps_of(seeing, Sights(plan.seeing_steps, plan.seed), progress, folder):
            loss, seen = seeing_loss(model, teacher, *batch)
            seeing.update(loss, plan.rate(seeing.step, plan.seeing_steps, plan.seeing_rate))
            seeing.measure(seen)
        language.resume(folder)
        for batch in steps_of(language, AgentBatches(plan.language_steps, plan.seed), progress, folder):
            loss, seen = language_loss(model, batch)
            language.update(loss, plan.rate(language.step, plan.language_steps, plan.language_rate))
            language.measure(seen)
    return {
        phase.name: phase.measured | {"steps": phase.step, "seconds": phase.seconds} for phase in (seeing, language)
    }


def seeing_loss(
    model: Idefics3ForConditionalGeneration,
    teacher: Idefics3ForConditionalGeneration,
    shown_MCHW: Tensor,
    drawn_MCHW: Tensor,
    cells_MK: Tensor,
) -> tuple[Tensor, dict[str, float]]:
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


def language_loss(model: Idefics3ForConditionalGeneration, batch: Contexts) -> tuple[Tensor, dict[str, float]]:
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


def measure(folder: Path, rows: int, lessons: Sequence[Lesson] = LESSONS) -> list[dict[str, Any]]:
    """How right the model in a folder is on held-out rows of each lesson, greedy and on single samples; and how often
    it acts before it answers."""
    policy = TextModel(str(folder), device="cpu").load()
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
    measured: Mapping[str, Any],
    rows: int,
    lessons: Sequence[Lesson] = LESSONS,
    remarks: str = "",
) -> None:
    """Measure what the folder holds and write `card.json` and `README.md` beside it.

    remarks: what the plan does not say, where training did not follow it from beginning to end.
    """
    scores = measure(folder, rows, lessons)
    policy = TextModel(str(folder), device="cpu").load()
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    minutes = sum(phase["seconds"] for phase in measured.values()) / 60
    card = {
        "name": folder.name,
        "parameters": parameters,
        "start": START,
        "plan": asdict(plan),
        "training": measured,
        "minutes": round(minutes, 1),
        "remarks": remarks,
        "versions": {package: version(package) for package in ("torch", "transformers", "tokenizers", "scikit-learn")},
        "held_out": scores,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    table = "\n".join(
        f"| {one['lesson']} | {one['greedy']:.0%} | {one['sampled']:.0%} | {one['greedy turns']:.1f} "
        f"| {one['sampled turns']:.1f} |"
        for one in scores
    )
    filled = {"rows": rows, "table": table, "minutes": minutes, "remarks": remarks, **asdict(plan)}
    (folder / "README.md").write_text(_README.format(parameters=parameters / 1e6, **filled))
