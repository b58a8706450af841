"""VRAG-RL: searches are paid by the rank at which the right pages come, behind a gate of layout."""

from __future__ import annotations

import json

import pytest
import torch
from by_hand import random_model, short_run
from PIL import Image

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.worlds import turns
from gamutrl.environments import looking
from gamutrl.environments.scripted import calls, play
from gamutrl.environments.tools.pages import PageFiles, Search
from gamutrl.recipes.vrag_rl import FORMAT, PAPER, RECIPE, RETRIEVAL, RULE, gated, golden_of, layout, pages_of, right
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json
from gamutrl.training.rollouts import Seat

EVALUATION = RECIPE.tiny.evaluation
(ROW, *_) = EVALUATION.prompts()
TITLE, GOLDEN, PLATE = ROW.columns["query"]["titles"][0], ROW.columns["golden"], ROW.columns["evidence"][0]


def look(**at: object) -> str:
    return turns.search_or_crop_tag(turns.Look("so", at))


def answer(said: str) -> str:
    return f"<think>so</think>\n<answer>{said}</answer>"


def played(*said: str) -> Batch:
    seat = Seat(ROW, EVALUATION.environment)
    for one in said:
        seat.say(one)
    return seat.batch()


def paid(*said: str) -> tuple[float, dict[str, float]]:
    batch = score((RULE, FORMAT, RETRIEVAL), played(*said), Context())
    return float(gated(batch, Context())), dict(zip(batch.reward_names, batch["reward_RK"][0].tolist()))


def test_the_right_page_first_and_the_right_answer_earn_all():
    total, rewards = paid(look(query=TITLE), look(box=PLATE), answer(ROW.answer))
    assert total == pytest.approx(1.0)
    assert rewards == {"judge": 1, "format": 1, "ndcg": 1}


def test_a_page_that_comes_second_is_worth_less_and_a_wrong_answer_keeps_it():
    total, rewards = paid(look(query="no such page"), look(query=TITLE), answer(ROW.answer))
    second = 1 / torch.log2(torch.tensor(3.0)).item()
    assert rewards["ndcg"] == pytest.approx(second)
    assert total == pytest.approx(0.8 + 0.2 * second)
    wrong, _ = paid(look(query=TITLE), answer("none"))
    assert wrong == pytest.approx(0.3)


def test_without_a_search_or_an_answer_there_is_nothing():
    assert paid(answer(ROW.answer))[0] == 0
    assert paid(look(query=TITLE), look(box=PLATE))[0] == 0


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("<search>a</search><answer>b</answer>", 1),
        ("<answer>b</answer>\n<search>a\nb</search>", 1),
        ("<search>a<answer>b</answer>", 0),
        ("<search>a</search>", 0),
    ],
)
def test_the_layout_is_a_search_and_an_answer(said, value):
    assert layout(said) == value


def test_the_last_answer_counts():
    assert right("<answer>4</answer><answer> 5 </answer>", "5") == 1
    assert right("5", "5") == 0


def test_golden_pages_are_a_column_or_the_pages_of_a_file():
    assert golden_of({"golden": ["page_003"]}) == ["page_003"]
    assert golden_of({"file_name": "slides/a talk.pdf", "reference_page": [3, 7]}) == ["a talk_3", "a talk_7"]
    assert golden_of({"file_name": "b.pdf", "reference_page": 2}) == ["b_2"]
    assert golden_of({}) == []


def test_the_demonstrated_turns_find_the_page_and_show_its_digit():
    said = play(EVALUATION.environment, ROW, 0, ROW_TURNS)
    assert [call.name for call in calls(said)] == ["search", "crop"]
    assert not any(call.error for call in calls(said))
    assert pages_of(played(*ROW_TURNS).rollouts[0]) == GOLDEN
    assert said[-1][1].info == {"end": "answer"}


ROW_TURNS = [look(query=TITLE), look(box=PLATE), answer(ROW.answer)]


def test_pictures_of_a_folder_are_a_collection(tmp_path):
    for name in ("talk_2.png", "talk_1.png", "notes.txt"):
        Image.new("RGB", (60, 40), "red").save(tmp_path / name, "PNG")
    pages = PageFiles(str(tmp_path))(ROW)
    assert [page.name for page in pages] == ["talk_1", "talk_2"]
    assert pages[0].draw().size == (60, 40)
    step = looking.searching(Search(PageFiles(str(tmp_path))))(Prompt.ask("?"), 0).step(look(query="red"))
    assert step.info["shown"][0]["page"] == "talk_1"
    with pytest.raises(ValueError, match="holds no pictures of pages"):
        PageFiles(str(tmp_path / "none"))(ROW)


def test_crops_grow_where_the_paper_measures():
    stage, measured = PAPER.stages[0].environment, PAPER.evaluation.environment
    assert (stage.tools["crop"].region.pixels, measured.tools["crop"].region.pixels) == (0, 28)


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(json.loads(json.dumps(to_json(preset)))) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/judge", "reward/format", "reward/ndcg"} <= set(lines[0])
    assert {"ndcg", "searches", "crops"} <= set(run.summary["others"]["after"])
