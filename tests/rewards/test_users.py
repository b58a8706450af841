"""A user's own reward function, in our signature or the ecosystem's."""

import math
import re

import pytest
import torch

from gamutrl.core import Context
from gamutrl.rewards.table import RewardError, score
from gamutrl.rewards.users import Completion, from_user, load


def scored(function, batch, context=None):
    return score([from_user(function, "mine")], batch, context or Context()).reward("mine").tolist()


def test_our_signature_gets_rollouts_and_the_columns_it_names(batch_of):
    def mine(rollouts, answer, hint=None):
        return [float(r.text == a) + (h or 0) for r, a, h in zip(rollouts, answer, hint)]

    assert scored(mine, batch_of(["a", "b"], [{"answer": "a", "hint": 2}, {"answer": "a"}])) == [3, 0]


def test_our_signature_may_take_every_column(batch_of):
    def mine(rollouts, **columns):
        return [float(value) for value in columns["weight"]]

    assert scored(mine, batch_of(["a"], [{"weight": 5}])) == [5]


def test_a_reward_that_is_ready_is_taken_as_it_is():
    reward = from_user("gamutrl.rewards.of_pictures:PICK_SCORE")
    assert (reward.name, reward.differentiable) == ("pick_score", True)
    assert from_user("gamutrl.rewards.of_pictures:SHOWN", "mine").name == "mine"


def test_an_ecosystem_function_over_messages_works_unchanged(batch_of):
    def format_reward(completions, **kwargs):
        contents = [completion[0]["content"] for completion in completions]
        return [1.0 if re.match(r"^<think>.*?</think>$", content) else 0.0 for content in contents]

    assert scored(format_reward, batch_of(["<think>x</think>", ""])) == [1, 0]


def test_an_ecosystem_function_over_strings_works_unchanged(batch_of):
    def near_three(completions, **kwargs):
        return [-abs(3 - len(completion)) for completion in completions]

    def starts_with_a(completions, **kwargs):
        return [float(completion[0] == "a" and completion[-1] == "c") for completion in completions]

    assert scored(near_three, batch_of(["ab", "abc"])) == [-1, 0]
    assert scored(starts_with_a, batch_of(["abc", "bc"])) == [1, 0]


def test_an_ecosystem_function_may_ask_for_prompts_columns_ids_and_state(batch_of):
    def mine(prompts, completions, completion_ids, solution, trainer_state, **kwargs):
        assert prompts[0][-1]["content"] == "question 0"
        assert trainer_state.global_step == 7
        return [len(ids) + (s == c[-1]["content"]) for ids, s, c in zip(completion_ids, solution, completions)]

    batch = batch_of(["two words", "one"], [{"solution": "two words"}, {"solution": "two"}])
    assert scored(mine, batch, Context(step=7, steps=10)) == [3, 1]


def test_an_ecosystem_function_may_take_everything_by_keyword_and_log(batch_of):
    def mine(**kwargs):
        kwargs["log_metric"]("mine/seen", len(kwargs["completions"]))
        kwargs["log_extra"]("length", [len(completion) for completion in kwargs["completions"]])
        return [1.0 for _ in kwargs["prompts"]]

    batch, context = batch_of(["a", "bc"]), Context()
    assert scored(mine, batch, context) == [1, 1]
    assert context.metrics["mine/seen"] == 2
    assert [rollout.info["length"] for rollout in batch.rollouts] == [1, 2]


def test_none_means_that_it_does_not_apply(batch_of):
    values = scored(lambda completions, **kwargs: [None, 0.5], batch_of(["a", "b"]))
    assert math.isnan(values[0])
    assert values[1] == 0.5


def test_tensors_and_coroutines_are_read(batch_of):
    async def later(completions, **kwargs):
        return [1.0 for _ in completions]

    assert scored(later, batch_of(["a"])) == [1]
    assert scored(lambda rollouts: torch.ones(len(rollouts)), batch_of(["a"])) == [1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rollouts: [1.0], "returned 1 values for 2 rollouts"),
        (lambda rollouts: ["x", "y"], "'x', which is neither a number nor None"),
        (lambda rollouts: 1.0, "a list of 2 numbers, not float"),
        (lambda rollouts, target: [1.0, 1.0], "asks for target, which the rows do not have"),
    ],
)
def test_what_is_no_reward_is_an_error_that_says_so(batch_of, function, message):
    with pytest.raises(RewardError, match=message):
        scored(function, batch_of(["a", "b"]))


def test_a_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 3.0\n")
    (tmp_path / "own.py").write_text(
        "from neighbour_of_mine import VALUE\n\ndef reward(rollouts):\n    return [VALUE for _ in rollouts]\n"
    )
    assert load(f"{tmp_path}/own.py:reward")([1, 2]) == [3.0, 3.0]


def test_a_function_is_loaded_from_a_file_or_a_module(tmp_path):
    (tmp_path / "mine.py").write_text("def reward(rollouts):\n    return [2.0 for _ in rollouts]\n")
    assert load(f"{tmp_path}/mine.py:reward")([1]) == [2.0]
    assert load("math:sqrt")(4) == 2


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nothing", "path/to/file.py:function"),
        ("nowhere.py:f", "no file"),
        ("no_such_module:f", "cannot be imported"),
        ("math:nope", "no function"),
    ],
)
def test_what_cannot_be_loaded_is_said(where, message):
    with pytest.raises(ValueError, match=message):
        load(where)


def test_an_empty_completion_still_is_a_message():
    assert Completion("")[0]["content"] == ""
    assert Completion("abc")[0].get("role") == "assistant"
    assert Completion("abc")[1:] == "bc"
