"""What building `var-tiny` and `mask-tiny` has in common: the plan, the tokenizer, what is measured, and the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gamutrl.core import Batch, Context, Prompt, Rollout, Sampling
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.drawing import pictures_of, values_of
from gamutrl.policies.next_scale import Tokenizer
from gamutrl.rewards.of_pictures import DIGIT, SHOWN, SHOWN_IN_PART
from gamutrl.rewards.table import score
from gamutrl.zoo import janus_codes, tokens, writing
from gamutrl.zoo.phases import Phase

RATE = 2e-3
NO_PROMPT = 0.1
"""The share of pictures that are learned without their prompt: what guidance leads away from."""
ROWS = 100
"""How many held-out prompts of a task are drawn, to measure a model."""
MEASURED = ("digit", "object", "pair", "count")
"""The tasks whose prompts these are."""

_README = """# {name}

{what}

It draws shapes and digits, and is half-competent on purpose: what is left to learn is what a recipe teaches.

Trained by `gamut zoo build {name}` on pictures of the world `pictures` ({size} × {size} pixels; {digits:.0%} of them
digits, of which {tinted:.0%} in a colour), seed {seed}: {phases}; {minutes:.0f} minutes on a shared
core. Its tokenizer begins as that of `janus-tiny`, whose training is not counted. {parameters:.2f} million
parameters. {remarks}

Measured on {rows} held-out prompts a task: `right` is the share of pictures that show what is asked and nothing else,
`facts` that of single facts; from single samples, guided ones, and pictures of the world after the tokenizer.

| task | right | facts | guided by {guidance:g} | tokenizer |
| --- | --- | --- | --- | --- |
{table}
"""


@dataclass(frozen=True)
class Plan:
    """How many pictures there are to learn from, and the steps of each phase.

    scales_steps, decoder_steps: of the phases that fit several scales, and then the decoder, where a model has them.
    """

    pictures: int = 16000
    tokenizer_steps: int = 300
    scales_steps: int = 0
    decoder_steps: int = 0
    steps: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Script:
    """What differs between models. fit: makes and trains the model, given the tokenizer of one scale. load: the folder
    as a policy. guided: the sampling that `guided` is measured by; its guidance of 1 is what the rest is."""

    what: str
    plan: Plan
    guided: Sampling
    fit: Callable[[Tokenizer, tokens.Bank, Plan, Path], tuple[Any, tuple[Phase, ...]]]
    load: Callable[[Path], Any]


def build(
    script: Script,
    name: str,
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
) -> Path:
    """Train a model, or go on where a build in `work` stopped, and write its folder. steps: of the last phase."""
    plan = replace(script.plan, seed=seed, steps=script.plan.steps if steps is None else steps)
    with writing.folders(name, out, work) as (out, work):
        shown = tokens.bank(plan.pictures, plan.seed)
        one = janus_codes.tokenizer()
        first = tokens.train_tokenizer(one, shown, plan.tokenizer_steps, work, plan.seed)
        torch.manual_seed(plan.seed)
        model, phases = script.fit(one, shown, plan, work)
        model.save(out, torch.float16)
        write_card(script, out, name, plan, (first, *phases))
    return out


def measured(policy: Any, sampling: Sampling, rows: int = ROWS) -> dict[str, dict[str, float]]:
    """What held-out prompts of each task get, by what is measured."""
    return {task: _judged(drawn(policy, _held_out(task, rows), sampling), task) for task in MEASURED}


def given_back(tokenizer: Tokenizer, rows: int = ROWS) -> dict[str, dict[str, float]]:
    """What pictures of the world get once they are codes and pictures again."""
    found = {}
    for task in MEASURED:
        prompts = _held_out(task, rows)
        shown = values_of([pictures.target(prompt, tokens.SIZE) for prompt in prompts], tokens.SIZE)
        with torch.no_grad():
            again = pictures_of(tokenizer.decode(tokenizer.encode(shown)))
        rollouts = [Rollout(prompt, [], output=picture) for prompt, picture in zip(prompts, again)]
        found[task] = _judged(Batch.of(prompts, rollouts, range(rows)), task)
    return found


def _held_out(task: str, rows: int) -> list[Prompt]:
    return pictures.rows("test", rows, task=task)


def _judged(batch: Batch, task: str) -> dict[str, float]:
    rewards = (DIGIT,) if task == "digit" else (SHOWN, SHOWN_IN_PART)
    scored = score(rewards, batch, Context())
    return {name: float(scored.reward(reward.name).mean()) for name, reward in zip(("right", "facts"), rewards)}


def drawn(policy: Any, prompts: Sequence[Prompt], sampling: Sampling) -> Batch:
    """A picture a prompt."""
    with torch.no_grad():
        parts = [prompts[start : start + 50] for start in range(0, len(prompts), 50)]
        return Batch.concat(policy.rollout(part, 1, SingleTurn(), sampling, seed=0) for part in parts)


def write_card(
    script: Script,
    folder: Path,
    name: str,
    plan: Plan,
    phases: Sequence[Phase],
    rows: int = ROWS,
    remarks: str = "",
) -> None:
    """Measure what the folder holds and write its card."""
    policy = script.load(folder)
    single, guided = (measured(policy, s, rows) for s in (replace(script.guided, guidance=1.0), script.guided))
    again = given_back(policy.module.tokenizer, rows)
    told = [
        (task, single[task]["right"], single[task].get("facts"), guided[task]["right"], again[task]["right"])
        for task in MEASURED
    ]
    table = "\n".join(
        f"| {task} | " + " | ".join("" if value is None else format(value, ".0%") for value in values) + " |"
        for task, *values in told
    )
    writing.write_card(
        folder,
        name,
        _README,
        policy.module,
        plan,
        phases,
        {"rows": rows, "single": single, "guided": guided, "tokenizer": again},
        remarks=remarks,
        what=script.what,
        size=tokens.SIZE,
        digits=tokens.DIGITS,
        tinted=tokens.TINTED,
        rows=rows,
        guidance=script.guided.guidance,
        table=table,
    )
