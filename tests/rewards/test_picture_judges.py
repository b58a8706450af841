"""Rewards that ask somebody about a picture, and ways to put several rewards together."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, ResponderError, Rollout
from gamutrl.rewards.asking import JudgedPicture, WrittenWords, YesProbability, filled_in
from gamutrl.rewards.base import Reward
from gamutrl.rewards.combine import Minimum, Normalized, Product
from gamutrl.rewards.table import score, weighted_sum

RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))


def batch_of(outputs, texts, **columns):
    prompts = [Prompt.ask(text, id=f"test/{k}", **columns) for k, text in enumerate(texts)]
    return Batch.of(prompts, [Rollout(p, [], output=o) for p, o in zip(prompts, outputs)], range(len(prompts)))


def scored(reward, batch, context):
    return score([Reward("r", reward)], batch, context).reward("r").tolist()


def sees(reply):
    """A responder that answers by the colour of the picture it is shown, and keeps the questions."""

    def respond(conversations):
        respond.asked += [conversation[-1].text for conversation in conversations]
        return [reply(conversation[-1].parts[0].value.getpixel((0, 0))) for conversation in conversations]

    respond.asked = []
    return respond


class TestJudges:
    def test_a_judge_is_shown_picture_and_prompt(self):
        judge = sees(lambda pixel: f"It is fine. score: {9 if pixel[0] else 2}")
        batch = batch_of([RED, BLUE, None], ["a red field"] * 3)
        assert scored(JudgedPicture(), batch, Context(responders={"judge": judge})) == pytest.approx([0.9, 0.2, 0.0])
        assert all("a red field" in question for question in judge.asked)
        assert len(judge.asked) == 2

    def test_a_reply_that_says_no_number_does_not_count(self):
        batch = batch_of([RED], ["a red field"])
        assert math.isnan(scored(JudgedPicture(), batch, Context(responders={"judge": sees(lambda p: "Nice!")}))[0])

    def test_a_judge_that_fails_for_good_costs_its_own_rollout_only(self):
        def judge(conversations):
            if any(c[-1].parts[0].value.getpixel((0, 0))[2] for c in conversations):
                raise ResponderError("no answer")
            return ["score: 10"] * len(conversations)

        batch = batch_of([RED, BLUE], ["a field"] * 2)
        values = scored(JudgedPicture(), batch, Context(responders={"judge": judge}))
        assert values[0] == 1.0
        assert math.isnan(values[1])
        assert batch.rollouts[1].end == "error"

    def test_templates_take_columns_and_leave_other_braces(self):
        prompt = Prompt.ask("draw it", style="pencil", prompt="a cat {style}")
        assert filled_in("{prompt} in {style}? {json: 1} {missing}", prompt) == (
            "a cat {style} in pencil? {json: 1} {missing}"
        )


def test_text_in_pictures_is_read_and_held_against_the_quotes():
    reader = sees(lambda pixel: "OPEN NOW" if pixel[0] else "OPAN")
    batch = batch_of([RED, BLUE, RED, None], ['a sign "open"', 'a sign "open"', "no sign", 'a sign "open"'])
    values = scored(WrittenWords(), batch, Context(responders={"reader": reader}))
    assert values[:2] == pytest.approx([1.0, 0.75])
    assert math.isnan(values[2])
    assert values[3] == 0.0


def test_yes_and_no_are_weighed_at_their_first_token():
    class Judge:
        """Finds red pictures likelier than blue ones, and says so in tokens."""

        def demonstrated(self, prompts, texts):
            self.questions = [prompt.text for prompt in prompts]
            return [(prompt.media[0].value.getpixel((0, 0))[0] > 0, text) for prompt, text in zip(prompts, texts)]

        def log_probs(self, batch):
            yes = [0.8 if red else 0.1 for red, _ in batch]
            first = [y if text == "Yes" else (1 - y) / 2 for y, (_, text) in zip(yes, batch)]
            return torch.tensor([[math.log(p), -7.0] for p in first])

    judge = Judge()
    batch = batch_of([RED, None, BLUE], ["a red field"] * 3)
    values = scored(YesProbability(), batch, Context(models={"judge": judge}))
    assert values == pytest.approx([0.8 / 0.9, 0.0, 0.1 / 0.55], abs=1e-5)
    assert judge.questions == ["Does this picture show a red field? Answer yes or no."] * 2


class TestCombines:
    @pytest.fixture
    def batch(self):
        """Two groups of two; the second reward is on a scale a hundred times larger."""
        prompts = [Prompt.ask("a", id="a"), Prompt.ask("b", id="b")]
        rollouts = [Rollout(prompts[k // 2], []) for k in range(4)]
        table = {"one": [0.0, 1.0, 1.0, math.nan], "other": [100.0, 0.0, 0.0, math.nan]}
        rewards = [Reward(name, lambda b, c, v=values: torch.tensor(v)) for name, values in table.items()]
        return score(rewards, Batch.of(prompts, rollouts, [0, 0, 1, 1]), Context())

    def test_the_least_of_what_applies(self, batch):
        values = Minimum()(batch, Context())
        assert values[:3].tolist() == [0, 0, 0]
        assert values[3].isnan()
        assert Minimum(("one",))(batch, Context())[:3].tolist() == [0, 1, 1]

    def test_the_product_of_what_applies(self, batch):
        assert Product()(batch, Context())[:3].tolist() == [0, 0, 0]

    def test_scales_do_not_decide_once_rewards_are_normalized(self, batch):
        plain, fair = weighted_sum(batch, Context()), Normalized()(batch, Context())
        assert plain[0] > plain[1] + 50
        assert fair[:2].tolist() == pytest.approx([0, 0], abs=1e-2)
        assert fair[3].isnan()
        whole = Normalized(within="batch")(batch, Context())
        assert whole[1] == pytest.approx(float(whole[2]))
