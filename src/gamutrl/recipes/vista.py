"""VisTA: VisualToolAgent, A Reinforcement Learning Framework for Visual Tool Selection (arXiv 2505.20289).

What it changes: the policy never answers; it chooses which of nine readers a frozen reasoner is told about, by number,
without being told what they are good at. Its reward is what its choice does to the reasoner: 1 if it is then right,
-0.5 if it was right before and no longer is. It should help because which tool is good for which picture is nowhere
written down: it shows in the answers of whoever uses it.

Source: github.com/OoDBag/VisTA at 80a01c8a. The reasoner sees the picture made half as wide or half as high, so that
readers matter. The choice is read anywhere in the reply (answer tag, else brackets, else all of it), as released.
Released defect: an exception anywhere gave 0, which is a judgement; here such a rollout is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gamutrl.core import Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import charts
from gamutrl.environments.calls import integers_chosen
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.readers import Reasoned, kept_reports, misled, right_with
from gamutrl.rewards.tags import tag_text
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.responders import Endpoint

READERS = 9
OFFERED = (
    "\nThese tools read the chart: 0, 1, 2 (type1 A-C), 3, 4, 5 (type2 D-F), 6, 7, 8 (type3 G-I). Which of them help "
    "to answer? Give their numbers only, separated by commas, in <answer></answer>."
)
LONGEST = 4000
"""Characters of a reply that are read."""


def chosen(said: str) -> list[int]:
    """The readers that a reply chooses, each once; none where an item of its list is no number."""
    said = said[:LONGEST]
    listed = tag_text(said, ("[", "]"), missing="whole")
    return integers_chosen(tag_text(said, multiline=False) or listed, READERS) or []


def measured(reports: Callable[[Prompt], Sequence[str]]) -> tuple[Reward, Reward, Reward]:
    """What the choice is worth to the reasoner, whether it is then right, and whether it was misled."""
    return (
        Reward("gain", Reasoned(chosen, reports)),
        Reward("right", Reasoned(chosen, reports, right_with)),
        Reward("misled", Reasoned(chosen, reports, misled)),
    )


def offering(preset: Preset) -> Preset:
    """The preset with the readers after every question; what could always be chosen is one of them."""
    knobs = {"form": "plain", "kind": "any", "marks": 3, "side": 216}
    rows = (WorldRows("charts", "value", "train", knobs), WorldRows("charts", "value", "test", knobs, size=300))
    train, test = (Changed(source, WithSuffix(charts.OFFERED)) for source in rows)
    changed = preset.with_data(train, test)
    singly = tuple(f"<answer>{reader}</answer>" for reader in range(READERS))
    return replace(changed, evaluation=replace(changed.evaluation, constants=singly))


GAIN, RIGHT, MISLED = measured(charts.reports)

TINY = replace(
    offering(
        tiny(
            "charts",
            "value",
            (GAIN,),
            RIGHT,
            others=(MISLED,),
            model=TextModel("agent-tiny"),
            sampling=Sampling(max_tokens=20),
            measured_at=1.0,
            steps=40,
        )
    ),
    responders=(("reasoner", charts.answer_from),),
)

QUESTIONS = FileRows(
    "vista/chartqa.parquet",
    Columns(prompt="query", image="image", answer="label[0]", extra=(("question", "query"), ("reports", "reports"))),
)
PUBLISHED_GAIN, PUBLISHED_RIGHT, _ = measured(kept_reports)

PAPER = replace(
    paper(
        TextModel("Qwen/Qwen2-VL-7B-Instruct", max_prompt_tokens=1024, gradient_checkpointing=True),
        Changed(QUESTIONS, WithSuffix(OFFERED)),
        (PUBLISHED_GAIN,),
        PUBLISHED_RIGHT,
        held_out=Changed(replace(QUESTIONS, split="test"), WithSuffix(OFFERED)),
        steps=3500,
        prompts_per_step=4,
        group_size=4,
        sampling=Sampling(max_tokens=512, temperature=0.9),
        kl=KL(0.04),
        optimizer=AdamW(lr=1e-6),
    ),
    responders=(("reasoner", Endpoint(model="Qwen/Qwen2.5-VL-7B-Instruct")),),
)

RECIPE = Recipe(
    title="VisualToolAgent (VisTA): A Reinforcement Learning Framework for Visual Tool Selection",
    arxiv="2505.20289",
    kind="understanding",
    change="the policy only chooses readers, and is paid by what its choice does to a frozen reasoner's answer",
    formulas=(
        "c1, c2: the reasoner is right without, with the readers chosen",
        "r = 1 if c2, −0.5 if c1 and not c2, else 0",
        "loss = −A + 0.04 k3 per token, strictly on-policy; A = (r − mean_group) / (std_group + 1e-4)",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": with_rewards(TINY, gain=Reward("gain", RIGHT.score))},
    claim=Claim(
        "share of held-out questions that the reasoner gets right; share in which it was misled",
        baseline="vista/ablation, whether the reasoner is right alone: what it lost costs nothing",
    ),
    assumptions={
        "tiny.data": "charts of three marks; of the nine readers three give tables: one is good at bars, one at lines",
        "tiny.responders": "the reasoner answers from the first table that it is told, and guesses without one",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.data": "one file of ChartQA's rows with the nine readers' outputs (`reports`), computed beforehand",
        "paper.steps": "about two epochs of 28 thousand rows at 16 completions a step",
        "paper.sampling": "0.9 was the trainer's default at the time; the script sets no temperature",
    },
)
