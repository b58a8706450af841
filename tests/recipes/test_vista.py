"""VisTA: a choice of readers, paid by what it does to a frozen reasoner."""

from __future__ import annotations

import numpy as np
import pytest
from by_hand import groups_of, random_model, short_run
from patience import bounded
from PIL import Image

from gamutrl.core import Context, Prompt, ResponderError, image
from gamutrl.data.worlds import charts
from gamutrl.recipes.vista import GAIN, MISLED, RECIPE, RIGHT, chosen
from gamutrl.rewards.readers import Reasoned, squeezed
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

ROWS = charts.rows("train", 40, task="value", kind="bar", marks=3)


@pytest.mark.parametrize(
    ("said", "readers"),
    [
        ("<answer>0, 3</answer>", [0, 3]),
        ("I take [2, 2, 11]", [2]),
        ("4", [4]),
        ("<answer>0, table</answer>", []),
        ("<answer></answer>", []),
        ("", []),
    ],
)
def test_readers_are_chosen_by_number(said, readers):
    assert chosen(said) == readers


def seen_by(reasoner, said: str, row: Prompt = ROWS[0], reward=GAIN):
    batch = groups_of([row], [[said]])
    return score((reward,), batch, Context(responders={"reasoner": reasoner})).reward(reward.name)[0], batch


@pytest.mark.parametrize(
    ("before", "after", "gain", "right", "misled"),
    [(True, True, 1, 1, 0), (False, True, 1, 1, 0), (True, False, -0.5, 0, 1), (False, False, 0, 0, 0)],
)
def test_what_a_choice_does_to_the_reasoner(before, after, gain, right, misled):
    row = ROWS[0]
    wrong = "no idea"

    def reasoner(conversations):
        told = [conversation[-1].text for conversation in conversations]
        return [f"<answer>{row.answer if (after if 'table' in one else before) else wrong}</answer>" for one in told]

    said = "<answer>0</answer>"
    assert [float(seen_by(reasoner, said, reward=one)[0]) for one in (GAIN, RIGHT, MISLED)] == [gain, right, misled]


def test_the_reasoner_is_told_what_the_chosen_say_and_nothing_else():
    asked = []

    def reasoner(conversations):
        asked.extend(conversations)
        return [""] * len(conversations)

    seen_by(reasoner, "<answer>1, 3</answer>")
    reports = charts.reports(ROWS[0])
    without, told = (conversation[-1] for conversation in asked)
    assert ROWS[0].columns["question"] in without.text
    assert "Extra" not in without.text
    assert told.text.endswith(f"Extra information: {reports[1]}\n\n{reports[3]}")
    assert [part.kind for part in told.parts] == ["image", "text"]


def test_a_reasoner_that_fails_costs_its_rollout():
    def reasoner(conversations):
        raise ResponderError("it is not there.")

    value, batch = seen_by(reasoner, "0")
    assert value.isnan()
    assert batch.rollouts[0].end == "error"


def test_the_reader_that_is_good_at_bars_helps_with_bars():
    context = Context(responders={"reasoner": charts.answer_from})
    batch = groups_of(ROWS, [["<answer>0</answer>", "<answer>2</answer>", "<answer>7</answer>"]] * len(ROWS))
    good, bad, silent = score((RIGHT,), batch, context).reward("right").view(-1, 3).mean(0)
    assert good > 0.8
    assert max(bad, silent) < 0.3


def test_pictures_are_squeezed_the_same_way_each_time():
    row = Prompt.ask("?", image(Image.new("RGB", (8, 6), "black")), id="a")
    shares = {float(np.asarray(squeezed(row).media[0].value).mean() / 255) for _ in range(3)}
    assert shares == {0.5}
    assert squeezed(row).media[0].value.size == (8, 6)


@pytest.mark.parametrize("hostile", ["1,", "<answer>", "[", "((", "9" * 10])
def test_endless_choices_take_no_endless_time(hostile):
    with bounded():
        chosen(hostile * (1_000_000 // len(hostile)))


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_the_readers_are_offered_and_singly_the_constants():
    (row, *_) = RECIPE.tiny.evaluation.prompts()
    assert row.text.endswith(charts.OFFERED)
    assert "<answer>8</answer>" in RECIPE.tiny.evaluation.constants
    assert isinstance(RECIPE.tiny.stages[0].rewards[0].score, Reasoned)


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert "reward/gain" in lines[0]
