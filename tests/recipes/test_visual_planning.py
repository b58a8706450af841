"""Visual Planning: frames painted from frames, read by a rule; random steps first, then progress."""

from __future__ import annotations

import pytest
import torch
from by_hand import short_run

from gamutrl.core import Batch, Context, Prompt, Rollout, Turn
from gamutrl.data.worlds import mazes, render
from gamutrl.environments.planning import Painting, shown_cell
from gamutrl.recipes.visual_planning import RECIPE, NextFrame, exact, invalid, on_the_way, progress
from gamutrl.training.config import from_json, to_json

ROWS = mazes.rows("train", 20, task="plan", far=3)


def painted(row: Prompt, moves: list[str]) -> Rollout:
    """The frames of a walk; a move that cannot be made paints the agent nowhere."""
    episode, at, turns = Painting(turns=0)(row, 0), tuple(row.columns["start"]), []
    for move in moves:
        at = mazes.after(row.columns["facts"], at, move) or at
        step = episode.step(render.picture(mazes.draw_maze(row.columns["facts"], at)))
        turns.append(Turn("", "", torch.zeros(1), torch.zeros(1), info=step.info))
        if step.done:
            break
    return Rollout(row, turns, output=None)


def scores(row: Prompt, moves: list[str]) -> list[float]:
    batch = Batch.of([row], [painted(row, moves)], [0])
    return [float(score(batch, Context())[0]) for score in (progress, exact, on_the_way, invalid)]


def test_a_shortest_way_is_exact():
    for row in ROWS:
        assert scores(row, mazes.shortest(row.columns["facts"])) == [1, 1, 1, 0]


def test_after_a_frame_comes_a_frame():
    for row in ROWS:
        maze, way = row.columns["facts"], mazes.shortest(row.columns["facts"])
        next_cell = mazes.after(maze, tuple(maze["start"]), way[0])
        step = Painting(turns=0)(row, 0).step(render.picture(mazes.draw_maze(maze, next_cell)))
        assert (step.done, step.makes) == (False, "image")


def test_a_frame_that_shows_no_move_ends_a_walk():
    row = ROWS[0]
    maze = row.columns["facts"]
    stuck = next((move for move in mazes.MOVES if mazes.after(maze, tuple(maze["start"]), move) is None), "nowhere")
    assert scores(row, [stuck, *mazes.shortest(maze)]) == [-5, 0, 0, 1]


def test_a_detour_is_valid_and_not_exact():
    for row in ROWS:
        maze = row.columns["facts"]
        start = tuple(maze["start"])
        away = [m for m in mazes.MOVES if m not in row.columns["best"]]
        ends = {m: mazes.after(maze, start, m) for m in away}
        detour = next((m for m, end in ends.items() if end and not mazes.fell(maze, end)), None)
        if detour is not None:
            assert scores(row, [detour])[:2] == [0, 0]
            assert scores(row, [detour])[3] == 0
            return
    pytest.fail("No maze with a detour.")


def test_a_hole_is_no_move():
    for row in ROWS:
        maze = row.columns["facts"]
        fall = next(
            (m for m in mazes.MOVES if (end := mazes.after(maze, tuple(maze["start"]), m)) and mazes.fell(maze, end)),
            None,
        )
        if fall is not None:
            assert scores(row, [fall]) == [-5, 0, 0, 1]
            return
    pytest.fail("No maze with a hole beside its start.")


@pytest.mark.parametrize("best", [False, True])
def test_targets_show_one_valid_step(best):
    for row in ROWS:
        maze = row.columns["facts"]
        start = tuple(maze["start"])
        cells = {shown_cell(maze, start, NextFrame(best)(row, seed)) for seed in range(12)}
        moves = row.columns["best"] if best else mazes.MOVES
        valid = {end for move in moves if (end := mazes.after(maze, start, move)) and not mazes.fell(maze, end)}
        assert cells <= valid
        assert best or len(cells) == len(valid) or len(valid) > 3


def test_rows_are_pictures_without_a_word():
    for row in RECIPE.tiny.evaluation.prompts()[:3]:
        assert [part.kind for part in row.parts()] == ["image"]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    from gamutrl.zoo import janus, maze
    from gamutrl.zoo.writing import export

    torch.set_num_threads(1)
    tokenizer = janus.build_tokenizer(["the next frame"] * 40)
    export(maze.build_model(tokenizer), maze.build_processor(tokenizer), tmp_path / "model")
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", tmp_path / "model")
    assert "reward/progress" in lines[0]
