"""Judges' replies, comparisons and pairs."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.metrics import mentions, preferences
from gamutrl.rewards import (
    boxes3d,
    charts,
    edits,
    grounding,
    judging,
    named,
    pairs,
    parsing,
    paths,
    retrieval,
    thoughts,
    tools,
)
from gamutrl.rewards import final_answers as final
from gamutrl.rewards import tournament as cup


class TestJudges:
    def test_a_verdict_stands_behind_its_marker_or_alone(self):
        assert judging.verdict("0? Judgement: 1")
        assert judging.verdict(" 1 ")
        assert not judging.verdict("it is 1")

    def test_true_and_false_together_are_neither(self):
        assert judging.true_or_false("true or FALSE") is None
        assert judging.true_or_false("it is not. ## Equivalence Judgement\nTRUE") is True

    def test_scores_are_read_behind_their_label(self):
        assert judging.labelled_score("Final Score: 3.5/5", "Final Score:", "1-5") == 3.5
        assert judging.labelled_score("Final Score: 7", "Final Score:", "1-5") is None
        assert judging.labelled_score("S: 1 S: 2", "S:", which="last") == 2
        assert judging.grade_after('{"score": 0.8}') == 0.8


class TestTournament:
    def test_the_best_of_three_wins_all_its_pairs(self):
        assert cup.win_rates(3, [0.0, 1.0, 1.0]) == [0.5, 1.0, 0.0]

    @given(st.integers(2, 6), st.randoms(use_true_random=False))
    def test_rates_average_one_half(self, count, rng):
        shares = [rng.choice([0.0, 0.5, 1.0]) for _ in range(count * (count - 1) // 2)]
        assert sum(cup.win_rates(count, shares)) == pytest.approx(count / 2)

    def test_one_that_was_compared_with_nobody_has_no_rate(self):
        assert cup.win_rates(3, [1.0, None, None]) == [1.0, 0.0, None]

    @pytest.mark.parametrize(("text", "winner"), [("Image 1", 1), ("video2", 2), ("image 1 or 2, image 2", None)])
    def test_a_winner_is_named_alone(self, text, winner):
        assert cup.named_winner(text) == winner


class TestPairs:
    def test_a_gap_must_be_wide_enough(self):
        assert pairs.preferred(2.0, 0.0, threshold=0.5) == 1
        assert pairs.preferred(0.0, 2.0, threshold=0.5) == 0
        assert pairs.preferred(0.1, 0.0, threshold=0.5) == 0.5

    def test_dominance_needs_no_worse_part(self):
        assert pairs.dominance([1, 2], [1, 1]) == 1 == -pairs.dominance([1, 1], [1, 2])
        assert pairs.dominance([2, 1], [1, 2]) == pairs.dominance([1], [1]) == 0

    def test_chosen_and_rejected_are_also_well_and_badly_grounded(self):
        assert pairs.both_good_and_bad([1, 1, 0, 0], [0.7, 0.9, 0.5, 0.1]) == (1, 3)
        assert pairs.both_good_and_bad([0.5, 0.5], [0.9, 0.1]) is None
        assert pairs.both_good_and_bad([], []) is None

    def test_no_more_pairs_are_kept_than_asked_for(self):
        rng = Random(0)
        assert len(pairs.all_pairs("abc", "xyz", most=4, rng=rng, skip=lambda a, b: False)) == 4
        assert pairs.all_pairs("ab", "ab", most=9, rng=rng, skip=str.__eq__) == [("a", "b"), ("b", "a")]


def test_a_path_is_judged_at_its_first_clear_picture():
    blurred, good, bad = paths.Look("no", "yes", 0.1), paths.Look("yes", "yes", 0.2), paths.Look("yes", "no", 0.9)
    assert paths.path_verdict([blurred, good, bad]) == (True, 0.2, 1, 2)
    assert paths.path_verdict([blurred]) == (False, 1.0, None, 1)
    assert paths.chosen_path([True, False, True], [0, 0, 0], [0.5, 0.9, 0.7]) == 2
    assert paths.chosen_path([False, False], [0.9, 0.2], [1, 0]) == 1


class TestTools:
    def test_curiosity_is_paid_while_few_of_the_group_are_curious(self):
        calls, group = torch.tensor([1, 0, 0, 0, 1, 1, 0, 0]), torch.tensor([0] * 4 + [1] * 4)
        bonus = tools.curiosity_bonus(calls, group)
        assert bonus.tolist() == pytest.approx([0.25 * 0.05 / 0.5, 0, 0, 0, 0, 0, 0, 0])

    def test_calls_beyond_the_free_one_cost(self):
        assert tools.call_penalty(torch.tensor([0, 1, 3])).tolist() == pytest.approx([0, 0, -0.1])

    def test_tools_that_mislead_cost(self):
        assert [tools.gain(*case) for case in ((True, True), (False, True), (True, False), (False, False))] == [
            1,
            1,
            -0.5,
            0,
        ]


class TestRetrieval:
    def test_right_pages_first_are_ideal(self):
        assert retrieval.ndcg(["a", "b", "x"], ["a", "b"]) == pytest.approx(1)
        assert retrieval.ndcg(["x"], ["a"]) == retrieval.ndcg([], []) == 0

    @given(st.permutations(["a", "b", "x", "y"]))
    def test_no_order_is_better_than_right_pages_first(self, order):
        assert 0 < retrieval.ndcg(order, ["a", "b"]) <= 1


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        ("10.4", "10", 1),
        ("10.6", "10", 0),
        ("about 10%", "10", 1),
        ("[b, a]", "[a, b]", 1),
        ("3:4", "75%", 0),
        ("", "0", 0),
    ],
)
def test_charts_forgive_five_percent(said, true, right):
    assert charts.relaxed_match(said, true) == right


class TestFinalAnswers:
    def test_a_marked_answer_ends_a_chain_of_thought(self):
        assert final.final_answer("a\nb\nFinal answer: 7") == ("a\nb", "7", "")
        assert final.final_answer("Final answer: 7").fault == "misplaced"
        assert final.final_answer("a\nb\nc").fault == "unmarked"

    def test_graders_see_past_spelling(self):
        assert final.same_words("The two cats!", "2 cats") == 1
        assert final.same_option("(B) a dog", "B") == 1
        assert final.near_number("100.05", "100") == 1 > final.near_number("100.2", "100")

    def test_a_right_answer_is_cut_to_the_truth(self):
        assert final.tidied("a\nFinal answer: B. dog", "B. dog", "B") == "a\nFinal answer: B"
        assert final.tidied("a\nFinal answer: cat", "cat", "A") == "a\nFinal answer: cat"


class TestThoughts:
    good = (
        "<think>First I look at the table by the wall. Then I look at each of the chairs that stand around it, one "
        "after another, and at their colours in turn. Finally the chair by the window is the brown one.</think>"
        "<answer>by the window</answer>"
    )

    def test_a_trace_that_steps_to_its_answer_is_kept(self):
        assert thoughts.trace_fault(self.good, "Which chair is brown?", "by the window", answer_words=1) == ("ok", 1.0)

    def test_a_fault_has_a_name(self):
        fault = thoughts.trace_fault(self.good, "Which chair is brown?", "under a lamp", answer_words=1)[0]
        assert fault == "low_similarity"
        assert thoughts.trace_fault("no", "?", "")[0] == "format_missing"
        assert thoughts.trace_fault(self.good, "Xyz?", "by the window", answer_words=1)[0] == "final_step_no_target_ref"


def test_only_what_was_replaced_is_changed():
    assert edits.changed_positions([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 9, 9, 5, 6, 7]) == ([3], [3, 4])
    assert edits.changed_positions([1, 2, 3], [1, 2, 3, 4]) == ([], [])
    assert edits.weights(4, [2], 5.0) == [1.0, 5.0, 1.0]


def test_boxes_in_space_score_by_their_best_counterpart():
    text = "box: [0,0,0,1,1,1] and box: [9,9,9,10,10,10]"
    assert boxes3d.best_overlap(text, [[0, 0, 0, 1, 1, 2]]) == pytest.approx(0.25)
    assert len({tuple(corner) for corner in boxes3d.corners([0, 0, 0, 1, 2, 3])}) == 8


def test_every_true_name_counts_alike():
    cat, cats = parsing.Detection((0, 0, 10, 10), "cat"), parsing.Detection((0, 0, 10, 5), "cat")
    dog = parsing.Detection((0, 0, 4, 4), "dog")
    assert named.named_boxes_score([cat], [cat, cats, dog]) == pytest.approx(0.75 / 2)
    assert named.named_boxes_score([], []) == 1
    assert named.named_spans_score({"a": [(0, 2)]}, {"a": [(1, 3)], "b": [(0, 1)]}) == pytest.approx(1 / 6)


class TestAgreement:
    def test_decided_labels_are_right_by_their_sign(self):
        assert preferences.accuracy([1, -1, 0], [0.5, 0.5, 9.0]) == 0.5
        assert preferences.accuracy([0], [1.0]) is None

    def test_a_threshold_makes_small_margins_ties(self):
        assert preferences.accuracy_with_ties([1, 0], [0.9, 0.1]) == 1


class TestCounting:
    def test_finding_all_but_counting_wrong_costs(self):
        assert named.counted(1.0, 2, 2) == 1
        assert named.counted(1.0, 3, 2) == pytest.approx(0.5**0.5)
        assert named.counted(1.0, 5, 2) == 0

    def test_frames_without_either_count_as_missed(self):
        box = [0, 0, 10, 10]
        assert named.counted_in_frames([(0, box)], [(0, box), (1, box)]) == 0.5
        assert named.clusters_score([[0.2, 0.9], [0.8, 0.3]], 2) == pytest.approx(0.85)


class TestGrounding:
    def test_a_box_and_points_in_place_earn_all(self):
        assert grounding.box_nearness([0, 0, 9, 9], [0, 0, 9, 9]) == pytest.approx(2.4)
        assert grounding.points_nearness([[5, 5], [1, 1]], [[1, 1], [5, 5]]) == 1

    def test_nearness_falls_to_the_limit(self):
        assert [grounding.within(d, 30, 10) for d in (5, 20, 40)] == [1, 0.5, 0]


class TestMentions:
    def test_a_name_is_itself_missed_or_not_said(self):
        assert mentions.named_in("<Anya> and (Cat)!", ["Anya", "Bond"], {"Anya", "Bond", "Cat"}) == ["Anya", "MISS"]
        assert mentions.named_in("a girl", ["Anya"], {"Anya"}) == [None]

    def test_what_is_not_said_costs_recall_alone(self):
        assert mentions.precision_recall_f1(["a", None], ["a", "b"]) == (1.0, 0.5, pytest.approx(2 / 3))
