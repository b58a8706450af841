"""STAR-R1: Spatial TrAnsformation Reasoning by Reinforcing Multimodal LLMs (arXiv 2505.15804).

What it changes: the reward for a list of changes between two pictures. Every predicted triplet (object, attribute,
value) is paid by how much of it is right: 5 for all, 1.5 for object and attribute, 0.5 for the object alone. Each that
is not all right costs 1, which keeps the policy from listing everything; each that is missing costs 1, which keeps it
from saying nothing. It should help because a whole list is seldom right by chance, so that all-or-nothing rewards say
nothing at first, and because rewards for parts alone are best served by long lists.

Source: the paper by two notes on it; the official repository announces its code. Open, and ours (`assumptions`): that a
triplet that is right in part costs as well, how predictions are matched, what an unreadable one is. A later version
(CVPR 2026) begins with supervised reasoning and rewards the choice of a reference object: not here.
"""

from __future__ import annotations

from typing import Any

from gamutrl.core import Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds.turns import AtOnce
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import FORMAT, begun_with, paper, tiny, warm_start, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import tag_text
from gamutrl.training.optimizer import AdamW

Triplet = tuple[str, ...]
"""Object, attribute, value; empty for an item that is none."""
MOST, LONGEST = 256, 40_000
"""Items, and characters, of an answer that are read."""
_LINES = str.maketrans({"\n": ",", ";": ","} | dict.fromkeys("[](){}\"'`"))


def changes_in(said: str) -> list[Triplet]:
    """The items of a list like `2.color.cyan, 3.size.small`, in order, in lower case."""
    plain = said[:LONGEST].translate(_LINES).lower()
    items = [tuple(part.strip() for part in item.split(".")) for item in plain.split(",") if item.strip()]
    return [item if len(item) == 3 and all(item) else () for item in items[:MOST]]


def tiers(said: list[Triplet], true: list[Triplet], *, reuse: bool = False) -> list[int]:
    """How many leading parts of each prediction are right (3 for all): best matches first, each truth used once.

    reuse: a truth may serve several predictions.
    """
    tier, left = [0] * len(said), list(true)
    for parts in (3, 2, 1):
        for k, one in enumerate(said):
            other = next((other for other in left if one and not tier[k] and other[:parts] == one[:parts]), None)
            if other is not None:
                tier[k] = parts
                left = left if reuse else [rest for rest in left if rest is not other]
    return tier


def transformed(
    text: str,
    answer: str,
    *,
    tier: tuple[float, float, float] = (0.5, 1.5, 5.0),
    wrong: float = 1.0,
    missing: float = 1.0,
    partial_is_wrong: bool = True,
    reuse: bool = False,
) -> float:
    """What the answer's triplets are worth.

    tier: for the object, the object and its attribute, the whole. wrong: the cost of one that is not all right (or,
    unless `partial_is_wrong`, in which nothing is); missing: of each by which there are too few.
    """
    said, true = changes_in(tag_text(text, missing="empty")), changes_in(answer)
    worth = tiers(said, true, reuse=reuse)
    faults = sum(parts < (3 if partial_is_wrong else 1) for parts in worth)
    return sum((0.0, *tier)[parts] for parts in worth) - wrong * faults - missing * max(0, len(true) - len(said))


def all_changes(text: str, answer: str) -> float:
    """1 if the predicted set is the true one (TAcc)."""
    said = changes_in(tag_text(text, missing="empty"))
    return float(() not in said and sorted(said) == sorted(changes_in(answer)))


def surplus(text: str, answer: str) -> float:
    """How many triplets are predicted, less how many there are."""
    return float(len(changes_in(tag_text(text, missing="empty"))) - len(changes_in(answer)))


ALL = Reward("all", per_rollout(all_changes))
REWARDS = (Reward("changes", per_rollout(transformed)), FORMAT)
MEASURED: dict[str, Any] = {"others": (Reward("surplus", per_rollout(surplus), weight=0.0),)}

SMALL = {"form": "think", "low": 1, "high": 2, "most": 1}
TINY = begun_with(
    warm_start(WorldRows("rooms", "changes", "train", SMALL, seed=1), AtOnce("work"), steps=200, lr=6e-4),
    tiny(
        "rooms",
        "changes",
        REWARDS,
        ALL,
        knobs=SMALL,
        model=TextModel("agent-tiny"),
        measured_at=1.0,
        steps=60,
        sampling=Sampling(max_tokens=48),
        optimizer=AdamW(lr=2e-5),
        **MEASURED,
    ),
)

PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=4096, gradient_checkpointing=True),
    "star-r1/train.jsonl",
    REWARDS,
    ALL,
    columns=Columns(prompt="problem", image="initial+final", answer="answer"),
    steps=1000,
    prompts_per_step=64,
    sampling=Sampling(max_tokens=1024),
    optimizer=AdamW(lr=1e-6),
)

RECIPE = Recipe(
    title="STAR-R1: Spatial TrAnsformation Reasoning by Reinforcing Multimodal LLMs",
    arxiv="2505.15804",
    kind="understanding",
    source="paper",
    change="each predicted change is paid by how much of it is right; wrong and missing ones cost",
    formulas=(
        "R_pos = Σ over predictions: 5 (all right), 1.5 (object and attribute), 0.5 (object)",
        "R_pun = −(predictions that are not all right) − max(0, n_true − n_predicted)",
        "r = R_pos + R_pun + format; advantage and loss as GRPO",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": with_rewards(TINY, changes=Reward("changes", ALL.score))},
    claim=Claim("share of held-out rows with all changes right", baseline="star-r1/ablation, all or nothing"),
    assumptions={
        "rewards.changes": "what is right in part is wrong too, as the ablation's name suggests; predictions are "
        "matched best first, each truth once; unreadable items and second copies are wrong",
        "tiny.data": "one or two shapes, one of which changed colour, shape or size; both views are from the same side",
        "tiny.stages.sft": "a warm start: the packaged model cannot tell two pictures apart",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.data": "rows of problem (with the table of objects), initial, final, answer; TVR's size is not stated",
        "paper.optimizer": "1e-6, groups of 8, a KL of 0.04, lengths and batch: none is stated",
    },
)
