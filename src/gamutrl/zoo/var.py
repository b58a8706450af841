"""`var-tiny`: a small VAR over pictures of shapes and digits.

First a tokenizer of one scale learns to give pictures back (`mask-tiny` has it too), then a codebook for four scales is
fitted to what that tokenizer sees, then the transformer learns the codes of each prompt's picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.next_scale import NextScale, NextScalePolicy, Tokenizer, TokenizerConfig, TransformerConfig
from gamutrl.policies.words import Words
from gamutrl.rewards.base import Reward
from gamutrl.rewards.shown import DigitShown, Shown
from gamutrl.rewards.table import score
from gamutrl.zoo import tokens
from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.train import Phase

ONE = TokenizerConfig(scales=(6,), codes=512, latent=16, channels=64, multipliers=(1,), blocks=1, groups=8, patch=5)
"""30-pixel pictures as 6 × 6 codes."""
MANY = replace(ONE, scales=(1, 2, 3, 6))
MODEL = TransformerConfig(
    depth=4, width=96, heads=3, shared=True, words=pictures.WORDS, text_length=tokens.WORDS, text_depth=2
)
MEASURED_BY = Sampling(guidance=2.0)
WHAT = (
    "A next-scale model (VAR) that draws 30-pixel pictures in four scales (1, 2, 3 and 6 codes a side) for prompts "
    "like `the digit 7` and `a red circle`."
)
RATE = 2e-3
NO_PROMPT = 0.1
"""The share of pictures that are learned without their prompt: what guidance leads away from."""

README = """# {name}

{what}

Trained by `gamut zoo build {name}` on pictures of the world `pictures` (30 × 30 pixels; {digits:.0%} of them
digits, of which {tinted:.0%} in a colour), seed {seed}: {phases}. {parameters:.2f} million parameters.
{remarks}

Measured on {rows} held-out prompts a task, single samples at guidance {guidance:g}: how probable a reader of digits
holds the right one, or the share of pictures that show exactly what was asked.

| task | measured |
| --- | --- |
{table}
"""


@dataclass(frozen=True)
class Plan:
    """How many pictures there are to learn from, and the steps of each phase, of 32 pictures each."""

    pictures: int = 16000
    tokenizer_steps: int = 620
    scales_steps: int = 300
    steps: int = 330
    seed: int = 0


def build(
    name: str = "var-tiny",
    *,
    steps: int = Plan.steps,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
) -> Path:
    """Train the model, or go on where a build in `work` stopped, and write its folder. steps: of the last phase."""
    plan, out = Plan(steps=steps, seed=seed), Path(out) if out else MODELS / name
    work = Path(work) if work else out.parent / f".{name}-work"
    shown = tokens.bank(plan.pictures, plan.seed)
    first, one = tokenizer(shown, plan, work)
    torch.manual_seed(plan.seed)
    model = NextScale(MANY, MODEL)
    second = tokens.train_scales(model.tokenizer, one, shown, plan.scales_steps, work, plan.seed)
    third = train(model, shown.only(tokens.LEARNED), plan, work)
    model.save(out, torch.float16)
    write_card(out, NextScalePolicy.load(out), asdict(plan), (first, second, third), WHAT, MEASURED_BY)
    return out


def tokenizer(shown: tokens.Bank, plan: Any, work: Path) -> tuple[Phase, Tokenizer]:
    """The tokenizer of one scale."""
    torch.manual_seed(plan.seed)
    one = Tokenizer(ONE)
    return tokens.train_tokenizer(one, shown, plan.tokenizer_steps, work, plan.seed), one


def train(model: NextScale, shown: tokens.Bank, plan: Plan, work: Path) -> Phase:
    """Train the transformer in place, from where a run in this folder stopped."""
    code_BL = tokens.codes(model.tokenizer, shown)
    words = Words(MODEL.words, MODEL.text_length)
    word_BS, empty_S = words.rows(shown.prompts), words.rows([""])[0]
    # Scales count by the square root of their tokens: the coarse ones decide what is drawn.
    share_K = torch.tensor(MANY.scales) / sum(MANY.scales)
    phase = Phase.start("var", model.transformer)
    phase.resume(work)

    def loss_of(index: Tensor) -> tuple[Tensor, dict[str, float]]:
        code_NL, word_NS = code_BL[index], word_BS[index]
        word_NS[torch.rand(len(index)) < NO_PROMPT] = empty_S
        with torch.no_grad():
            seen = model.tokenizer.quantize.inputs(code_NL)
        logits = model.transformer(seen, model.transformer.texts(word_NS))
        loss_NL = F.cross_entropy(logits.flatten(0, 1), code_NL.flatten(), reduction="none").view(code_NL.shape)
        loss_K = torch.stack([part.mean() for part in model.tokenizer.quantize.split(loss_NL)])
        return (share_K * loss_K).sum(), {f"scale{k}": value for k, value in enumerate(loss_K.tolist())}

    tokens.drive(phase, loss_of, len(shown.prompts), plan.steps, RATE, work, plan.seed)
    return phase


def measured(policy: Any, sampling: Sampling, rows: int = 100) -> dict[str, float]:
    """What held-out prompts of each task get."""
    found = {}
    for task in tokens.LEARNED:
        batch = drawn(policy, pictures.rows("test", rows, task=task), sampling)
        reward = Reward("right", DigitShown() if task == "digit" else Shown())
        found[task] = float(score((reward,), batch, Context()).reward("right").mean())
    return found


def drawn(policy: Any, prompts: Sequence[Prompt], sampling: Sampling) -> Batch:
    with torch.no_grad():
        parts = [prompts[start : start + 50] for start in range(0, len(prompts), 50)]
        return Batch.concat(policy.rollout(part, 1, SingleTurn(), sampling, seed=0) for part in parts)


def write_card(
    folder: Path,
    policy: Any,
    plan: Mapping[str, Any],
    phases: Sequence[Phase],
    what: str,
    sampling: Sampling,
    rows: int = 100,
    remarks: str = "",
) -> None:
    """Measure what the folder holds and write `card.json` and `README.md` beside it.

    remarks: what the plan does not say, where training did not follow it from beginning to end.
    """
    found = measured(policy, sampling, rows)
    parameters = sum(parameter.numel() for parameter in policy.module.parameters())
    card = {
        "name": folder.name,
        "parameters": parameters,
        "plan": dict(plan),
        "training": {p.name: p.measured | {"steps": p.step, "seconds": p.seconds} for p in phases},
        "versions": {package: version(package) for package in ("torch", "scikit-learn")},
        "held_out": found,
        "remarks": remarks,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    readme = README.format(
        name=folder.name,
        what=what,
        digits=tokens.DIGITS,
        tinted=tokens.TINTED,
        seed=plan["seed"],
        phases=", ".join(f"{phase.step} steps of `{phase.name}`" for phase in phases),
        parameters=parameters / 1e6,
        remarks=remarks,
        rows=rows,
        guidance=sampling.guidance,
        table="\n".join(f"| {task} | {value:.0%} |" for task, value in found.items()),
    )
    (folder / "README.md").write_text(readme, "utf-8")
