"""OpenThinkIMG: Learning to Think with Images via Visual Tool Reinforcement Learning (arXiv 2505.08617).

What it changes: the policy acts by strict JSON, one action a turn: read print, point, draw a line, cut a panel out,
segment a region, or terminate with the answer. What a tool says, and the picture that it drew on, come back before the
next turn, and every tool works on the newest picture. The reward is whether the last turn's answer is right, and
nothing else. It should help because which tool serves which question is found by trying, where demonstrations only say
what a teacher did.

Source: github.com/zhaochen0110/OpenThinkIMG at 45d295f0. Released defects, mended here (variant `released` has them):
- The tokens of all turns are joined after the first prompt, without what came back, and all after the first turn's end
  is masked: only the first turn is trained. Here every turn is, in the context that it had.
- The solution may stand anywhere in the last turn, in its thought too. Here it must be the `ans`.
- Where no action can be read the question is said again as the assistant's own words: here as the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.media import MediaOptions
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.worlds import charts
from gamutrl.environments import SingleTurn, calls, looking
from gamutrl.environments.desk import Tool
from gamutrl.environments.tools.charts import Ask, SegmentAround, ZoomPanel, chart_tools
from gamutrl.environments.tools.draw import DrawLine
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards import maths, parsing, tags
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import KL, old_and_reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.responders import Endpoint
from gamutrl.training.rl import RL

SYSTEM = (
    "Answer the question about the picture with the help of tools, one action a turn. Write strict JSON: "
    '{"thought": "…", "actions": [{"name": "…", "arguments": {…}}]}. The actions, with the newest picture as "image": '
    'OCR {"image": "img_1"} reads all print; Point {"image": "img_1", "param": "a description"} says where something '
    'is; ZoomInSubfigure {"image": "img_1", "param": "a title"} cuts a part out; SegmentRegionAroundPoint {"image": '
    '"img_1", "param": "x=\\"21.5\\" y=\\"28.5\\""} shows a region; DrawHorizontalLineByY {"image": "img_1", "param": '
    '"y=28.5"} and DrawVerticalLineByX {"image": "img_1", "param": "x=21.5"} draw lines; Terminate {"ans": "…"} '
    "answers. Coordinates must come from Point."
)
KEYS = {"thought", "thoughts", "actions"}


def right(turns: Sequence[str], solution: Any) -> float:
    """1 if the last turn's `ans` is the solution, as maths or word by word."""
    said = calls.action_answer(turns[-1]) if turns else None
    return 0.0 if said is None else maths.maths(said, tags.tag_text(str(solution), missing="whole"))


def anywhere(turns: Sequence[str], solution: Any) -> float:
    """The released form: 1 if the solution is found as maths anywhere in the last turn, or is its `ans`."""
    if not turns:
        return 0.0
    if maths.math_equal(turns[-1], str(solution)):
        return 1.0
    said, truth = calls.action_answer(turns[-1]), tags.tag_text(str(solution), missing="whole")
    said = turns[-1] if said is None else said
    return float(said == truth or bool(maths.math_equal(said, truth)))


def well_formed(turns: Sequence[str], solution: Any = None) -> float:
    """The share of turns whose first group of braces is JSON with a thought or actions; 0 without turns."""
    values = [parsing.loads(calls.first_group(turn) or "") for turn in turns]
    return sum(isinstance(value, dict) and bool(KEYS & value.keys()) for value in values) / max(len(turns), 1)


@dataclass(frozen=True)
class OfTurns:
    """Lifts `(the turns' texts, the row's answer) -> value` to a score."""

    function: Callable[[Sequence[str], Any], float]

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        said = ([turn.text for turn in rollout.turns] for rollout in batch.rollouts)
        return torch.tensor([self.function(turns, r.prompt.answer) for turns, r in zip(said, batch.rollouts)])


def acted(batch: Batch, context: Context) -> Tensor:
    """How many tools a rollout used without error, `[R]`."""
    return torch.tensor([float(sum(not call.error for call in rollout.calls)) for rollout in batch.rollouts])


def first_turn_only(stage: RL, batch: Batch, context: Context) -> Batch:
    """A preparation: only what was written before the first end of a turn is trained (the released mask)."""
    batch = old_and_reference(stage, batch, context)
    first_N = torch.tensor([len(batch.rollouts[row.rollout].turns[row.turns.start]) for row in batch.rows])
    place_T = torch.arange(batch.mask_NT.shape[1])
    return replace(batch, mask_NT=batch.mask_NT & (place_T < first_N[:, None]))


