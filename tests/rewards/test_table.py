"""The reward table: scored in order, checked, and combined."""

import contextlib
import math
import re
import threading
import time

import pytest
import torch

from gamutrl.core import Context, ResponderError
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.guard import RewardTimeout, within
from gamutrl.rewards.table import RewardError, score, weighted_sum


def length(text):
    return len(text)


def is_answer(text, answer):
    return None if answer is None else float(text == answer)


def test_rewards_become_columns_in_order(batch_of):
    batch = batch_of(["a", "bcd"], [{"answer": "a"}, {}])
    scored = score([Reward("length", per_rollout(length)), Reward("right", per_rollout(is_answer))], batch, Context())
    assert scored.reward_names == ("length", "right")
    assert scored.reward("length").tolist() == [1, 3]
    assert scored.reward("right")[0] == 1
    assert math.isnan(scored.reward("right")[1])


def test_a_later_reward_reads_an_earlier_one(batch_of):
    def doubled(batch, context):
        return 2 * context.reward(batch, "length")

    scored = score([Reward("length", per_rollout(length)), Reward("doubled", doubled)], batch_of(["ab"]), Context())
    assert scored.reward("doubled").tolist() == [4]


def test_the_default_combine_sums_what_applies(batch_of):
    rewards = [Reward("length", per_rollout(length), weight=0.5), Reward("right", per_rollout(is_answer))]
    batch = score(rewards, batch_of(["ab", "abcd"], [{"answer": "ab"}, {}]), Context())
    assert weighted_sum(batch, Context()).tolist() == [2, 2]
    only_right = rewards[1:]
    batch = score(only_right, batch_of(["ab"], [{}]), Context())
    assert weighted_sum(batch, Context()).isnan().all()


def test_a_reward_that_raises_is_named_with_its_row(batch_of):
    def fails(text):
        return 1 / (len(text) - 3)

    with pytest.raises(RewardError, match=r"'thirds' raised ZeroDivisionError at row test/1"):
        score([Reward("thirds", per_rollout(fails))], batch_of(["a", "bcd"]), Context())


def test_columns_that_a_reward_reads_and_the_rows_lack_are_named(batch_of):
    def reads(text, facts, colour="red"):
        return 1.0

    with pytest.raises(RewardError, match=r"'far' reads columns that are not there: it needs 'facts'; .* answer"):
        score([Reward("far", per_rollout(reads))], batch_of(["a"], [{"size": 1}]), Context())


def test_a_reward_over_all_rollouts_that_raises_is_named_with_the_row_that_fails_alone(batch_of):
    def fails(batch, context):
        return torch.tensor([1.0 / (len(rollout.text) - 3) for rollout in batch.rollouts])

    with pytest.raises(RewardError, match="row test/1"):
        score([Reward("thirds", fails)], batch_of(["a", "bcd", "e"]), Context())


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_reward_that_hangs_is_named_with_its_row(batch_of, in_thread):
    def hangs(text):
        time.sleep(30 if text == "b" else 0)
        return 0.0

    def attempt():
        with pytest.raises(RewardError, match=r"'slow' did not answer within 0.2 s .*row test/1"):
            score([Reward("slow", per_rollout(hangs))], batch_of(["a", "b"]), Context(), timeout=0.2)
        done.append(True)

    done = []
    if in_thread:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    else:
        attempt()
    assert done


def test_a_catastrophic_regular_expression_and_a_busy_loop_are_interrupted():
    def spin():
        while True:
            with contextlib.suppress(Exception):  # a reward that swallows every error still stops
                pass

    for call in (lambda: re.match(r"(a+)+$", "a" * 60 + "b"), spin):
        start = time.monotonic()
        with pytest.raises(RewardTimeout):
            within(0.3, call)
        assert time.monotonic() - start < 30


def test_a_call_that_uses_the_alarm_itself_is_interrupted_all_the_same():
    from math_verify import parse

    def uses_alarm():
        parse("$1$")
        time.sleep(30)

    parse("$1$")
    with pytest.raises(RewardTimeout):
        within(0.3, uses_alarm)


def test_infinity_and_wrong_shapes_are_errors(batch_of):
    with pytest.raises(RewardError, match="infinite at row test/0"):
        score([Reward("inf", per_rollout(lambda text: math.inf))], batch_of(["a"]), Context())
    with pytest.raises(RewardError, match="one number for each of 2"):
        score([Reward("one", lambda batch, context: torch.ones(1))], batch_of(["a", "b"]), Context())


def test_two_rewards_of_one_name_are_refused(batch_of):
    with pytest.raises(ValueError, match="one name"):
        score([Reward("x", per_rollout(length))] * 2, batch_of(["a"]), Context())


def test_a_rollout_whose_responder_fails_leaves_all_columns(batch_of):
    def judge(text):
        if text == "b":
            raise ResponderError("no answer after 3 tries")
        return 1.0

    batch = batch_of(["a", "b"])
    scored = score([Reward("length", per_rollout(length)), Reward("judge", per_rollout(judge))], batch, Context())
    assert scored["reward_RK"][1].isnan().all()
    assert batch.rollouts[1].end == "error"
    assert scored["reward_RK"][0].tolist() == [1, 1]
