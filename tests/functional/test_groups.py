"""Statistics of groups: against plain Python, whatever the labels and their order."""

from __future__ import annotations

import math
import statistics

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gamutrl.functional import groups

REWARDS = st.lists(
    st.tuples(st.integers(-3, 3), st.one_of(st.floats(-10, 10), st.just(math.nan))), min_size=1, max_size=20
)


def _members(pairs, label):
    return [value for group, value in pairs if group == label and not math.isnan(value)]


@given(REWARDS)
def test_means_and_counts_are_those_of_the_members_with_a_value(pairs):
    group = torch.tensor([label for label, _ in pairs])
    value = torch.tensor([value for _, value in pairs], dtype=torch.float64)
    mean, count = groups.group_mean(value, group), groups.group_count(value, group)
    for i, (label, _) in enumerate(pairs):
        members = _members(pairs, label)
        assert count[i] == len(members)
        assert mean[i].item() == pytest.approx(
            statistics.fmean(members) if members else math.nan, abs=1e-9, nan_ok=True
        )


@given(REWARDS)
def test_variance_divides_by_n_minus_one_or_n(pairs):
    group = torch.tensor([label for label, _ in pairs])
    value = torch.tensor([value for _, value in pairs], dtype=torch.float64)
    unbiased, biased = (groups.group_variance(value, group, kind) for kind in (True, False))
    for i, (label, _) in enumerate(pairs):
        members = _members(pairs, label)
        if members:
            assert biased[i].item() == pytest.approx(statistics.pvariance(members), abs=1e-9)
        if len(members) > 1:
            assert unbiased[i].item() == pytest.approx(statistics.variance(members), abs=1e-9)


@given(REWARDS)
def test_ranks_count_the_lower_members_and_earlier_equals(pairs):
    pairs = [(label, 0.0 if math.isnan(value) else value) for label, value in pairs]
    rank = groups.group_rank(
        torch.tensor([v for _, v in pairs], dtype=torch.float64), torch.tensor([label for label, _ in pairs])
    )
    for i, (label, value) in enumerate(pairs):
        lower = sum(v < value for other, v in pairs if other == label)
        equal_before = sum(v == value for other, v in pairs[:i] if other == label)
        assert rank[i] == lower + equal_before


def test_consecutive_groups_share_a_label():
    assert groups.consecutive(5, 2).tolist() == [0, 0, 1, 1, 2]
