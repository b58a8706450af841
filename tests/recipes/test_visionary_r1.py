"""Visionary-R1: a description earns where a reader answers from it alone; the KL penalty falls to 0."""

from __future__ import annotations

from dataclasses import replace

import pytest
from by_hand import Scripted, groups_of, random_model, short_run

from gamutrl.core import Context, Prompt, Sampling
from gamutrl.data.worlds.oracles import read_scene
from gamutrl.recipes.visionary_r1 import CAPTION, FORMAT, ONE_LINE, READER, RECIPE, right
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json
from gamutrl.training.responders import FromModel
from gamutrl.training.schedule import at


def described(info: str, answer: str = "20") -> str:
    return f"<info>{info}</info>\n<think>so</think><answer>{answer}</answer>"


ROW = Prompt.ask("red + cyan = ? Reply so.", answer="20", question="red + cyan = ?")
READS = Context(responders={"reader": read_scene})


def caption(*said: str, reward=CAPTION, context=READS) -> list[float]:
    return score((reward,), groups_of([ROW], [said]), context).reward("caption").tolist()


def test_a_description_earns_where_it_carries_the_answer():
    assert caption(
        described("red 12, cyan 8, blue 3"),
        described("red 12, cyan 9"),
        described("red 12"),
        described("red 12, cyan 8: 12 + 8 = 20"),
        "<think>red 12, cyan 8</think><answer>20</answer>",
        described(""),
    ) == [1, 0, 0, 0, 0, 0]


def test_each_description_is_paid_to_its_own_rollout():
    """The released code wrote the rewards of those that had one to the first places of the group."""
    assert caption("no tags", described("red 12,\ncyan 8"), described("red 1, cyan 1")) == [0, 1, 0]
    assert caption("no tags", described("red 12,\ncyan 8"), reward=ONE_LINE) == [0, 0]


def test_the_reader_is_the_policy_and_sees_words_alone():
    policy = Scripted(lambda prompt, k: "20" if "red 12" in prompt.text else "Hacking Sample")
    context = Context(models={"policy": policy}, responders={"reader": FromModel("policy", Sampling(temperature=0.9))})
    assert caption(described("red 12, cyan 8"), "nothing", described("it is 20"), context=context) == [1, 0, 0]
    ((asked, group_size, _),) = policy.asked
    assert group_size == 1
    assert [prompt.media for prompt in asked] == [[], []]
    assert asked[0].messages[0].text == READER
    assert asked[0].messages[1].text == "Text: red 12, cyan 8\nQuestion: red + cyan = ?"


def test_the_total_counts_a_description_a_tenth():
    batch = score(
        RECIPE.tiny.stages[0].rewards, groups_of([ROW], [[described("red 12, cyan 8"), described("")]]), READS
    )
    assert weighted_sum(batch, READS).tolist() == pytest.approx([2.1, 2.0])


@pytest.mark.parametrize(
    ("said", "answer", "kind", "value"),
    [
        (described("", "5%"), "0.05", "numerical", 1),
        (described("", "There are 5 dogs"), "<answer> 5 </answer>", "numerical", 1),
        (described("", "Yes"), "yes", None, 1),
        (described("", "kitten"), "kitchen", "OCR", 1 - 2 / 7),
        (described("", "12"), "12.0", "OCR", 1),
        ("12", "12", "numerical", 0),
    ],
)
def test_answers_are_compared_by_the_rows_own_type(said, answer, kind, value):
    assert right(said, answer, kind) == pytest.approx(value)


def test_the_layout_has_one_blank_after_the_description():
    said = [
        described("x"),
        described("x").replace("\n", ""),
        described("x").replace("\n", "\n\n"),
        " " + described("x"),
    ]
    assert score((FORMAT,), groups_of([ROW], [said]), READS).reward("format").tolist() == [1, 0, 0, 0]


def test_the_kl_penalty_falls_from_004_to_0():
    weight = RECIPE.paper.stages[0].kl.weight
    assert [round(at(weight, progress), 6) for progress in (0, 0.5, 0.75, 1)] == [0.04, 0.02, 0.005858, 0]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    """With the model itself as the reader: it is asked in the midst of its own step."""
    preset = replace(RECIPE.tiny, responders=(("reader", FromModel(sampling=Sampling(max_tokens=4))),))
    run, lines = short_run(preset, tmp_path / "run", random_model(tmp_path / "model"))
    assert [line["reward/caption"] for line in lines] == [0, 0]
    assert "caption" in run.summary["others"]["after"]
