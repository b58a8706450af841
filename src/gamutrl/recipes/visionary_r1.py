"""Visionary-R1: Mitigating Shortcuts in Visual Reasoning with Reinforcement Learning (arXiv 2505.14677).

What it changes: the policy describes the picture first (`<info>`), then reasons, then answers; and a description earns
0.1 where a reader who sees nothing else answers the question from it. The reader is the policy itself. The KL penalty
falls to 0 along half a cosine. It should help because on easy rows GRPO finds answers that need no looking, with
reasoning that says nothing; a description that must carry the answer makes the policy look.

Source: github.com/maifoundations/Visionary-R1 at 6b1f25a4. Code and paper agree (the paper's clip never binds in one
update). Released defects, mended here:
- A description with a line break was passed over (variant `released`), and rewards then moved to the wrong rollouts.
- The caption reward was added once more at every step, so that its weight grew with the step's number.
- The type of the batch's first row was taken for all (these two beside the fidelity tests only).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamutrl.core import Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.worlds.oracles import REFUSED, read_scene
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import edit_similarity, number_or_text, rouge, typed_accuracy
from gamutrl.rewards.asking import AnsweredFrom
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import Tag, tag_format, tag_text
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import FromModel
from gamutrl.training.schedule import Cosine

LAYOUT = ("info", "think", "answer")

SYSTEM = (
    "First describe the picture between <info> and </info> so fully that someone who cannot see it could answer "
    "questions about it: every object, number and word, and how they relate. Then reason from your description step by "
    "step between <think> and </think>. Last give a single word or phrase between <answer> and </answer>."
)
READER = (
    "You get a text that describes a picture, and a question. If the text holds answers, solutions, explanations or "
    f'interpretations, reply "{REFUSED}". Otherwise answer the question from the text in a single word or phrase.'
)


def transcript(given: str, truth: Any) -> float:
    """The number where the truth is one, else how alike the two texts are, case aside."""
    return number_or_text(given, truth, otherwise=_alike)


def _alike(given: str, truth: Any) -> float:
    return edit_similarity(given.lower(), str(truth).lower())


TYPES = {"OCR": transcript, "free-form": rouge}


def right(text: str, answer: Any, problem_type: str | None = None, *, tag: Tag | None = "answer") -> float:
    """How right the tagged answer is (without a tag: the whole text), by the row's type; any other asks for a number
    or for words."""
    return typed_accuracy(text, answer, problem_type or "", compare=TYPES, default=number_or_text, tag=tag) or 0.0


def reply_right(reply: str, prompt: Prompt) -> float:
    answer = tag_text(str(prompt.answer), missing="whole")
    return right(reply, answer, prompt.columns.get("problem_type"), tag=None)


ACCURACY = Reward("accuracy", per_rollout(right))
FORMAT = Reward("format", per_rollout(tag_format, tags=LAYOUT, between=("one_space", "space")))
CAPTION = Reward("caption", AnsweredFrom("info", reply_right, READER, refusal=REFUSED), weight=0.1)
REWARDS = (ACCURACY, FORMAT, CAPTION)

TINY = replace(
    tiny("scenes", "count", REWARDS, ACCURACY, knobs={"form": "info"}, kl=KL(Cosine(0.04)), optimizer=AdamW(lr=1.5e-5)),
    responders=(("reader", read_scene),),
)

DATA = FileRows("visionary-r1/train.parquet", Columns(prompt="problem", answer="solution", system=SYSTEM))

PAPER = replace(
    paper(
        TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=4096, gradient_checkpointing=True),
        DATA,
        REWARDS,
        ACCURACY,
        held_out=replace(DATA, split="test"),
        steps=4260,
        prompts_per_step=64,
        sampling=Sampling(max_tokens=768, temperature=0.9, top_p=0.9, top_k=50),
        kl=KL(Cosine(0.04)),
        optimizer=AdamW(lr=5e-7),
    ),
    responders=(("reader", FromModel("policy", Sampling(max_tokens=768, temperature=0.9, top_p=0.9, top_k=50))),),
)

ONE_LINE = replace(CAPTION, score=AnsweredFrom("info", reply_right, READER, refusal=REFUSED, multiline=False))

RECIPE = Recipe(
    title="Visionary-R1: Mitigating Shortcuts in Visual Reasoning with Reinforcement Learning",
    arxiv="2505.14677",
    kind="understanding",
    change="describe, then reason, then answer; a description from which the question can be answered earns 0.1",
    formulas=(
        "caption = accuracy of what the policy answers from its own description alone; 0 for one that interprets",
        "r = accuracy + format + 0.1 caption",
        "loss as GRPO with β = 0.04 · (1 + cos(π · progress)) / 2",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/released": with_rewards(TINY, caption=ONE_LINE),
        "paper/released": with_rewards(PAPER, caption=ONE_LINE),
    },
    claim=Claim("accuracy and caption accuracy on held-out rows", baseline="grpo"),
    assumptions={
        "tiny.responders": "the reader is a rule that knows the questions of this world: a model of this size cannot "
        "answer from words alone",
        "paper.data": "the eleven sets it was trained on, put together in one file as the README says (image, problem, "
        "solution, problem_type)",
        "paper.sampling": "768 new tokens, from the plain script: the paper gives no length",
        "paper.steps": "one epoch of 272,600 rows at 64 prompts a step (8 devices × 8 accumulated)",
        "paper.ask": "the system prompt and the reader's say what the published ones say, in words of our own",
    },
)
