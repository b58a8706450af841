"""The rules of the games, by hand."""

from hypothesis import given
from hypothesis import strategies as st

from gamutrl.data.worlds import boards
from gamutrl.environments import games

states = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=4, max_size=4)


def tiles(board):
    return sum(2**cell for row in board for cell in row if cell)


class Test2048:
    def test_tiles_slide_to_the_wall_and_equal_neighbours_merge_once_from_the_wall_on(self):
        assert boards.slide([[0, 1, 1, 1]], boards.LEFT) == ([[2, 1, 0, 0]], 4)
        assert boards.slide([[0, 1, 1, 1]], boards.RIGHT) == ([[0, 0, 1, 2]], 4)

    def test_a_merged_tile_does_not_merge_again(self):
        assert boards.slide([[1, 1, 2, 0]], boards.LEFT) == ([[2, 2, 0, 0]], 4)

    def test_columns_move_up_and_down(self):
        assert boards.slide([[1], [0], [1]], boards.UP)[0] == [[2], [0], [0]]
        assert boards.slide([[1], [0], [1]], boards.DOWN)[0] == [[0], [0], [2]]

    @given(states, st.integers(0, 3))
    def test_sliding_keeps_the_sum_of_tiles_and_scores_what_it_merged(self, board, direction):
        moved, score = boards.slide(board, direction)
        assert tiles(moved) == tiles(board)
        assert (score > 0) == (sum(c > 0 for row in moved for c in row) < sum(c > 0 for row in board for c in row))

    @given(states)
    def test_it_is_over_when_no_direction_changes_a_full_board(self, board):
        moves = any(boards.slide(board, direction)[0] != board for direction in range(4))
        full = all(cell for row in board for cell in row)
        assert boards.is_over(board) == (full and not moves)


class TestMatchThree:
    def test_only_runs_of_three_in_a_row_or_column_match(self):
        assert boards.matches(["aab", "aba", "abb"]) == {(0, 0), (1, 0), (2, 0)}
        assert boards.matches(["aab", "bba"]) == set()

    def test_a_swap_that_matches_nothing_is_no_move(self):
        assert boards.swap(["aab", "bba", "aab"], (0, 0), (0, 1)) == (set(), 0)

    def test_a_swap_removes_what_it_lines_up(self):
        assert boards.swap(["aba", "cab", "bbc"], (0, 1), (1, 1)) == ({(0, 0), (0, 1), (0, 2)}, 6)

    def test_cells_that_are_no_neighbours_cannot_be_swapped(self):
        assert boards.swap(["aaa", "bbb"], (0, 0), (1, 1)) == (set(), 0)
        assert boards.swap(["aaa"], (0, 0), (-1, 0)) == (set(), 0)


class TestShisenSho:
    BOARD = (("a", "b", "a"), ("c", None, "c"), ("b", "d", "d"))

    def test_a_path_may_run_round_the_board(self):
        assert boards.can_connect(self.BOARD, (0, 0), (0, 2))

    def test_neighbours_connect(self):
        assert boards.can_connect(self.BOARD, (2, 1), (2, 2))

    def test_a_straight_line_of_empty_cells_connects(self):
        assert boards.can_connect(self.BOARD, (1, 0), (1, 2))

    def test_unequal_tiles_empty_cells_and_the_tile_itself_do_not(self):
        assert not boards.can_connect(self.BOARD, (0, 0), (0, 1))
        assert not boards.can_connect(self.BOARD, (1, 1), (1, 1))
        assert not boards.can_connect(self.BOARD, (0, 0), (0, 0))

    def test_three_turns_are_one_too_many(self):
        board = (("b", "a", "b"), ("b", "b", "b"), ("b", "a", "b"))
        assert boards.can_connect(board, (0, 1), (2, 1)) is False
        assert boards.can_connect(board, (0, 1), (2, 1), turns=4)


def test_moves_are_read_from_the_first_answer_alone():
    assert games.move_in("3 <answer>(2) down, not 1</answer><answer>0</answer>") == 2
    assert games.move_in("3") == games.move_in("<answer>9</answer>") == boards.STAY


def test_a_pair_of_cells_is_a_number_in_the_boards_base():
    assert games.cells_code("<answer>(1, 2) (3, 4)</answer>", 10, -1) == 1234
    assert games.cells_code("<answer>7</answer>", 10, -1) == 7777
    assert games.cells_code("no", 10, -1) == -1
