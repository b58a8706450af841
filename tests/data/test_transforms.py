"""Given a prompt and a change, then what changes is what its name says, and the prompt itself stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gamutrl.core import Message, Prompt, image, text, video
from gamutrl.data.problems import BadRow
from gamutrl.data.transforms import (
    Degraded,
    DropPart,
    Hinted,
    Mirrored,
    Negated,
    NoisyFrames,
    OptionsFrom,
    WithPrefix,
    WithSuffix,
    WithSystem,
    lettered,
    negated,
    shuffle_frames,
)  # fmt: skip

FRAMES = [Image.new("RGB", (8, 4), (30 * k, 0, 0)) for k in range(6)]


def clip(**columns) -> Prompt:
    return Prompt.ask("What happens?", video(FRAMES, fps=2), answer="B", id="row/1", **columns)


def levels(prompt: Prompt) -> list[int]:
    return [frame.getpixel((0, 0))[0] // 30 for frame in prompt.media[0].value]


def half_white() -> Image.Image:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255
    return Image.fromarray(pixels)


def test_shuffled_frames_are_the_same_frames_in_another_order():
    prompt = clip()
    for seed in range(50):
        found = shuffle_frames(prompt, seed)
        assert sorted(levels(found)) == list(range(6))
        assert levels(found) != list(range(6))
        assert found.media[0].info["fps"] == 2
    assert levels(prompt) == list(range(6))
    assert levels(shuffle_frames(prompt, 3)) == levels(shuffle_frames(prompt, 3))
    still = Prompt.ask("?", image(half_white()))
    assert shuffle_frames(still, 0).media[0].value is still.media[0].value


def test_noise_has_the_strength_asked_for():
    grey = Prompt.ask("?", image(Image.new("RGB", (100, 100), (128, 128, 128))))
    pixels = np.asarray(NoisyFrames(0.1)(grey, 0).media[0].value, dtype=float)
    assert abs(pixels.std() - 25.5) < 1
    assert abs(pixels.mean() - 128) < 1


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg", "pixelate", "dark", "contrast", "grey"])
def test_degrading_grows_with_strength_and_keeps_the_size(kind):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    prompt = Prompt.ask("?", image(Image.fromarray(noise)))
    assert Degraded(kind, 0.0)(prompt, 0) is prompt

    def change(strength: float) -> float:
        found = Degraded(kind, strength)(prompt, 0).media[0].value
        assert (found.size, found.mode) == ((32, 32), "RGB")
        return float(np.abs(np.asarray(found, dtype=float) - noise).mean())

    assert 0 < change(0.2) < change(0.9)


def test_a_degradation_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="blur, noise"):
        Degraded("melt")
    with pytest.raises(ValueError, match="from 0 to 1"):
        Degraded("blur", 2)


def test_dropped_parts_leave_the_words():
    found = DropPart("video")(clip(), 0)
    assert found.media == []
    assert found.text == "What happens?"


def test_a_mirror_turns_pictures_words_and_boxes():
    prompt = Prompt.ask(
        "Is the Left square left of the leftmost one?", image(half_white()), answer="right", boxes=[[0, 1, 16, 3]], n=3
    )
    found = Mirrored(boxes=("boxes",))(prompt, 0)
    assert found.media[0].value.getpixel((0, 0)) == (0, 0, 0)
    assert found.text == "Is the Right square right of the rightmost one?"
    assert (found.answer, found.columns["boxes"], found.columns["n"]) == ("left", [[16, 1, 32, 3]], 3)
    twice = Mirrored(boxes=("boxes",))(found, 0)
    assert (twice.text, twice.answer, twice.columns["boxes"]) == (prompt.text, prompt.answer, prompt.columns["boxes"])


def test_words_around_the_question():
    prompt = clip()
    assert WithSuffix(" Answer briefly.")(prompt, 0).text == "What happens? Answer briefly."
    assert WithPrefix("Look. ")(prompt, 0).text == "Look. What happens?"
    assert Hinted("Hint: {answer}, {clue}")(replace(prompt, columns={"clue": 3}), 0).text == "What happens?\nHint: B, 3"
    with pytest.raises(BadRow, match="row/1 has no 'clue'"):
        Hinted("{clue}")(prompt, 0)
    system = WithSystem("New.")(WithSystem("Old.")(prompt, 0), 0)
    assert [(message.role, message.text) for message in system.messages] == [
        ("system", "New."),
        ("user", "What happens?"),
    ]


def test_a_suffix_goes_to_the_last_question_of_a_conversation():
    talk = Prompt((Message("user", (text("a"),)), Message("assistant", (text("b"),)), Message("user", (text("c"),))))
    assert [message.text for message in WithSuffix("!")(talk, 0).messages] == ["a", "b", "c!"]


def test_options_hold_the_right_answer_once_and_its_letter():
    prompt = Prompt.ask("Who?", answer="Ann", negative_answers=["Bob", "Cid", "Dan", "Ann", "Eve"], id="r")
    letters = set()
    for seed in range(40):
        found = OptionsFrom(count=3)(prompt, seed)
        options = found.columns["options"]
        assert len(options) == len(set(options)) == 4
        assert options["ABCD".index(found.answer)] == "Ann"
        assert found.text == "Who?\n" + lettered(options)
        letters.add(found.answer)
    assert letters == set("ABCD")
    with pytest.raises(BadRow, match="no wrong answer"):
        OptionsFrom()(Prompt.ask("Who?", answer="Ann"), 0)


def test_a_negated_question_asks_for_the_wrong_options():
    options = ["runs", "sits", "eats"]
    prompt = Prompt.ask("What does he do?\n" + lettered(options), answer="B", options=options)
    sizes = set()
    for seed in range(40):
        found = Negated(share=1.0)(prompt, seed)
        shown = found.columns["options"]
        chosen = {shown["ABC".index(letter)] for letter in found.answer.split(",")}
        assert chosen == set(shown) - {"sits"}
        assert "sits" in shown
        assert found.text == "what doesn't he do?\n" + lettered(shown)
        sizes.add(len(chosen))
    assert sizes == {1, 2}
    assert Negated(share=0.0)(prompt, 0) is prompt
    assert 5 < sum(Negated(share=0.5)(prompt, seed) is prompt for seed in range(40)) < 35


def test_negation_agrees_with_the_released_code():
    file = Path(__file__).parents[1] / "fidelity" / "golden" / "tw-grpo" / "negate_question.json"
    if not file.exists():
        pytest.skip("the golden vectors are not there")
    for case in json.loads(file.read_text())["cases"]:
        assert negated(case["inputs"]["question"], otherwise="") == case["output"]
    assert negated("How many?") == "which is not an answer to: how many?"