def panels_in(prompt: Prompt) -> Mapping[str, Sequence[float]]:
    """A row's column `panels`: the parts of its picture by title, as boxes in a view of 72 pixels."""
    return prompt.columns.get("panels") or {}


def in_one_turn(preset: Preset) -> Preset:
    """The preset without tools: the first turn is all there is, in training and where it is measured."""
    evaluation = replace(preset.evaluation, environment=SingleTurn())
    return replace(with_stage(preset, environment=SingleTurn()), evaluation=evaluation)


ACCURACY = Reward("accuracy", OfTurns(right))
OTHERS = (Reward("format", OfTurns(well_formed)), Reward("tools", acted))
RELEASED: dict[str, Any] = {"rewards": (Reward("accuracy", OfTurns(anywhere)),), "prepare": first_turn_only}

TINY = tiny(
    "charts",
    "value",
    (ACCURACY,),
    ACCURACY,
    knobs={"form": "actions", "kind": "bar", "marks": 3},
    others=OTHERS,
    model=TextModel("agent-tiny", freeze=("vision", "connector")),
    measured_at=1.0,
    environment=looking.chart_actions(chart_tools(charts.words_on, charts.place_of, charts.panels_of), rounds=4),
    steps=50,
    sampling=Sampling(max_tokens=96),
    optimizer=AdamW(lr=3e-5),
)

SERVED: dict[str, Tool] = {
    "OCR": Ask(Endpoint(model="ocr"), "Read all print in this picture, each piece with its place."),
    "Point": Ask(Endpoint(model="allenai/Molmo-7B-D-0924"), "Point to: {param}", of="first"),
    "ZoomInSubfigure": ZoomPanel(panels_in),
    "SegmentRegionAroundPoint": SegmentAround(),
    "DrawHorizontalLineByY": DrawLine("y", (100, 100)),
    "DrawVerticalLineByX": DrawLine("x", (100, 100)),
}
ROWS = Columns(prompt="question", image="image_path", answer="label", system=SYSTEM)


def rows(split: Split) -> FileRows:
    """The training rows as OpenThinkIMG asks them."""
    return FileRows("openthinkimg/chartgemma.json", ROWS, split=split, media=MediaOptions(max_side=448))


PAPER = paper(
    TextModel("Qwen/Qwen2-VL-2B-Instruct", max_prompt_tokens=16000, gradient_checkpointing=True),
    rows("train"),
    (ACCURACY,),
    ACCURACY,
    held_out=rows("test"),
    steps=500,
    prompts_per_step=24,
    environment=looking.chart_actions(SERVED),
    sampling=Sampling(max_tokens=2048),
    kl=KL(0.04),
)

RECIPE = Recipe(
    title="OpenThinkIMG: Learning to Think with Images via Visual Tool Reinforcement Learning",
    arxiv="2505.08617",
    kind="understanding",
    change="one JSON action a turn on the newest picture; only the answer of the last turn is paid",
    formulas=(
        "r = 1 if the `ans` of the last turn equals the solution, as maths or word by word",
        "A = (r − mean_group) / (std_group + 1e-4)",
        "loss: mean over rollouts of the mean over tokens of −(A − β k3), observations masked, β = 0.04",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": in_one_turn(TINY),
        "tiny/released": with_stage(TINY, **RELEASED),
        "paper/ablation": in_one_turn(PAPER),
        "paper/released": with_stage(PAPER, **RELEASED),
    },
    claim=Claim("accuracy of values read off charts", baseline="openthinkimg/ablation, which may use no tools"),
    assumptions={
        "tiny.data": "values of bars; a bar's height is plain to see, its value in small print is not",
        "tiny.environment": "the worlds' exact tools in place of models; four rounds are enough for one value",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.model": "the base model; the cold start on a teacher's trajectories is not published",
        "paper.data": "the rows of RL are not published: a file in the layout that the code reads",
        "paper.environment": "OCR and pointing are asked of served models, the boxes of titles are read from a column",
        "paper.kl": "0.04, the library's default, which the command leaves as it is",
        "paper.steps": "one epoch over about 12,000 rows; their number is not given",
        "paper.media": "pictures of at most 448 pixels a side, which is the published 200,000 pixels",
        "paper.ask": "the description of the actions says what the published one says, in words of our own",
    },
)
