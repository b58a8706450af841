"""Chain-of-Focus: zooming is paid by its rank in the group."""

from __future__ import annotations

import pytest
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.data.worlds import pages, turns
from gamutrl.environments.scripted import calls, play
from gamutrl.recipes.cof import FORMAT, RECIPE, RULE, adaptive, layout, zoomed
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

ROW = Prompt.ask("Which digit?", answer="3")
ZOOM = (
    '<think>look</think><tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [0, 0, 9, 9]}}</tool_call>'
)


def ranked(*groups: list[str]) -> list[float]:
    batch = score((RULE, FORMAT), groups_of([ROW] * len(groups), groups), Context())
    return adaptive(batch, Context()).tolist()


def test_zooming_costs_only_where_another_did_without():
    right, wrong = answered("so", "3"), answered("so", "4")
    assert ranked([right, ZOOM + right, ZOOM + wrong, wrong, "4"]) == pytest.approx([1, 0.8, 0.5, 0.1, 0])
    assert ranked([ZOOM + right, ZOOM + wrong, wrong]) == pytest.approx([1, 0.5, 0.1])
    assert ranked([ZOOM + wrong, wrong], [right, right]) == pytest.approx([0.5, 0.1, 1, 1])


def test_a_group_of_one_keeps_its_score():
    assert ranked([ZOOM + answered("so", "3")], [answered("so", "4")]) == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (ZOOM + answered("so", "3"), 1),
        ("<think>so</think> 3", 0),
        ("<answer>3</answer>", 0),
        ("<think>" + answered("so", "3"), 0),
        (answered("so", "word " * 1001), 0),
        (answered("so", "word " * 1000), 1),
    ],
)
def test_the_layout_asks_for_as_many_closing_marks_as_opening_ones(said, value):
    assert layout(said) == value


def test_zooms_are_counted_on_rows_that_need_them_apart_from_others():
    assert zoomed(ZOOM, True, where=True) == 1
    assert zoomed("3", True, where=True) == 0
    assert zoomed(ZOOM, True, where=False) is None
    assert zoomed(ZOOM, None, where=True) is None


def test_the_demonstrated_look_shows_the_digit_enlarged():
    evaluation = RECIPE.tiny.evaluation
    rows = evaluation.prompts()
    assert {row.columns["need"] for row in rows} == {True, False}
    row = next(row for row in rows if row.columns["need"])
    played = play(evaluation.environment, row, 0, pages.demonstrate_turns(row, turns.zoom_call))
    assert [call.error for call in calls(played)] == [None]
    x1, _, x2, _ = played[0][1].info["shown"][0]["box"]
    assert 4.5 * 7 / (x2 - x1) * 72 > pages.LEGIBLE
    (picture,) = (part.value for part in played[0][1].parts if part.is_media)
    assert picture.width == picture.height
    assert played[-1][1].info == {"end": "answer"}


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format"} <= set(lines[0])
    assert {"zoomed_if_needed", "zoomed_if_not"} <= set(run.summary["others"]["after"])
