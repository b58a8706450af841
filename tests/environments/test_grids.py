"""Walks on grids, and moves read from pictures of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.data.worlds import grids
from gamutrl.environments import frames

OPEN = {"north": False, "south": False, "west": False, "east": False}


def test_a_move_goes_to_a_neighbour():
    assert grids.move_between((1, 1), (0, 1)) == "up"
    assert grids.move_between((1, 1), (1, 0)) == "left"
    assert grids.move_between((1, 1), (1, 1)) == grids.move_between((1, 1), (2, 2)) == "invalid"


def test_a_wall_of_the_cell_left_stops_a_move():
    walls = [[{**OPEN, "east": True}, OPEN]]
    assert grids.move_between((0, 0), (0, 1), walls) == "invalid"
    assert grids.move_between((0, 1), (0, 0), walls) == "left"


def test_handling_is_done_on_the_spot():
    assert grids.move_or_handle((0, 0), (0, 0), True, True) == "pick"
    assert grids.move_or_handle((0, 0), (0, 1), True, False) == "invalid"
    assert grids.move_or_handle((0, 0), (0, 0), False, False) == "invalid"


def square(size):
    def neighbours(cell):
        steps = ((cell[0] + down, cell[1] + right) for down, right in grids.STEPS)
        return [(r, c) for r, c in steps if 0 <= r < size and 0 <= c < size]

    return neighbours


@given(st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_without_walls_the_distance_is_the_number_of_rows_and_columns(goal):
    distance = grids.distances(goal, square(5))
    assert distance == {(r, c): abs(r - goal[0]) + abs(c - goal[1]) for r in range(5) for c in range(5)}


def test_a_step_is_worth_what_it_brings():
    distance = grids.distances((0, 0), square(3))
    assert grids.step_reward((1, 1), (0, 1), distance) == 1
    assert grids.step_reward((1, 1), (2, 1), distance) == 0
    assert grids.step_reward((1, 1), (2, 2), distance) == grids.step_reward((0, 0), (-1, 0), distance) == -5


def test_an_errand_heads_for_the_place_that_makes_the_whole_way_shortest():
    cells = square(5)
    to_pick = {cell: grids.distances(cell, cells) for cell in ((0, 0), (4, 4))}
    to_drop = {(4, 3): grids.distances((4, 3), cells)}
    assert grids.errand_reward((2, 2), (3, 2), "down", to_pick, to_drop, carrying=False) == 1
    assert grids.errand_reward((2, 2), (1, 2), "up", to_pick, to_drop, carrying=False) == 0
    assert grids.errand_reward((4, 4), (4, 4), "pick", to_pick, to_drop, carrying=False) == 1
    assert grids.errand_reward((4, 4), (4, 3), "left", to_pick, to_drop, carrying=True) == 1


def picture(cells, agent, size=32):
    """A bright board with an agent drawn as a dark cross in its cell."""
    frame = np.full((size, size), 240.0)
    side = size // cells
    if agent is not None:
        top, left = agent[0] * side, agent[1] * side
        frame[top + 2 : top + side - 2, left + side // 2] = 20
        frame[top + side // 2, left + 2 : left + side - 2] = 20
    return frame


@pytest.mark.parametrize("end", [(0, 1), (2, 1), (1, 0), (1, 2), (1, 1), (3, 3)])
def test_the_agent_is_found_where_it_was_drawn(end):
    before, after = (frames.patches(picture(4, cell), 4) for cell in ((1, 1), end))
    assert frames.agent_cell(before, after, (1, 1), (0, 3)) == end
    if end != (1, 1):
        assert frames.agent_cell_by_threshold(before, after, (1, 1), (0, 3), leaving=False) == end


def test_an_agent_that_hides_in_the_target_has_reached_it():
    before, after = (frames.patches(picture(4, cell), 4) for cell in ((1, 1), None))
    after[1, 2] = 100
    assert frames.agent_cell(before, after, (1, 1), (1, 2)) == (1, 2)
