"""Tokens that come into play one after another."""

from hypothesis import given
from hypothesis import strategies as st

from gamutrl.functional.token_schedule import last_timesteps, logit_normal_token, staged_token


def test_each_stage_shares_its_time_evenly():
    assert [staged_token(t, [2, 10], [2, 4]) for t in (0, 1, 2, 3, 4, 9, 10)] == [0, 1, 2, 2, 3, 5, 5]


def test_time_before_the_first_is_the_first():
    assert staged_token(-5, [2, 10], [2, 4]) == 0


@given(st.integers(1, 40), st.integers(1, 5))
def test_every_token_has_a_last_timestep(tokens, each):
    assert last_timesteps(tokens * each, [tokens * each], [tokens]) == [k * each + each - 1 for k in range(tokens)]


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_later_times_have_later_tokens(one, other):
    assert (logit_normal_token(min(one, other), 16)) <= logit_normal_token(max(one, other), 16) <= 15
