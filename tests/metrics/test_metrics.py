"""What is measured over a whole held-out set."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.core import Call, Prompt, Rollout, Turn
from gamutrl.metrics import agreement, behaviour, blind, intervals
from gamutrl.rewards.parsing import Detection


def exact(answer, row):
    return float(answer == row.answer)


ROWS = [Prompt.ask(question, answer=answer) for question, answer in [("a", 1), ("a", 1), ("a", 2), ("b", 3), ("b", 3)]]


def test_a_policy_that_does_not_look_gets_the_best_constant_and_the_best_answer_per_text():
    answer, values = blind.best_constant(ROWS, [1, 2, 3], exact)
    assert (answer, values) == (1, [1, 1, 0, 0, 0])
    assert blind.text_only(ROWS, exact) == [1, 1, 0, 1, 1]
    assert math.isnan(blind.text_only(ROWS, exact, seen=ROWS[:3])[3])
    with pytest.raises(ValueError, match="candidates"):
        blind.best_constant(ROWS, [], exact)


def test_classes_count_equally_where_asked():
    given_labels, truth = ["a"] * 4, ["a", "a", "a", "b"]
    assert agreement.accuracy(given_labels, truth) == 0.75
    assert agreement.average_recall(given_labels, truth) == 0.5
    assert agreement.macro_f1(given_labels, truth) == pytest.approx((6 / 7) / 2)
    assert agreement.set_f1([{"x", "y"}, set()], [{"x"}, {"z"}]) == 0.5


def test_correlations_leave_out_rows_without_a_score():
    assert agreement.rank_correlation([1, 2, 4, math.nan], [1, 2, 3, 0]) == pytest.approx(1)
    assert agreement.linear_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(agreement.rank_correlation([1, 1, 1], [1, 2, 3]))


def test_average_precision_keeps_images_apart():
    one, other = Detection((0, 0, 10, 10), "cat"), Detection((50, 50, 60, 60), "cat")
    assert agreement.detection_precision([[one], [other]], [[one], [other]]) == pytest.approx(1)
    assert agreement.detection_precision([[other], [one]], [[one], [other]]) == 0


def test_a_collapse_shows_in_the_distribution_of_answers():
    assert behaviour.distribution(["1", "1", "2"], most=1) == {"1": 2 / 3}
    assert behaviour.entropy(["1"] * 5) == 0
    assert behaviour.entropy(["1", "2"]) == pytest.approx(math.log(2))
    assert behaviour.distinct_share(["1", "1"]) == 0.5


def test_tools_and_ends():
    def rollout(*calls, end="eos"):
        return Rollout(ROWS[0], [Turn("t", "t", torch.arange(2), torch.zeros(2), calls=calls)], end=end)

    rollouts = [rollout(Call("crop", {})), rollout(Call("crop", {}, error="no box")), rollout(end="length")]
    assert behaviour.tool_rate(rollouts) == pytest.approx(1 / 3)
    assert behaviour.tool_rate(rollouts, "draw") == 0
    assert behaviour.end_rates(rollouts) == {"eos": 2 / 3, "length": 1 / 3}
    assert behaviour.stop_rates(rollouts) == {"eos": 2 / 3, "length": 1 / 3}
    rollouts[0].info["stop"] = "tokens"
    assert behaviour.stop_rates(rollouts)["tokens"] == 1 / 3
    assert behaviour.mean_where(rollouts, lambda r: r.length, [True, False, True]) == 2


def test_what_a_step_logs_of_episodes():
    def rollout(turns, *calls, stop=""):
        said = [Turn("t", "t", torch.arange(2), torch.zeros(2)) for _ in range(turns - 1)]
        last = Turn("t", "t", torch.arange(2), torch.zeros(2), calls=calls, info={"stop": stop} if stop else {})
        return Rollout(ROWS[0], [*said, last], end="budget" if stop else "answer")

    told = behaviour.of_episodes([rollout(3, Call("crop", {}), Call("", {}, "?"), stop="turns"), rollout(1)])
    assert told == {"turns/mean": 2, "calls/mean": 1, "calls/refused": 0.5, "stop/turns": 0.5, "stop/answer": 0.5}
    assert "calls/refused" not in behaviour.of_episodes([rollout(1)])


def test_means_by_kind():
    assert agreement.by_kind([1, 0, 1], ["x", "y", "x"]) == {"x": 1, "y": 0}
    with pytest.raises(ValueError, match="3 answers, 2 truths"):
        agreement.by_kind([1, 0, 1], ["x", "y"])


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share(counts):
    successes, n = counts
    low, high = intervals.wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilsons_interval_of_a_known_case():
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_bootstrap_intervals_are_seeded_and_narrow_with_rows():
    few, many = [0.0, 0.3, 0.9], [0.0, 0.3, 0.9] * 50
    assert intervals.bootstrap(few) == intervals.bootstrap(few)
    low, high = intervals.bootstrap(many)
    wide_low, wide_high = intervals.bootstrap(few)
    assert wide_low <= low <= 0.4 <= high <= wide_high


def test_a_paired_difference_sees_what_rows_have_in_common():
    before = [i / 100 for i in range(100)]
    gain, low, high = intervals.paired_difference(before, [value + 0.1 for value in before])
    assert gain == pytest.approx(0.1)
    assert low > 0.09
    assert high < 0.11
