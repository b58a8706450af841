"""Rewards that ask: everything at once, and one bad question costs only its own rollout."""

from __future__ import annotations

import math

import torch

from gamutrl.core import Batch, Context, Message, Prompt, ResponderError, Rollout, Turn, text
from gamutrl.rewards.asking import AnsweredFrom, JudgedAnswer, ModelScore, ask
from gamutrl.rewards.base import Reward
from gamutrl.rewards.judging import grade_after
from gamutrl.rewards.table import score


def said(*words: str, prompt: Prompt | None = None) -> Batch:
    prompt = prompt or Prompt.ask("How many?", answer="3", id="row/1")
    turns = [Turn(one, one, torch.zeros(1, dtype=torch.long), torch.zeros(1)) for one in words]
    return Batch.of([prompt], [Rollout(prompt, [turn], output=turn.text) for turn in turns], [0] * len(words))


class Judge:
    """Echoes the last message; fails on a batch, or alone, that holds "bad"."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, conversations):
        self.calls.append(len(conversations))
        words = [conversation[-1].text for conversation in conversations]
        if any("bad" in word for word in words):
            raise ResponderError("The judge did not answer.")
        return words


def conversation(words: str) -> list[Message]:
    return [Message("user", (text(words),))]


def test_all_are_asked_at_once_and_nothing_is_asked_for_none():
    judge = Judge()
    replies = ask(
        said("a", "b", "c"), Context(responders={"judge": judge}), "judge", [conversation("x"), None, conversation("y")]
    )
    assert replies == ["x", None, "y"]
    assert judge.calls == [2]


def test_one_that_fails_for_good_ends_its_own_rollout_alone():
    judge, batch = Judge(), said("3", "bad", "5")
    scored = score((Reward("model", ModelScore("judge")),), batch, Context(responders={"judge": judge}))
    assert scored.reward("model")[[0, 2]].tolist() == [3, 5]
    assert scored.reward("model")[1].isnan()
    assert [rollout.end for rollout in batch.rollouts] == ["eos", "error", "eos"]
    assert batch.rollouts[1].info["error"] == "The judge did not answer."
    assert judge.calls == [3, 1, 1, 1]


def test_a_score_is_a_number_within_bounds_or_does_not_apply():
    scored = score((Reward("model", ModelScore("judge", low=-5, high=5)),), said("score: 2.5", "900", "-900", "fine"),
                   Context(responders={"judge": Judge()}))  # fmt: skip
    assert scored.reward("model")[:3].tolist() == [2.5, 5, -5]
    assert scored.reward("model")[3].isnan()


def test_a_reader_sees_one_part_and_the_question_alone():
    seen = []

    def reader(conversations):
        seen.extend([(message.role, message.text) for message in c] for c in conversations)
        return ["3", "no"]

    def same(reply: str, prompt: Prompt) -> float:
        return float(reply == prompt.answer)

    reward = Reward("caption", AnsweredFrom("info", same, "Answer.", refusal="no"))
    batch = said("<info>three dots</info>3", "<info>it is 3</info>", "three dots", "<info>  </info>")
    scored = score((reward,), batch, Context(responders={"reader": reader}))
    assert scored.reward("caption").tolist() == [1, 0, 0, 0]
    assert seen[0] == [("system", "Answer."), ("user", "Text: three dots\nQuestion: How many?")]
    assert len(seen) == 2


class TestJudgedAnswer:
    ROW = Prompt.ask("How many?", answer="two {answer}", question="How many dogs?")

    def judged(self, *words, judge, reward=JudgedAnswer()):
        context = Context(responders={"judge": judge})
        return score((Reward("judge", reward),), said(*words, prompt=self.ROW), context).reward("judge").tolist()

    def test_the_judge_reads_the_question_the_truth_and_the_last_answer(self):
        def judge(conversations):
            assert all("How many dogs?" in c[0].text and "two {answer}" in c[0].text for c in conversations)
            return [f"Judgement: {int('Answer: 2' in c[0].text)}" for c in conversations]

        words = ("<answer>3</answer><answer>2</answer>", "<answer>3</answer>", "2", "<answer> </answer>")
        assert self.judged(*words, judge=judge) == [1, 0, 0, 0]

    def test_a_reply_that_cannot_be_read_does_not_count(self):
        values = self.judged("<answer>2</answer>", judge=lambda c: ["well"], reward=JudgedAnswer(read=grade_after))
        assert math.isnan(values[0])
