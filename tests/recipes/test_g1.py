"""G1: rewards for the move, the board read and the layout; a cold start on true boards."""

from __future__ import annotations

import pytest
from by_hand import groups_of, random_model, short_run

from gamutrl.core import Context
from gamutrl.data.worlds import games
from gamutrl.recipes.g1 import RECIPE, perceived, played, read_right, scored, tagged
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json

ROW = games.rows("train", 1, 5, task="2048", size=3, form="perception", telling=True)[0]
BAD = next(move for move in "0123" if move not in ROW.columns["good"])


def reply(move: str, board: str = ROW.columns["perception"]) -> str:
    return f"<perception>{board}</perception>\n<think></think><answer>{move}</answer>"


@pytest.mark.parametrize(
    ("said", "game", "seen", "layout"),
    [
        (reply(ROW.columns["good"][0]), 1, 1, 1),
        (reply(BAD), -1, 1, 1),
        (reply("7"), -1, 1, 1),
        (reply("none"), -1, 1, 1),
        (reply(ROW.columns["good"][0], " - | - "), 1, 0, 1),
        (f"<answer>{ROW.columns['good'][0]}</answer>{ROW.columns['perception']}", 1, 1, 0),
        ("", -1, 0, 0),
    ],
)
def test_what_a_reply_is_worth(said, game, seen, layout):
    facts, state = ROW.columns["facts"], ROW.columns["state"]
    assert played(said, facts, state) == game
    assert scored(said, facts, state) == (game + 1) / 2
    assert perceived(said, ROW.columns["perception"]) == seen
    assert tagged(said) == layout


def test_rewards_are_summed_and_a_group_is_judged_from_one_state():
    good = ROW.columns["good"][0]
    stage = RECIPE.tiny.stages[-1]
    batch = score(stage.rewards, groups_of([ROW], [[reply(good), reply(BAD), reply(good, "?"), ""]]), Context())
    assert weighted_sum(batch, Context()).tolist() == [3, 1, 2, -1]


def test_the_cold_start_is_worth_all_there_is():
    rows = games.rows("train", 20, 3, task="2048", size=3, form="perception", telling=True)
    batch = score(RECIPE.tiny.stages[-1].rewards, groups_of(rows, [[read_right(row, 0)] for row in rows]), Context())
    assert weighted_sum(batch, Context()).tolist() == [3.0] * 20


@pytest.mark.parametrize("task", ["match", "link"])
def test_pairs_of_cells_are_moves_too(task):
    (row,) = games.rows("train", 1, 1, task=task, form="perception")
    facts, state = row.columns["facts"], row.columns["state"]
    assert played(read_right(row, 0), facts, state) == 1
    assert played(reply("(9, 9) (0, 0)"), facts, state) == -1


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/game", "reward/perception", "reward/format"} <= set(lines[0])
