"""Games, mazes, painted plans, second tries: one rule under all, the same state and luck for a whole group."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from gamutrl.core import Prompt, image
from gamutrl.data.worlds import games, mazes, puzzles, render, rooms
from gamutrl.environments import Budget, planned, planning, playing, proposing, refining
from gamutrl.environments.again import ShowAgain
from gamutrl.environments.within import Within


def answer(value: object) -> str:
    return f"<think>t</think><answer>{value}</answer>"


@pytest.mark.parametrize("task", games.TASKS)
class TestPlaying:
    def test_the_best_move_is_rewarded_and_an_impossible_one_is_not(self, task):
        (row,) = games.rows("train", 1, task=task)
        right = playing.Playing()(row, 0).step(answer(row.answer))
        assert (right.done, right.info["end"]) == (True, "answer")
        assert right.info["reward"] > 0
        wrong = playing.Playing(turns=2)(row, 0).step("no move")
        assert wrong.info["reward"] < 0
        assert wrong.info["state"] == row.columns["state"]
        assert wrong.parts[1].value == "That is no move."

    def test_every_rollout_of_a_group_meets_the_same_luck(self, task):
        (row,) = games.rows("train", 1, task=task)
        one, other = (playing.Playing(turns=3)(row, 5).step(answer(row.answer)) for _ in range(2))
        assert one.info == other.info

    def test_a_game_goes_on_until_it_is_over_or_the_turns_are(self, task):
        (row,) = games.rows("train", 1, 2, task=task, plays=(0, 2))
        episode, game = playing.Playing(turns=6)(row, 0), games.game_of(row)
        board = row.columns["state"]
        for _ in range(6):
            step = episode.step(answer(games.written(games.best(game, board))))
            board = step.info["state"]
            if step.done:
                break
            assert step.parts[0].value.size == (render.SIZE, render.SIZE)
        assert step.done
        assert game.over(board) or step.info["stop"] == "turns"


class TestWalking:
    @pytest.mark.parametrize("kind", mazes.KINDS)
    def test_the_shortest_way_ends_at_the_goal(self, kind):
        (row,) = mazes.rows("train", 1, task="plan", kind=kind)
        episode = playing.Walking()(row, 0)
        *before, last = row.answer.split()
        for move in before:
            step = episode.step(answer(move))
            assert (step.done, step.info["reward"]) == (False, 1.0)
        step = episode.step(answer(last))
        assert (step.done, step.info["stop"], step.info["score"]) == (True, "goal", 1.0)
        assert playing.Walking()(row, 0).step(answer(row.answer)).info["stop"] == "goal"

    def test_a_wall_is_told_or_ends_it(self):
        rows = mazes.rows("train", 20, task="move")
        row = next(row for row in rows if row.columns["start"][0] == 0)
        step = playing.Walking()(row, 0).step(answer("up"))
        assert step.parts[1].value == "You cannot go there."
        assert playing.Walking(strict=True)(row, 0).step(answer("up")).info["stop"] == "lost"

    def test_nothing_said_costs_a_turn(self):
        (row,) = mazes.rows("train", 1, task="move")
        episode = playing.Walking(turns=2)(row, 0)
        assert episode.step("up").info["reward"] == -1
        assert episode.step("").info["stop"] == "turns"


class TestWithin:
    """Any environment ends by the same budgets, and says which."""

    (row,) = mazes.rows("train", 1, task="plan", far=4)

    @pytest.mark.parametrize(
        ("budget", "stop"), [({"turns": 2}, "turns"), ({"turns": None, "pictures": 2}, "pictures")]
    )
    def test_what_is_spent_ends_it(self, budget, stop):
        episode = Within(playing.Walking(), Budget(**budget))(self.row, 0)
        first, *_ = self.row.answer.split()
        step = episode.step(answer(first))
        assert not step.done
        over = episode.step("hm")
        assert (over.done, over.parts, over.info["stop"], over.info["end"]) == (True, (), stop, "budget")
        assert over.info["reward"] == -1

    def test_time_is_up(self):
        episode = Within(playing.Walking(), Budget(turns=None, seconds=10))(self.row, 0)
        assert not episode.step("hm").done
        now = episode.clock()
        episode.clock = lambda: now + 11
        assert episode.step("hm").info["stop"] == "seconds"

    def test_an_end_of_its_own_comes_first_and_the_loop_counts_tokens(self):
        bounded = Within(playing.Walking(), Budget(turns=1, tokens=100))
        assert bounded(self.row, 0).step(answer(self.row.answer)).info["stop"] == "goal"
        assert bounded.tokens == 100
        assert not hasattr(bounded, "makes")
        assert Within(planned.Answer(), Budget()).makes == "text"


@pytest.mark.parametrize(
    "environment",
    [playing.Playing(), playing.Walking(), playing.Rearranging(), planning.Painting(), proposing.Proposing(list)],
)
def test_a_row_of_somewhere_else_is_told_what_it_lacks(environment):
    row = Prompt.ask("?", image(Image.new("RGB", (8, 8))), id="rows:3", colour="red")
    with pytest.raises(ValueError, match=r"Row rows:3 has no column '(facts|query|state)'.*columns: colour"):
        environment(row, 0).step("")


def test_a_person_names_the_move_and_the_frame_is_painted():
    (row,) = mazes.rows("train", 1, task="move", size=4)
    episode = planning.Painting()(row, 0)
    assert episode.painted("I go nowhere") is None
    assert planning.Painting()(row, 0).step(episode.painted(f"go {row.answer}!".replace("!", " "))).info["reward"] == 1


def test_swapping_pieces_makes_the_picture_whole():
    (row,) = puzzles.rows("train", 1, 1, task="full", shape=(2, 2))
    episode, order = playing.Rearranging()(row, 0), list(row.columns["facts"]["order"])
    assert episode.step("<answer>1 9</answer>").info["reward"] == -1
    for place in range(4):
        if order[place] != place:
            other = order.index(place)
            order[place], order[other] = order[other], order[place]
            step = episode.step(answer(f"{place + 1} {other + 1}"))
            assert step.info["reward"] >= 1
    assert (step.done, step.info["score"], step.info["end"]) == (True, 1.0, "answer")


class TestPainting:
    @pytest.mark.parametrize("kind", ["ice", "walls"])
    def test_a_painted_step_nearer_is_worth_one_and_the_next_is_painted_from_it(self, kind):
        for row in mazes.rows("train", 4, task="move", kind=kind, size=4):
            maze, start = row.columns["facts"], tuple(row.columns["start"])
            nearer = mazes.after(maze, start, row.answer)
            frame = render.picture(mazes.draw_maze(maze, nearer))
            step = planning.Painting(turns=9)(row, 0).step(frame)
            assert (step.info["reward"], step.info["move"], step.info["cell"]) == (1.0, row.answer, list(nearer))
            assert step.done or step.context[0].parts[0].value is frame

    def test_a_hole_no_move_and_a_jump_are_worth_minus_five(self):
        (row,) = mazes.rows("train", 1, task="move", size=4)
        maze, start = row.columns["facts"], tuple(row.columns["start"])
        far = next(c for c in mazes._cells(maze) if abs(c[0] - start[0]) + abs(c[1] - start[1]) > 2)
        for cell in (start, far):
            step = planning.Painting(turns=9)(row, 0).step(render.picture(mazes.draw_maze(maze, cell)))
            assert (step.done, step.info["reward"], step.info["stop"]) == (True, -5.0, "lost")

    def test_tokens_are_frames_too(self):
        (row,) = mazes.rows("train", 1, task="move", size=4)
        maze, start = row.columns["facts"], tuple(row.columns["start"])
        nearer = mazes.after(maze, start, row.answer)
        step = planning.Painting()(row, 0).step(mazes.tokens(maze, nearer))
        assert step.info["reward"] == 1.0

    @pytest.mark.parametrize("output", ["up", [1, 2], [3] * 16, [0] * 16, None, Image.new("RGB", (5, 5))])
    def test_what_is_no_frame_is_no_move(self, output):
        (row,) = mazes.rows("train", 1, task="move", size=4)
        assert planning.Painting()(row, 0).step(output).info["reward"] in (-5.0, 0.0, 1.0)
        if not isinstance(output, Image.Image):
            assert planning.Painting()(row, 0).step(output).info["reward"] == -5.0


class TestRefining:
    (row,) = rooms.rows("train", 1, task="place")

    def test_the_next_try_sees_the_last_one_its_grade_and_its_picture(self):
        episode = refining.Refining()(self.row, 0)
        said = answer(
            json.dumps([{"new_object_id": self.row.columns["facts"]["things"][0]["name"], "x": 3, "y": 3, "z": 1}])
        )
        step = episode.step(said)
        assert 0 <= step.info["reward"] < 1
        (message,) = step.context
        assert [part.kind for part in message.parts] == ["image", "text", "image", "text"]
        assert f"{step.info['reward']:.2f}" in message.parts[-1].value
        assert said in message.parts[-1].value

    def test_a_good_layout_ends_it_and_so_do_the_turns(self):
        done = refining.Refining()(self.row, 0).step(answer(self.row.answer))
        assert (done.done, done.info["reward"]) == (True, 1.0)
        episode = refining.Refining(turns=2)(self.row, 0)
        assert not episode.step("nothing").done
        assert episode.step("nothing").done

    @pytest.mark.parametrize("said", ["", "<answer>[</answer>", "<answer>[1, {}]</answer>", "[" * 1_000_000])
    def test_what_is_no_layout_is_graded_nought(self, said):
        assert refining.Refining()(self.row, 0).step(said).info["reward"] == 0


def test_the_picture_is_shown_again_inside_the_turn_at_every_mark():
    prompt = Prompt.ask("?", image(Image.new("RGB", (8, 8))))
    episode = ShowAgain(most=1)(prompt, 0)
    step = episode.step("I see. <REFLECTION>")
    assert (step.role, len(step.parts), step.done) == ("inside", 1, False)
    assert episode.step("so <REFLECTION>").info["stop"] == "pictures"
    assert ShowAgain()(prompt, 0).step("done").done
