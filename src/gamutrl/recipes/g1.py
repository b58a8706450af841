"""G1: Bootstrapping Perception and Reasoning Abilities of Vision-Language Model via RL (arXiv 2505.13426).

What it changes: beside a reward for the move, one for having read the board: a reply says first what is on it, and 1 is
added where that is the true board, letter by letter. Before that a cold start shows boards read right. Every row is a
state of a game after random play, and a rollout is one move from it. It should help because a move that scores says
little about why, while most bad moves are misread boards: seeing is taught on its own, by a reward that the game gives
for nothing.

Source: github.com/chenllliang/G1 at 716e6668. Its games, their rules and texts are `gamutrl.data.worlds.games`. No
supervised script was released; its teacher's reasoning is here the world's own. Released defects that cannot occur
here, since an episode is made of its row: the 2048 board of a group moved from response to response, and the text to be
perceived was the first board's for good. 12 × 12 boards of Shisen-Sho whose actions are coded for 6 × 6 are a world's
own knob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gamutrl.core import Prompt, Sampling
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds import boards, forms, games
from gamutrl.environments.playing import Playing, action_in
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import begun_with, paper, tiny, warm_start, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import has_marks
from gamutrl.training.defaults import KL, ActionWeights, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.sft import SFT

TAGS = ("perception", "think", "answer")


def played(text: str, facts: Mapping[str, Any], state: Sequence[Sequence[Any]]) -> float:
    """1 for a move that scores on the row's board, -1 for any other and for none."""
    game = games.game(facts["game"], **facts["options"])
    return boards.won(games.reward(game, list(map(list, state)), action_in(text, game)))


def scored(text: str, facts: Mapping[str, Any], state: Sequence[Sequence[Any]]) -> float:
    """1 for a move that scores, else 0."""
    return float(played(text, facts, state) > 0)


def perceived(text: str, perception: str) -> float:
    """1 if the board's text stands anywhere in the reply."""
    return float(perception in text)


def tagged(text: str) -> float:
    """1 if all six marks occur, in whatever order."""
    return float(has_marks(text, TAGS))


def read_right(prompt: Prompt, seed: int) -> str:
    """The cold start: the true board, what slides together along its rows and its columns, the best move."""
    seen, thought = (
        games.game_of(prompt).text(prompt.columns["state"]),
        games.along_lines(prompt.columns["facts"]["board"]),
    )
    return f"<perception>{seen}</perception>\n{forms.write('think', prompt.answer, thought)}"


GAME = Reward("game", per_rollout(played))
PERCEPTION = Reward("perception", per_rollout(perceived))
FORMAT = Reward("format", per_rollout(tagged))
SCORED = Reward("scored", per_rollout(scored))

VERL: dict[str, Any] = {
    "environment": Playing(),
    "advantage": GroupAdvantage(eps=1e-6, singleton="raw"),
    "weights": ActionWeights("token"),
}
SMALL = {"form": "perception", "size": 3, "plays": (0, 4), "telling": True}

REINFORCED = tiny(
    "games",
    "2048",
    (GAME, PERCEPTION, FORMAT),
    SCORED,
    knobs=SMALL,
    model=TextModel("agent-tiny"),
    measured_at=1.0,
    sampling=Sampling(max_tokens=128),
    steps=45,
    optimizer=AdamW(lr=2e-5),
    **VERL,
)
TINY = begun_with(
    warm_start(WorldRows("games", "2048", "train", SMALL, seed=1), read_right, steps=200, lr=5e-4),
    REINFORCED,
)

FULL = {"form": "perception", "size": 4, "plays": (100, 100)}

PAPER = begun_with(
    SFT(
        WorldRows("games", "2048", "train", FULL, seed=1),
        read_right,
        steps=100,
        rows_per_step=128,
        optimizer=AdamW(lr=1e-5),
    ),
    paper(
        TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=1024, gradient_checkpointing=True),
        WorldRows("games", "2048", "train", FULL),
        (GAME, PERCEPTION, FORMAT),
        SCORED,
        held_out=WorldRows("games", "2048", "test", FULL, size=500),
        steps=300,
        prompts_per_step=128,
        group_size=5,
        sampling=Sampling(max_tokens=8192),
        kl=KL(0.01, clamp=10.0),
        optimizer=AdamW(lr=1e-6, weight_decay=0.01),
        **VERL,
    ),
)

RECIPE = Recipe(
    title="G1: Bootstrapping Perception and Reasoning Abilities of Vision-Language Model via Reinforcement Learning",
    arxiv="2505.13426",
    kind="understanding",
    change="a reward for reading the board letter by letter beside the move's, after a cold start on true boards",
    formulas=(
        "r = game (±1: the move scores) + perception (the board's text is in the reply) + format (all six marks)",
        "A = (r − mean_group) / (std_group + 1e-6), token mean over the batch",
        "loss = clipped at 0.2 + 0.01 k3, k3 within ±10",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": with_stage(REINFORCED, rewards=(GAME, FORMAT))},
    claim=Claim(
        "share of held-out states whose move scores, share of boards read right",
        baseline="g1/ablation, G0 on the game and the layout alone: no cold start, no reward for perception",
    ),
    assumptions={
        "tiny.data": "2048 on 3 × 3 boards after up to 4 moves, states in which some directions score and some do not",
        "stages.sft": "its size and settings were not released; the reasoning is ours: what slides together each way",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.steps": "not stated; one game a run",
        "paper.data": "the world's pictures show exponents where the game shows powers of two",
    },
)
