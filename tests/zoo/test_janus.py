"""`janus-tiny`: what it is taught, how it is trained, and that the packaged one is what its card says."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from gamutrl import zoo
from gamutrl.core import Context, Prompt, Sampling
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.rewards.shown import Shown
from gamutrl.zoo import janus, janus_lessons
from gamutrl.zoo.janus_training import Plan, encode, joint_loss, train

packaged = pytest.mark.skipif("janus-tiny" not in zoo.available(), reason="the package holds no janus-tiny")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer():
    return janus.build_tokenizer(janus_lessons.words())


def test_any_text_round_trips_and_the_worlds_words_are_single_tokens(tokenizer):
    for said in ("two red circles, a blue square", "naïve <think> ∑ </answer>", "  7 of 9\n"):
        assert tokenizer.decode(tokenizer(said)["input_ids"]) == said
    assert all(len(tokenizer(f" {word}")["input_ids"]) == 1 for word in ("red", "circles", "triangle", "right"))


def test_lessons_are_a_function_of_their_seed(tokenizer):
    one, other = (janus_lessons.batch(janus_lessons.lessons(3, 24), tokenizer) for _ in range(2))
    assert torch.equal(one.ids_BL, other.ids_BL)
    assert torch.equal(one.drawn_MCHW, other.drawn_MCHW)


def test_a_lesson_learns_words_and_the_codes_right_after_the_opening(tokenizer):
    batch = janus_lessons.batch(janus_lessons.lessons(0, 40), tokenizer)
    opens = tokenizer.convert_tokens_to_ids(janus.BOI)
    rows = batch.drawn_B.nonzero().flatten().tolist()
    assert rows
    assert all(int(batch.ids_BL[b, batch.start_B[b] - 1]) == opens for b in rows)
    for b in range(40):
        learned = batch.target_BL[b][batch.target_BL[b] >= 0]
        assert (learned == batch.ids_BL[b][batch.target_BL[b] >= 0]).all()
        if not len(learned):
            assert bool(batch.drawn_B[b])
        elif not bool(batch.drawn_B[b]):
            assert int(learned[-1]) == tokenizer.eos_token_id


def test_both_phases_train_and_a_stopped_one_goes_on(tokenizer, tmp_path):
    plan = Plan(code_steps=4, code_batch=2, decoder_steps=3, steps=2, batch=4, warmup=1)
    model = janus.build_model(tokenizer)
    done = train(model, tokenizer, plan, tmp_path)
    assert {phase.name: phase.step for phase in done} == {"codes": 4, "decoder": 3, "both": 2}
    again = janus.build_model(tokenizer, seed=1)
    train(again, tokenizer, plan, tmp_path)
    for (name, one), other in zip(model.state_dict().items(), again.state_dict().values()):
        assert torch.equal(one, other), name


def test_the_training_loss_is_the_policys_own(tokenizer):
    """What training minimises is what the policy scores: prompt, opening, codes."""
    model = janus.build_model(tokenizer)
    (row,) = pictures.rows("train", 1, 0, task="object")
    lesson = janus_lessons.Lesson(
        ((janus_lessons.asked(row.text), False), (janus.BOI, False)), drawn=pictures.draw(pictures.placed(row), 24)
    )
    loss, _ = joint_loss(model, janus_lessons.batch([lesson], tokenizer))
    policy = ImageTokenPolicy(model, janus.build_processor(tokenizer))
    batch = policy.demonstrated([row], [pictures.target(row, 24)])
    code_BK = encode(model, janus_lessons.pixels([pictures.draw(pictures.placed(row), 24)]))
    assert torch.equal(batch.rollouts[0].turns[0].tokens_T - policy.backbone.words, code_BK[0])
    assert float(loss) == pytest.approx(-float(policy.log_probs(batch).mean()), abs=1e-4)


@packaged
def test_the_packaged_model_is_what_its_card_says():
    card = json.loads((zoo.path("janus-tiny") / "card.json").read_text())
    policy = ImageTokenPolicy.load(zoo.path("janus-tiny"), dtype="float32")
    stated = {score["task"]: score for score in card["held_out"]}
    prompts = pictures.rows("test", 48, 0, task="any")
    batch = policy.rollout(prompts, 1, SingleTurn(), Sampling(), seed=0)
    facts = float(Shown(partial=True)(batch, Context()).mean())
    assert facts == pytest.approx(stated["any"]["facts"], abs=0.12)


@packaged
def test_the_packaged_model_draws_digits_and_shapes_it_can_read_back():
    policy = ImageTokenPolicy.load(zoo.path("janus-tiny"), dtype="float32")
    rows = pictures.rows("test", 12, 1, task="pair")
    shown = [pictures.target(row, janus.SIDE) for row in rows]
    again = policy.codes.decode(policy.codes.encode(shown))
    assert all(isinstance(picture, Image.Image) for picture in again)
    batch = policy.rollout([Prompt.ask("the digit 3", id="three")], 2, SingleTurn(), Sampling(), seed=0)
    assert batch.rollouts[0].output.size == (janus.SIDE, janus.SIDE)
