"""MetaSpatial: layouts graded and checked by physics over several tries; tokens bear their thing's faults."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from by_hand import answered, groups_of, random_model, short_run, spoken

from gamutrl.core import Batch, Context, ResponderError
from gamutrl.data.worlds import rooms
from gamutrl.environments.refining import Refining
from gamutrl.recipes.metaspatial import RECIPE, REFINING, PerThing, coordinates
from gamutrl.rewards.furnishing import Refined, collisions, furnished, kept, readable, sound, total, worth
from gamutrl.training.config import from_json, to_json

ROW = rooms.rows("train", 1, 2, task="place", things=2, room=(4.0, 4.0, 3.0), form="think")[0]
RIGHT, *WRONG = ROW.columns["choices"]
NAMES = [thing["name"] for thing in ROW.columns["facts"]["things"]]
PLACE = (ROW.columns["entries"], ROW.columns["room"])


def layout(**positions: tuple[float, float, float]) -> str:
    return answered("", json.dumps([{"new_object_id": n, **dict(zip("xyz", at))} for n, at in positions.items()]))


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (answered("so", RIGHT), 1),
        (f" {answered('so', RIGHT)}\n", 1),
        (answered("so", "[1]"), 0.5),
        (answered("so", '"ab"'), 1),  # As released: any JSON of the right length.
        (answered("so", "here"), 0.1),
        (answered("so", "null"), 0.1),
        (RIGHT, 0),
    ],
)
def test_how_readable_a_layout_is(said, value):
    assert readable(said, 2) == value


@pytest.mark.parametrize(
    ("parts", "value"), [((0.5, 50, 0, 0), 0.25), ((1, None, 0, 0), 0.5), ((1, 50, 0, 0), 1.5), ((1, 25, 0.5, 1), 0.7)]
)
def test_what_layout_grade_and_physics_come_to(parts, value):
    assert total(*parts) == pytest.approx(value)


def test_the_solution_is_sound_and_every_mistake_costs():
    assert sound(answered("", RIGHT), *PLACE) == 1
    assert worth(ROW, answered("", RIGHT)) == pytest.approx(1.5)
    for wrong in WRONG:
        assert sound(answered("", wrong), *PLACE) == 0
        assert worth(ROW, answered("", wrong)) < 1.5
    heap = layout(**dict.fromkeys(NAMES, (2.0, 2.0, 0.5)))
    assert collisions(heap, *PLACE) > 0
    assert kept(answered("", RIGHT), *PLACE) == 1


@pytest.mark.parametrize("said", ["", answered("", "[]"), layout(**{NAMES[0]: (1, 1, 1)}), layout(ghost=(1, 1, 1))])
def test_a_room_that_is_not_furnished_has_no_physics(said):
    assert furnished(said, *PLACE) is None
    assert collisions(said, *PLACE) is None
    assert sound(said, *PLACE) == kept(said, *PLACE) == 0
    assert worth(ROW, said) <= 0.5


def tried(*said: str):
    """A rollout of several tries, each in a context of its own."""
    first = spoken(ROW, said[0])
    for words in said[1:]:
        (turn,) = spoken(ROW, words).turns
        first.turns.append(replace(turn, context=ROW.messages))
    return first


def test_a_trajectory_is_worth_the_discounted_mean_of_its_tries():
    one, two = worth(ROW, answered("", WRONG[0])), 1.5
    batch = Batch.of([ROW], [tried(answered("", WRONG[0]), answered("", RIGHT)), tried("")], [0, 0])
    assert Refined()(batch, Context()).tolist() == pytest.approx([(one + 0.9 * two) / 1.9, 0.0])


def test_a_judge_is_shown_the_room_and_its_grades_are_summed():
    asked = []

    def judge(conversations):
        asked.extend(conversations)
        return ["[8, 8.7, 8, 8, 12]", "no idea"][: len(conversations)]

    batch = Batch.of([ROW], [spoken(ROW, answered("", said)) for said in (RIGHT, WRONG[0], "[]")], [0, 0, 0])
    value_R = Refined(judge="judge")(batch, Context(responders={"judge": judge}))
    assert value_R.tolist() == pytest.approx([42 / 50 + 0.5, 0.5, 0.25])
    assert [part.kind for part in asked[0][0].parts] == ["image", "text"]


def test_a_judge_that_fails_costs_its_rollout():
    def judge(conversations):
        raise ResponderError("it is not there.")

    batch = Batch.of([ROW], [spoken(ROW, answered("", RIGHT))], [0])
    Refined(judge="judge")(batch, Context(responders={"judge": judge}))
    assert batch.rollouts[0].end == "error"


def test_the_tokens_of_a_number_are_found_with_its_thing():
    said = layout(sofa=(1.5, 2.0, 0.25), lamp=(3.0, -1.0, 0.5))
    (turn,) = spoken(ROW, said).turns
    spelt = [(name, "".join(said[k] for k in spelt_T.nonzero().flatten())) for name, spelt_T in coordinates(turn)]
    assert spelt == [("sofa", n) for n in ("1.5", "2.0", "0.25")] + [("lamp", n) for n in ("3.0", "-1.0", "0.5")]


def test_a_fault_lowers_its_own_numbers_alone():
    right = {thing["name"]: ROW.columns["facts"]["solution"][thing["name"]] for thing in ROW.columns["facts"]["things"]}
    moved = next(
        {**right, name: (2.0, 2.0, right[name][2])}
        for name in reversed(NAMES)
        if kept(layout(**{**right, name: (2.0, 2.0, right[name][2])}), *PLACE) == 0.5
    )
    said = layout(**moved)
    batch = groups_of([ROW], [[said, said]]).with_(reward_R=torch.tensor([1.0, 1.0]))
    advantage_T = PerThing()(batch, Context())[0]
    (turn,) = batch.rollouts[0].turns
    wrong = {name for name in NAMES if moved[name] != right[name]}
    lowered_T = torch.stack([spelt_T for name, spelt_T in coordinates(turn) if name in wrong]).any(0)
    assert (advantage_T[lowered_T] < 0).all()
    assert (advantage_T[~lowered_T] > 0).all()


def test_without_faults_it_is_the_groups_advantage():
    batch = groups_of([ROW], [["aaa", "bbb"]]).with_(reward_R=torch.tensor([0.0, 1.0]))
    assert PerThing()(batch, Context()).tolist() == [
        pytest.approx([-1] * 4, abs=1e-4),
        pytest.approx([1] * 4, abs=1e-4),
    ]
    even = batch.with_(reward_R=torch.tensor([1.0, 1.0]))
    assert not PerThing()(even, Context()).any()


def test_a_perfect_try_is_the_last():
    episode = REFINING(ROW, 0)
    first = episode.step(answered("", WRONG[0]))
    assert not first.done
    assert f"Its reward: {worth(ROW, answered('', WRONG[0])):.2f}" in first.context[-1].text
    assert episode.step(answered("", RIGHT)).done
    assert isinstance(RECIPE.tiny.stages[-1].environment, Refining)


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert "reward/room" in lines[0]
