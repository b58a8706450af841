"""GRPO-CARE: right answers that a slow reader of the reasoning finds likely earn half as much again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from by_hand import Scripted, answered, clip, groups_of, random_model, short_run

from gamutrl.core import Batch, Context, Rollout, Turn
from gamutrl.recipes.grpo_care import CONSISTENCY, RECIPE, answer_likelihood, answer_mask, names_its_answer
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json


class Reader(Scripted):
    """Finds each character as likely as its table says, all others certain."""

    def __init__(self, likelihood: dict[str, float]) -> None:
        super().__init__(lambda prompt, k: "")
        self.likelihood = likelihood

    def log_probs(self, batch: Batch, statistics=None):
        logp_NT = torch.zeros(batch.mask_NT.shape)
        for n, row in enumerate(batch.rows):
            words = batch.rollouts[row.rollout].raw_text
            logp_NT[n, : len(words)] = torch.tensor([math.log(self.likelihood.get(c, 1.0)) for c in words])
        return logp_NT


def masked_text(words: str) -> str:
    batch = groups_of([clip(0)], [[words]])
    mask_T = answer_mask(batch)[0]
    return "".join(c for c, on in zip(batch.rollouts[0].raw_text, mask_T.tolist()) if on)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (answered("it is B", "B"), "B"),
        (answered("<answer>A</answer> no", "C or D"), "C or D"),
        ("<answer>A</answer> then </answer>", "A"),
        ("<think>B</think>", ""),
        ("<answer>B", ""),
        ("</answer>B<answer>", ""),
        ("<answer></answer>", ""),
    ],
)
def test_the_answer_is_what_stands_in_the_last_answer_tag(words, found):
    assert masked_text(words) == found


def test_a_token_that_spells_part_of_the_answer_belongs_to_it():
    pieces = ["<think>x</think><ans", "wer>", "le", "ft<", "/answer>", "$"]
    starts = tuple(len("".join(pieces[:k])) for k in range(len(pieces)))
    text = "".join(pieces)
    turn = Turn(text[:-1], text, torch.arange(6), torch.zeros(6), starts)
    batch = Batch.of([clip(0)], [Rollout(clip(0), [turn])], [0])
    assert answer_mask(batch).tolist() == [[False, False, True, True, False, False]]


def test_likelihood_is_the_geometric_mean_over_the_answer_alone():
    batch = groups_of([clip(0)], [[answered("pq", "pq"), answered("q", "p"), "p"]])
    context = Context(models={"policy": Reader({"p": 0.9, "q": 0.4})})
    assert answer_likelihood(batch, context, "ema").tolist() == pytest.approx([math.sqrt(0.36), 0.9, 0.0])


def bonus(said: list[str], likelihood: dict[str, float], margin: float = 0.01) -> list[float]:
    batch = groups_of([clip(0, answer="A")], [said])
    context = Context(models={"policy": Reader(likelihood)})
    consistency = replace(CONSISTENCY, score=replace(CONSISTENCY.score, margin=margin))
    scored = score((RECIPE.tiny.stages[0].rewards[0], consistency), batch, context)
    return scored.reward("consistency").tolist()


def test_the_likelier_of_the_right_answers_earn_half_as_much_again():
    """The right ones say A; how likely the reader finds them is told apart by a blank that stands in the tag."""
    likely, unlikely, wrong = answered("", "A"), answered("", " A"), answered("", "B")
    assert bonus([likely, likely, unlikely, wrong], {" ": 0.3}) == [0.5, 0.5, 0, 0]


def test_right_answers_that_are_all_alike_all_earn_it_even_without_margin():
    assert bonus([answered("", "A")] * 3 + ["?"], {"A": 0.7}, margin=0.0) == [0.5, 0.5, 0.5, 0]


def test_without_a_right_answer_nobody_earns_it():
    assert bonus([answered("", "B"), answered("", "C")], {}) == [0, 0]


def test_reasoning_names_its_answer_or_does_not():
    query = {"options": ["red", "blue", "green", "cyan"]}
    assert names_its_answer(answered("top: blue square", "B"), query) == 1
    assert names_its_answer(answered("top: blue square", "A"), query) == 0
    assert names_its_answer(answered("", "A"), query) == 0
    assert names_its_answer("blue", query) == 0


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert all(line["consistency/likelihood"] == 0 for line in lines)  # A random model writes no tags.
    assert "kl" not in lines[0]
