"""The search stage: trees of turns grow where answers are right; wrong ways are kept with a turning back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, Rollout, Turn, image
from gamutrl.data.sources import InMemory
from gamutrl.data.writer import append_rows
from gamutrl.environments import looking
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.collect import Product, source_of
from gamutrl.training.session import Session
from gamutrl.training.tree_search import Node, TreeSearch

ROWS = [Prompt.ask("Where?", image(Image.new("RGB", (100, 100))), answer="here", id=f"row{k}") for k in range(2)]
RIGHT = Reward("accuracy", per_rollout(accuracy, compare=same_text))
BOX = replace(looking.points(half=10, side=20), prefill="")


def look(x: int) -> str:
    call = json.dumps({"name": "search_coordinate", "arguments": {"coordinate": [x, 5]}})
    return f"<think>look</think><tool_call>{call}</tool_call>"


def looked(messages) -> list[int]:
    said = "".join(message.text for message in messages if message.role == "assistant")
    return [int(x) for x in re.findall(r"\[(\d+), 5\]", said)]


class Explorer:
    """Looks at 0, 20 or 40 (its k-th sample at the k-th), then answers: rightly if it ever looked at 40."""

    def __init__(self) -> None:
        self.contexts: list[list[int]] = []

    def rollout(self, prompts, group_size, environment, sampling, *, seed):
        rollouts, places = [], []
        for p, prompt in enumerate(prompts):
            for k in range(group_size):
                episode, turns, seen = environment(prompt, 0), [], looked(prompt.messages)
                self.contexts.append(seen)
                while True:
                    here = "here" if 40 in seen else "there"
                    words = f"<think>so</think><answer>{here}</answer>" if seen else look(20 * k)
                    seen = [*seen, 20 * k]
                    step = episode.step(words)
                    turns.append(self.turn(words, step))
                    if step.done:
                        break
                rollouts.append(Rollout(prompt, turns, "answer", turns[-1].text))
                places.append(p)
        return Batch.of(prompts, rollouts, places)

    def state_dict(self):
        return {}

    def turn(self, words, step):
        none = torch.zeros(0)
        return Turn(words, words, none.long(), none, info=step.info, observation=step.parts, calls=step.calls)


STAGE = TreeSearch(InMemory(ROWS), RIGHT, "chains", BOX, rows=2, prompts_per_step=2, simulations=3)


@pytest.fixture
def tree():
    root, policy = Node(ROWS[0]), Explorer()
    for walk in range(STAGE.simulations):
        STAGE.simulate(policy, [STAGE.leaf(root)], Context(models={"policy": policy}), walk)
    return root


def test_every_node_knows_what_its_continuations_were_worth(tree):
    assert [child.said for child in tree.children] == [(look(0),), (look(20),), (look(40),)]
    assert [child.value for child in tree.children[:2]] == [0, 0]
    assert tree.children[2].value == 1
    assert tree.visits == sum(child.visits for child in tree.children)
    assert tree.value == pytest.approx(sum(child.value * child.visits for child in tree.children) / tree.visits)


def test_the_search_goes_where_answers_are_right(tree):
    assert STAGE.leaf(tree) in [tree.children[2], *tree.children[2].children]


def test_right_paths_are_kept_and_wrong_ones_with_a_turning_back(tree):
    direct, mended = STAGE.paths(tree)[:2]
    assert direct == [look(40), "<think>so</think><answer>here</answer>"]
    assert mended[0] in (look(0), look(20))
    assert mended[1] == look(40).replace("<think>", "<think>This seems off. Look somewhere else. ")
    assert mended[2:] == direct[1:]


def test_turns_that_a_conversation_went_through_are_its_context():
    policy, root = Explorer(), Node(ROWS[0])
    context = Context(models={"policy": policy})
    STAGE.simulate(policy, [root], context, 0)
    assert policy.contexts == [[]] * 3 + [[0], [0], [20], [20], [40], [40]]


def test_siblings_with_one_aim_are_one():
    root = Node(ROWS[0])
    replace(STAGE, aim=lambda turn: "same").simulate(Explorer(), [root], Context(), 0)
    assert [child.said for child in root.children] == [(look(0),)]


def test_what_cannot_be_played_is_not_kept():
    short = replace(STAGE, environment=replace(BOX, budget=replace(BOX.budget, turns=2)))
    root = Node(ROWS[0])
    for walk in range(2):
        short.simulate(Explorer(), [short.leaf(root)], Context(), walk)
    assert short.paths(root) == [[look(40), "<think>so</think><answer>here</answer>"]]


def test_the_stage_writes_rows_to_imitate(tmp_path):
    session = Session(tmp_path, {"policy": Explorer()})
    STAGE.run(session)
    rows = source_of(Product("chains"), session).batch(0, 4, 0)
    assert {row.columns["turns"][-1] for row in rows} == {"<think>so</think><answer>here</answer>"}
    assert {row.answer for row in rows} == {"here"}
    assert rows[0].media[0].value.size == (100, 100)


def test_rows_that_a_killed_run_left_behind_are_not_counted(tmp_path):
    append_rows(tmp_path / "products" / "chains.parquet", ROWS[:1], part=7)
    STAGE.run(Session(tmp_path, {"policy": Explorer()}))
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["rows/total"] for line in told] == list(accumulate(line["rows/kept"] for line in told))


def test_what_no_stage_collected_cannot_be_drawn_from(tmp_path):
    with pytest.raises(RuntimeError, match="kept any row as 'chains'"):
        source_of(Product("chains"), Session(tmp_path, {}))
    with pytest.raises(RuntimeError, match="in that run"):
        Product("chains").batch(0, 1, 0)
