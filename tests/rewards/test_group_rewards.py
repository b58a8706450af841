"""Rewards that look at groups and pools, and combines."""

import math

import pytest
import torch

from gamutrl.core import Context
from gamutrl.rewards import combine, groups, ranking
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.table import score

ONE_GROUP = torch.zeros(4)


def right(text):
    return float("right" in text)


def test_a_length_window_pays_right_rollouts_if_the_group_has_two():
    accuracy, length = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([400, 100, 400, 512])
    assert groups.length_window_bonus(accuracy, length, ONE_GROUP).tolist() == pytest.approx([0.2, 0, 0, 0.2])
    alone = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert groups.length_window_bonus(alone, length, ONE_GROUP).sum() == 0


def test_the_order_bonus_needs_a_mean_near_that_of_the_other_group():
    accuracy = torch.tensor([1.0, 1.0, 0.0, 0.0])
    bonus = groups.beats_auxiliary_bonus(accuracy, ONE_GROUP, torch.tensor([1.0, 0.0]), torch.zeros(2))
    assert bonus.tolist() == pytest.approx([0.3, 0.3, 0, 0])
    behind = groups.beats_auxiliary_bonus(accuracy, ONE_GROUP, torch.ones(2), torch.zeros(2))
    assert behind.sum() == 0
    elsewhere = groups.beats_auxiliary_bonus(accuracy, ONE_GROUP, torch.ones(2), torch.full((2,), 7.0))
    assert elsewhere.isnan().all()


def test_consistency_pays_right_answers_that_the_reference_expects():
    likelihood = groups.answer_likelihood(torch.tensor([[-0.1], [-3.0], [-0.1], [-0.2]]), torch.ones(4, 1))
    bonus = groups.consistency_bonus(likelihood, torch.tensor([1.0, 1.0, 0.0, 1.0]), ONE_GROUP)
    assert bonus.tolist() == pytest.approx([0.5, 0, 0, 0.5])
    assert groups.consistency_bonus(likelihood, torch.zeros(4), ONE_GROUP).sum() == 0


def test_group_scores_read_the_table_and_the_auxiliary_batch(batch_of):
    rewards = [
        Reward("accuracy", per_rollout(right)),
        Reward("length", groups.LengthWindow(low=2, high=3)),
        Reward("order", groups.BeatsAuxiliary("shuffled")),
    ]
    shuffled = score(rewards[:1], batch_of(["wrong", "wrong"], per_prompt=2), Context())
    batch = batch_of(["right here", "right", "right by now", "wrong here"], per_prompt=4)
    scored = score(rewards, batch, Context(auxiliary={"shuffled": shuffled}))
    assert scored.reward("length").tolist() == pytest.approx([0.2, 0, 0.2, 0])
    assert scored.reward("order").tolist() == pytest.approx([0.3, 0.3, 0.3, 0])


def test_scores_in_the_right_order_are_faithful_and_pools_are_kept_apart(batch_of):
    group, truth = torch.tensor([0, 0, 1, 1]), torch.tensor([5.0, 5.0, 1.0, 1.0])
    good = ranking.ranking_fidelity(torch.tensor([4.0, 4.1, 2.0, 2.2]), truth, group)
    bad = ranking.ranking_fidelity(torch.tensor([2.0, 2.2, 4.0, 4.1]), truth, group)
    assert (good > 0.99).all()
    assert (bad < 0.2).all()
    unread = ranking.ranking_fidelity(torch.tensor([4.0, math.nan, 2.0, 2.2]), truth, group)
    assert unread[1] == 0
    assert ranking.ranking_fidelity(torch.tensor([4.0]), torch.tensor([5.0]), torch.tensor([0])).isnan().all()
    batch = batch_of(["<answer>4</answer>", "<answer>2</answer>"], [{"answer": 5}, {"answer": 1}])
    assert (ranking.RankingFidelity()(batch, Context()) > 0.99).all()


def test_a_gate_asks_only_for_those_it_lets_through(batch_of):
    asked = []

    def judge(text):
        asked.append(text)
        return 0.5

    rewards = [
        Reward("accuracy", per_rollout(right)),
        Reward("judged", combine.Gated(per_rollout(judge), "accuracy")),
    ]
    scored = score(rewards, batch_of(["right", "wrong"]), Context())
    assert scored.reward("judged").tolist() == [0.5, 0]
    assert asked == ["right"]


def test_routes_go_by_a_column_and_leave_other_rows_alone(batch_of):
    routed = Reward("r", combine.Routed("kind", {"a": per_rollout(right), "b": per_rollout(len)}))
    batch = batch_of(["right", "four", "?"], [{"kind": "a"}, {"kind": "b"}, {"kind": "c"}])
    values = score([routed], batch, Context()).reward("r").tolist()
    assert values[:2] == [1, 4]
    assert math.isnan(values[2])


def test_other_combines(batch_of):
    rewards = [Reward("accuracy", per_rollout(right)), Reward("format", per_rollout(lambda text: 0.5 * ("!" in text)))]
    batch = score(rewards, batch_of(["right!", "right", "wrong!", "wrong"]), Context())
    assert combine.Signed()(batch, Context()).tolist() == [1.5, 1, -0.5, -2]
    assert combine.Product()(batch, Context()).tolist() == [0.5, 0, 0, 0]
    fault = torch.tensor([True, False])
    assert combine.penalised(torch.tensor([1.0, 0.0]), fault).tolist() == pytest.approx([0.9, 0])
    assert combine.penalised(torch.tensor([0.0]), fault[:1]).tolist() == [0]


def test_weights_and_steps():
    rewards = combine.reweighted([Reward("a", per_rollout(right)), Reward("b", per_rollout(right))], b=0.5)
    assert [reward.weight for reward in rewards] == [1, 0.5]
    with pytest.raises(ValueError, match="No reward is called c"):
        combine.reweighted(rewards, c=1.0)
    bar = combine.by_progress([(0.1, 0.85), (0.25, 0.95), (1, 0.99)])
    assert [bar(progress) for progress in (0, 0.1, 0.2, 1)] == [0.85, 0.85, 0.95, 0.99]
