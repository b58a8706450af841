"""Which prediction answers which truth."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.functional import matching as m

scores = st.integers(1, 4).flatmap(
    lambda n: st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.integers(-5, 9), min_size=k, max_size=k), min_size=n, max_size=n)
    )
)


def total(score, pairs):
    return sum(score[n][k] for n, k in pairs.tolist())


@given(scores)
def test_hungarian_reaches_the_best_total_of_all_assignments(score):
    n, k = len(score), len(score[0])
    short, long = min(n, k), max(n, k)
    table = np.array(score) if n <= k else np.array(score).T
    best = max(sum(table[i, p[i]] for i in range(short)) for p in itertools.permutations(range(long), short))
    assert total(score, m.hungarian(score)) == best


@given(scores)
def test_every_rule_but_reuse_is_one_to_one(score):
    for rule in (m.hungarian, m.best_pair_first, m.by_prediction, m.by_truth):
        pairs = rule(score)
        assert len(pairs) == min(len(score), len(score[0]))
        assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == len(pairs)


@given(scores)
def test_best_pair_first_takes_the_largest_score_there_is(score):
    assert max(score[n][k] for n, k in m.best_pair_first(score).tolist()) == max(map(max, score))


def test_rules_differ_where_both_want_the_same():
    score = [[0.9, 0.8], [0.95, 0.1]]
    assert m.hungarian(score).tolist() == [[0, 1], [1, 0]]
    assert m.by_prediction(score).tolist() == [[0, 0], [1, 1]]
    assert m.by_prediction(score, order_N=[1, 0]).tolist() == [[0, 1], [1, 0]]
    assert m.by_truth(score).tolist() == [[0, 1], [1, 0]]
    assert m.reuse(score).tolist() == [[0, 1], [1, 0]]
    assert m.reuse([[0.9, 0.8], [0.1, 0.2]]).tolist() == [[0, 0], [0, 1]]


def test_pairs_that_are_not_allowed_or_not_finite_are_never_made():
    score = torch.tensor([[0.9, 0.2], [float("nan"), 0.3]])
    for rule in (m.hungarian, m.best_pair_first, m.by_prediction, m.by_truth, m.reuse):
        assert rule(score, score > 0.25).tolist() == [[0, 0], [1, 1]]
        assert rule(score, score > 1).shape == (0, 2)


def test_a_table_without_two_axes_is_refused():
    with pytest.raises(ValueError, match=r"\[N, M\]"):
        m.hungarian([1.0, 2.0])


def test_average_precision_of_a_perfect_and_a_missing_answer():
    box = [[10, 10, 50, 50]]
    assert m.average_precision(box, box) == pytest.approx(1)
    assert m.average_precision([], box) == 0
    assert np.isnan(m.average_precision(box, []))


def test_average_precision_is_a_mean_over_labels_of_the_truth():
    pred, true = [[10, 10, 48, 50], [0, 0, 9, 9]], [[10, 10, 50, 50], [100, 100, 150, 160]]
    value = m.average_precision(
        pred, true, pred_label_N=["cat", "bird"], true_label_M=["cat", "dog"], thresholds=(0.5,)
    )
    assert value == pytest.approx(0.5)


def test_a_sure_wrong_box_costs_precision_and_an_unsure_one_does_not():
    true, right, wrong = [[0, 0, 10, 10]], [0, 0, 10, 10], [50, 50, 60, 60]
    assert m.average_precision([right, wrong], true, score_N=[0.9, 0.1]) == pytest.approx(1)
    assert m.average_precision([right, wrong], true, score_N=[0.1, 0.9]) == pytest.approx(0.5)


def test_a_box_answers_only_the_truths_of_its_image():
    box = [[0, 0, 10, 10]]
    assert m.average_precision(box, box, pred_image_N=["a"], true_image_M=["b"]) == 0
    assert m.average_precision(box * 2, box * 2, pred_image_N=["a", "b"], true_image_M=["b", "a"]) == pytest.approx(1)


def test_at_most_so_many_detections_count():
    true = [[0, 0, 10, 10]]
    pred = [[50, 50, 60, 60]] * 3 + true
    assert m.average_precision(pred, true, max_detections=3) == 0
    assert m.average_precision(pred, true) == pytest.approx(0.25)
