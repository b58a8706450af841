"""Rooms, drawings, calls and transcripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.data.worlds import furniture
from gamutrl.environments import calls, drawings, search, transcripts, views

ROOM = (6.0, 5.0, 3.0)


def thing(name, size, position=None, angle=0.0, **more):
    return furniture.Thing(name, size, position, angle, **more)


class TestRooms:
    table = thing("table", (2.0, 1.0, 0.8), (3.0, 2.5, 0.4))

    def test_a_lamp_on_a_table_stands_on_its_top_within_its_edges(self):
        lamp = thing("lamp", (0.2, 0.2, 0.4))
        x, y, z = furniture.allowed(lamp, self.table, "on", True, ROOM)
        assert x == pytest.approx((2.1, 3.9))
        assert y == pytest.approx((2.1, 2.9))
        assert z == pytest.approx((1.0, 1.0))

    def test_a_chair_left_of_a_table_touches_it_where_they_are_adjacent(self):
        chair = thing("chair", (0.5, 0.5, 1.0), on_floor=True)
        x, y, z = furniture.allowed(chair, self.table, "left of", True, ROOM)
        assert x == pytest.approx((1.75, 1.75))
        assert y == pytest.approx((2.25, 2.75))
        assert z == (0.5, 0.5)

    def test_left_turns_with_the_reference(self):
        chair = thing("chair", (0.5, 0.5, 1.0), on_floor=True)
        turned = thing("table", (2.0, 1.0, 0.8), (3.0, 2.5, 0.4), 180)
        x, _, _ = furniture.allowed(chair, turned, "left of", True, ROOM)
        assert x == pytest.approx((4.25, 4.25))

    def test_a_relation_or_an_angle_without_a_rule_is_refused(self):
        with pytest.raises(ValueError, match="beyond"):
            furniture.allowed(self.table, self.table, "beyond", True, ROOM)
        with pytest.raises(ValueError, match="angle"):
            furniture.allowed(self.table, thing("t", (1, 1, 1), (1, 1, 1), 45), "on", True, ROOM)

    def test_things_collide_that_share_space_but_not_those_that_touch(self):
        one, touching, inside = (thing(str(x), (1, 1, 1), (x, 1, 0.5)) for x in (1.0, 2.0, 1.5))
        assert not furniture.collide(one, touching)
        assert furniture.collide(one, inside)

    def test_a_rug_collides_with_nothing(self):
        rug = thing("rug", (4.0, 4.0, 0.01), (1, 1, 0.005))
        assert not furniture.collide(rug, thing("sofa", (1, 1, 1), (1, 1, 0.5)))

    def test_one_relation_that_holds_is_enough_and_none_is_none(self):
        lamp = thing(
            "lamp", (0.2, 0.2, 0.4), (3, 2.5, 1.0), relations=(("under", "table", True), ("on", "table", True))
        )
        things = {"table": self.table}
        assert furniture.is_placed(lamp, things, ROOM)
        assert not furniture.is_placed(thing("lamp", (0.2, 0.2, 0.4), (3, 2.5, 1.0)), things, ROOM)


class TestDrawings:
    def test_a_new_picture_has_what_was_on_the_old_with_its_labels_replaced(self):
        cup, other = {"label": "cup", "bbox_2d": [1, 2, 3, 4]}, {"label": "cup", "bbox_2d": [5, 6, 7, 8]}
        dog = {"label": "dog", "bbox_2d": [0, 0, 1, 1]}
        assert drawings.drawn({0: [cup, dog]}, [other], 0, 1) == {0: [cup, dog], 1: [dog, other]}

    def test_a_box_drawn_elsewhere_is_a_second_look(self):
        one, two = (
            drawings.drawing_in(f'```json\n[{{"index": 1, "bbox_2d": {box}, "label": "cup"}}]\n```')
            for box in ("[1, 2, 3, 4]", "[1, 2, 3, 5]")
        )
        assert drawings.redraws([one, two])
        assert not drawings.redraws([one, one])


class TestCalls:
    def test_an_action_list_is_read_wherever_it_stands(self):
        text = 'so {"thought": "t", "actions": [{"name": "OCR", "arguments": {"image": "a"}}]} done'
        assert calls.action_list(text) == [calls.ToolCall("OCR", {"image": "a"})]

    def test_a_list_with_something_else_in_it_is_none(self):
        assert calls.action_list('"actions": [{"name": "OCR", "arguments": {}}, 1]') is None
        assert calls.action_list('"actions": []') is None

    @given(st.text("{}[]a", max_size=30))
    def test_groups_are_balanced(self, text):
        for start, end in calls.groups(text, "{}", 9):
            group = text[start:end]
            assert (group[0], group[-1]) == ("{", "}")
            assert group.count("{") == group.count("}")

    def test_choices_are_numbers_below_so_many(self):
        assert calls.integers_chosen("3, 1, 3, 12", 9) == [3, 1]
        assert calls.integers_chosen("3, 12", 9, strict=True) is None
        assert calls.integers_chosen("a, 1", 9) is None


def test_what_a_user_said_is_not_the_policys_own():
    text = "ab\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\ncd"
    assert "".join(c for c, own in zip(text, transcripts.own_characters(text)) if own) == "abcd"


def test_blocks_are_kept_and_the_rest_dropped():
    assert transcripts.kept_blocks("a <think>b</think> c <search>d</search>") == "<think>b</think>\n<search>d</search>"
    assert transcripts.first_action("<think><search> d </search></think>") == ("search", "d")


def test_a_branch_seen_less_is_more_worth_a_look():
    assert search.upper_confidence(0.5, 1, 10) > search.upper_confidence(0.5, 5, 10) > 0.5


def test_the_best_views_come_first_and_equal_ones_in_their_order():
    assert views.best([1, 3, 2, 3], 3) == [1, 3, 2]
    assert views.thinned_halves(16) == [0, 2, 4, 6, 8, 10, 12, 14]
