"""Preference losses: at hand-worked points, in their limits, and every gradient against finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from gamutrl.functional import preference

LOG2 = math.log(2)


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


PAIRS = {
    "dpo": lambda c, r: preference.dpo(c, r, 0.5, smoothing=0.1, margin=0.2),
    "hinge": lambda c, r: preference.hinge(c, r, 0.5),
    "ipo": lambda c, r: preference.ipo(c, r, 0.5),
    "exo": lambda c, r: preference.exo(c, r, 0.5, smoothing=0.1),
    "nca": lambda c, r: preference.nca(c, r, 0.5),
    "robust": lambda c, r: preference.robust_dpo(c, r, 0.5, smoothing=0.1),
    "bco": lambda c, r: preference.bco(c, r, 0.5, shift=0.3),
    "sppo": lambda c, r: preference.sppo(c, r, 0.5),
    "apo_zero": lambda c, r: preference.apo_zero(c, r, 0.5),
    "apo_down": lambda c, r: preference.apo_down(c, r, 0.5),
    "discopop": lambda c, r: preference.discopop(c, r, 0.5),
    "aot": lambda c, r: preference.aot(c, r, 0.5),
    "bradley_terry": lambda c, r: preference.bradley_terry(c, r, 0.1, centre=0.01),
    "ties": lambda c, r: preference.bradley_terry_ties(c, r, torch.tensor([True, False, True])),
}


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_agree_with_finite_differences(name):
    chosen, rejected = _t(0.3, -1.0, 2.0).requires_grad_(), _t(0.1, 0.7, -0.4).requires_grad_()
    assert torch.autograd.gradcheck(PAIRS[name], (chosen, rejected))


@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"apo_down", "ties", "ipo", "sppo"}))
def test_a_better_chosen_answer_lowers_the_loss(name):
    loss = PAIRS[name]
    worse, better = _t(0.0, 0.0, 0.0), _t(0.5, 0.5, 0.5)
    assert (loss(better, _t(0.0, 0.0, 0.0)) < loss(worse, _t(0.0, 0.0, 0.0))).all()


def test_an_undecided_pair_costs_log_two():
    zero = _t(0.0)
    assert preference.dpo(zero, zero).item() == pytest.approx(LOG2)
    assert preference.bradley_terry(zero, zero).item() == pytest.approx(LOG2)
    assert preference.dpo(_t(1.0), zero, 1.0, margin=1.0).item() == pytest.approx(LOG2)


def test_ipo_and_sppo_have_their_minimum_where_the_papers_put_it():
    assert preference.ipo(_t(5.0), _t(0.0), 0.1).item() == 0
    assert preference.sppo(_t(5.0), _t(-5.0), 0.1).item() == 0


def test_exo_is_zero_at_the_smoothed_label():
    z = math.log(0.9 / 0.1)
    assert preference.exo(_t(z), _t(0.0), 1.0, smoothing=0.1).item() == pytest.approx(0, abs=1e-12)


def test_a_robust_loss_is_unbiased_under_flips():
    chosen, rejected, flip = _t(0.7), _t(-0.2), 0.2
    expected = (1 - flip) * preference.robust_dpo(chosen, rejected, 1.0, smoothing=flip)
    expected = expected + flip * preference.robust_dpo(rejected, chosen, 1.0, smoothing=flip)
    assert expected.item() == pytest.approx(preference.dpo(chosen, rejected, 1.0).item())


def test_better_worse_and_tie_have_probabilities_that_sum_to_one():
    a, b = _t(0.4, -2.0, 3.0), _t(0.1, 0.5, 3.0)
    won, lost = (torch.exp(-preference.bradley_terry_ties(x, y, torch.zeros(3))) for x, y in ((a, b), (b, a)))
    tied = torch.exp(-preference.bradley_terry_ties(a, b, torch.ones(3)))
    assert torch.allclose(won + lost + tied, torch.ones(3, dtype=torch.float64))


def test_aot_compares_distributions_not_pairs():
    chosen, rejected = _t(1.0, 0.0), _t(0.0, 1.0)
    assert torch.allclose(preference.aot(chosen, rejected), _t(LOG2, LOG2))


@pytest.mark.parametrize("kind", ["forward_kl", "js", "alpha", "reverse_kl"])
def test_every_f_divergence_score_has_the_plain_slope_at_equality(kind):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    preference.f_divergence_score(x, kind, 0.5).sum().backward()
    assert x.grad.item() == pytest.approx(0.5 if kind == "js" else 1.0)


def test_kto_pushes_desirable_up_and_undesirable_down():
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = preference.kto(x, torch.tensor([True, False]), 0.0, 1.0, desirable_weight=2.0)
    assert loss.tolist() == pytest.approx([1.0, 0.5])
    loss.sum().backward()
    assert x.grad.tolist() == pytest.approx([-0.5, 0.25])


@pytest.mark.parametrize("kind", ["sigmoid", "loss_averse", "risk_seeking_1", "risk_seeking_2", "risk_seeking_3"])
def test_a_gain_is_worth_more_to_the_desirable(kind):
    low, high = (preference.prospect_value(_t(gain, gain), torch.tensor([1, 0]), 0.0, 1.0, kind) for gain in (0.1, 0.4))
    assert high[0] > low[0]
    assert high[1] < low[1]


def test_sequence_scores():
    logp = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert preference.sequence_logp(logp, mask).tolist() == [-3, -15]
    assert preference.sequence_logp(logp, mask, average=True).tolist() == [-1.5, -5]
    weight = torch.tensor([[1.0, 3.0, 9.0], [1.0, 1.0, 2.0]])
    assert preference.sequence_logp(logp, mask, weight_MT=weight, average=True).tolist() == [-7 / 4, -21 / 4]
    shared = preference.sequence_logp(logp, mask, shared_length_M=torch.tensor([1, 2]), tail=0.5)
    assert shared.tolist() == [-2, -12]
    assert preference.sequence_logp(logp, torch.zeros(2, 3), average=True).tolist() == [0, 0]


def test_odds_and_power_scores():
    p = _t(0.5, 0.2).log()
    assert preference.log_odds_ratio(p[:1], p[1:]).item() == pytest.approx(math.log(1 / 0.25))
    assert preference.power_score(p, 1e-9).tolist() == pytest.approx(p.tolist(), abs=1e-6)
    assert torch.equal(preference.power_score(p, 0), p)


def test_the_soft_value_lies_between_mean_and_best():
    reward = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert preference.soft_value(reward, 100.0).item() == pytest.approx(0.5, abs=0.01)
    assert preference.soft_value(reward, 0.01).item() == pytest.approx(1, abs=0.01)


def test_groups_with_one_kind_of_answer_teach_nothing():
    score, positive = torch.tensor([0.0, 0.0, 1.0, 2.0]), torch.tensor([True, False, True, True])
    loss, both = preference.group_classification(score, positive, torch.tensor([0, 0, 1, 1]), 1.0)
    assert both.tolist() == [True, False]
    assert loss[0].item() == pytest.approx(2 * LOG2)


def test_ties_in_soft_labels_cost_nothing_when_the_scores_tie():
    one, two = torch.zeros(2), torch.tensor([0.0, -50.0])
    loss = preference.soft_pair_cross_entropy(one, two, torch.tensor([0.5, 1.0]), torch.tensor([0.5, 0.0]))
    assert loss.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_small_pieces():
    assert preference.reward_margin(_t(0.5, 3.0), 2.0).tolist() == [1.5, 0.0]
    same = torch.eye(2)
    assert preference.own_text_logp(same, same, 1.0).tolist() == pytest.approx([math.log(math.e / (math.e + 1))] * 2)
    weight = preference.wpo_weight(torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.0, -1.0]]), torch.ones(1, 2))
    assert weight.tolist() == [1.0]
    with pytest.raises(ValueError, match="both sides"):
        preference.dpo(_t(1.0), _t(1.0, 2.0))
