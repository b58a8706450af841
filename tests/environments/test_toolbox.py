"""Environments of tools: what is asked for is done, errors are told, and budgets end a rollout for a stated reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gamutrl.core import Prompt, image, video
from gamutrl.environments import Budget, looking
from gamutrl.environments.tools.crop import View
from gamutrl.environments.tools.frames import PickSpan


def page(width=200, height=100) -> Image.Image:
    """A picture whose every pixel tells where it is: red is x, green is y."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint8)
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], -1))


def prompt(*pictures: Image.Image) -> Prompt:
    return Prompt.ask("What is there?", *(image(picture) for picture in pictures or (page(),)))


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def shown(step) -> list[Image.Image]:
    return [part.value for part in step.parts if part.kind == "image"]


def said(step) -> str:
    return "".join(part.value for part in step.parts if part.kind == "text")


class TestZoom:
    def test_a_box_is_shown_from_the_original_picture(self):
        episode = looking.zoom()(prompt(), 0)
        step = episode.step(call("image_zoom_in_tool", bbox_2d=[100, 20, 150, 60]))
        assert shown(step)[0].size == (50, 40)
        assert shown(step)[0].getpixel((0, 0)) == (100, 20, 0)
        assert said(step) == "<tool_response></tool_response>"
        again = episode.step(call("image_zoom_in_tool", bbox_2d=[0, 0, 40, 40]))
        assert shown(again)[0].getpixel((0, 0)) == (0, 0, 0)

    def test_a_box_is_read_in_the_frame_that_the_model_sees(self):
        step = looking.zoom(frame=(20, 10))(prompt(), 0).step(call("image_zoom_in_tool", bbox_2d=[10, 2, 15, 6]))
        assert shown(step)[0].getpixel((0, 0)) == (100, 20, 0)
        assert step.info["shown"] == [{"box": [100, 20, 150, 60], "picture": 0}]

    @pytest.mark.parametrize(
        "turn",
        [
            "<tool_call>{</tool_call>",
            call("paint"),
            call("image_zoom_in_tool"),
            call("image_zoom_in_tool", bbox_2d=[0, 0, 20, 20]),
            call("image_zoom_in_tool", bbox_2d=["a", 0, 0, 0]),
            call("image_rotate_tool", angle="up"),
        ],
    )
    def test_an_error_is_told_and_the_rollout_goes_on(self, turn):
        episode = looking.zoom()(prompt(), 0)
        step = episode.step(turn)
        assert said(step).startswith("Error: ")
        assert not step.done
        assert step.calls[0].error
        assert not episode.step(call("image_zoom_in_tool", bbox_2d=[0, 0, 50, 50])).done

    def test_an_answer_ends_it_and_so_does_a_turn_that_asks_for_nothing(self):
        answered, silent = (looking.zoom()(prompt(), 0).step(text) for text in ("<answer>2</answer>", "well"))
        assert (answered.done, answered.info) == (True, {"end": "answer"})
        assert (silent.done, silent.info) == (True, {"stop": "nothing"})

    def test_the_turn_after_the_last_is_not_answered(self):
        episode = looking.zoom(turns=2)(prompt(), 0)
        turn = call("image_zoom_in_tool", bbox_2d=[0, 0, 50, 50])
        assert not episode.step(turn).done
        over = episode.step(turn)
        assert (over.done, over.info) == (True, {"end": "budget", "stop": "turns"})
        assert over.calls[0].error == "the budget of turns is spent"

    def test_a_square_crop_holds_the_box_and_stays_in_the_picture(self):
        step = looking.zoom(square=True)(prompt(), 0).step(call("image_zoom_in_tool", bbox_2d=[150, 10, 200, 90]))
        assert step.info["shown"][0]["box"] == [120, 10, 200, 90]


class TestZoomOrFrames:
    def test_any_picture_seen_so_far_can_be_cropped_by_fractions_with_a_margin(self):
        episode = looking.zoom_or_frames()(prompt(), 0)
        first = episode.step(call("crop_image_normalized", bbox_2d=[0.5, 0.5, 0.9, 0.9], target_image=1))
        assert first.info["shown"][0]["box"] == [80, 40, 200, 100]
        assert said(first) == "Here is the cropped image (Image Size: 120x60):"
        second = episode.step(call("crop_image_normalized", bbox_2d=[0.0, 0.0, 0.5, 0.5], target_image=2))
        assert second.info["shown"][0] == {"box": [0, 0, 72, 36], "picture": 1}

    def test_frames_are_shown_by_number_and_numbered(self):
        frames = [Image.new("RGB", (40, 40), (k, 0, 0)) for k in range(16)]
        episode = looking.zoom_or_frames(pictures=32)(Prompt.ask("When?", video(frames)), 0)
        step = episode.step(call("select_frames", target_frames=[3, 16]))
        assert [picture.getpixel((0, 0))[0] for picture in shown(step)] == [2, 15]
        assert "(Frame Size: 40x40, Numbered 17 to 18)" in said(step)

    @pytest.mark.parametrize("frames", [[0], [17], list(range(1, 10)), "all", [1.5], []])
    def test_frames_that_are_not_there_or_too_many_are_an_execution_error(self, frames):
        clip = video([Image.new("RGB", (40, 40))] * 16)
        step = looking.zoom_or_frames(pictures=40)(Prompt.ask("?", clip), 0).step(
            call("select_frames", target_frames=frames)
        )
        assert said(step).startswith("Execution error:\n")

    def test_selecting_frames_of_a_picture_is_an_error_and_no_call_at_the_end_an_answer(self):
        episode = looking.zoom_or_frames()(prompt(), 0)
        assert "no video" in said(episode.step(call("select_frames", target_frames=[1])))
        assert episode.step(call("select_frames", target_frames=[1]) + " so it is 3").info == {"end": "answer"}

    def test_pictures_and_calls_are_counted(self):
        turn = call("crop_image_normalized", bbox_2d=[0, 0, 0.5, 0.5], target_image=1)
        episode = looking.zoom_or_frames(pictures=2)(prompt(), 0)
        assert not episode.step(turn).done
        assert episode.step(turn).info["stop"] == "pictures"
        episode = looking.zoom_or_frames(calls=1)(prompt(), 0)
        assert not episode.step(turn).done
        assert episode.step(turn).info["stop"] == "calls"

    def test_a_span_of_seconds_is_shown_by_evenly_spaced_frames(self):
        frames = [Image.new("RGB", (40, 40), (k, 0, 0)) for k in range(16)]
        box = replace(looking.zoom_or_frames(pictures=40), tools={"look": PickSpan(rate=2.0, count=3)})
        step = box(Prompt.ask("?", video(frames)), 0).step(call("look", start=1, end=4))
        assert step.info["shown"] == [{"frames": [3, 5, 8]}]


def test_several_boxes_of_one_turn_are_shown_in_order_and_those_at_fault_told():
    box = looking.zoom_several(view=View(), instruction="Think.")
    turn = "".join(call("image_zoom_in_tool", bbox_2d=b) for b in ([20, 20, 60, 60], [0, 0, 201, 5], [0, 0, 40, 40]))
    step = box(prompt(), 0).step(turn)
    assert [picture.size for picture in shown(step)] == [(60, 60), (50, 50)]
    assert "x1 (201) > image width (200)" in said(step)
    assert said(step).endswith("Think.")
    assert [call.error is None for call in step.calls] == [True, False, True]


class TestEvidence:
    def test_the_first_four_numbers_in_brackets_are_the_box(self):
        step = looking.evidence()(prompt(), 0).step("<think>see [100, 20, 160.5, 60] and [0,0,1,1]</think>")
        assert step.info["shown"][0]["box"] == [100, 20, 160, 60]

    def test_a_small_box_is_widened(self):
        step = looking.evidence()(prompt(), 0).step("<box>[100, 50, 102, 52]</box>")
        x1, y1, x2, y2 = step.info["shown"][0]["box"]
        assert (x2 - x1, y2 - y1) == (28, 28)

    @pytest.mark.parametrize("turn", ["no box", "[1, 2, 3]", "[0, 0, 1000000, 1]x", "[0, 0, 999999, 999999]"])
    def test_without_a_box_that_fits_the_whole_picture_is_shown(self, turn):
        assert shown(looking.evidence()(prompt(), 0).step(turn))[0].size[0] == 200

    def test_an_answer_that_is_begun_ends_it(self):
        assert looking.evidence()(prompt(), 0).step("[0, 0, 50, 50] <answer>").info == {"end": "answer"}


class TestPoints:
    def test_the_surroundings_of_a_point_are_shown_in_one_size(self):
        step = looking.points(half=25, side=64, dot=3)(prompt(), 0).step(
            call("search_coordinate", coordinate=[100, 50])
        )
        assert shown(step)[0].size == (64, 64)
        assert shown(step)[0].getpixel((32, 32))[0] > 240
        assert said(step).startswith("<observation>")
        assert said(step).endswith("</observation>")

    @pytest.mark.parametrize("point", [[200, 0], [-1, 0], [1], "here"])
    def test_a_point_beside_the_picture_is_refused(self, point):
        step = looking.points()(prompt(), 0).step(call("search_coordinate", coordinate=point))
        assert "Error" in said(step)

    def test_the_answer_is_begun_where_no_more_pictures_fit(self):
        episode = looking.points(pictures=3, half=20, side=32)(prompt(), 0)
        turn = call("search_coordinate", coordinate=[100, 50])
        assert episode.step(turn).prefill == ""
        assert episode.step(turn).prefill.endswith("<answer>")
        assert episode.step(turn).info["stop"] == "pictures"


class TestDrawing:
    def turn(self, *items: dict) -> str:
        return f"<think>t</think>\nAction: Object Mapper\n```json\n{json.dumps(list(items))}\n```"

    def box(self, label="a", index=1, corners=(20, 20, 60, 60)) -> dict:
        return {"index": index, "bbox_2d": list(corners), "label": label}

    def test_what_is_drawn_stays_and_a_label_drawn_again_moves(self):
        episode = looking.drawing(labels=False)(prompt(Image.new("RGB", (200, 100))), 0)
        first = shown(episode.step(self.turn(self.box())))[0]
        assert first.getpixel((20, 40)) == (255, 0, 0)
        step = episode.step(self.turn(self.box("b", 2, (120, 20, 160, 60)), self.box("a", 2, (70, 20, 110, 60))))
        second = shown(step)[0]
        assert second.getpixel((20, 40)) == (0, 0, 0)
        assert second.getpixel((120, 40)) != (0, 0, 0)
        assert second.getpixel((70, 40)) != (0, 0, 0)
        assert "index of the given image is 3 (width: 200, height: 100)" in said(step)

    def test_several_pictures_are_drawn_on_in_one_turn(self):
        episode = looking.drawing()(prompt(page(), page()), 0)
        step = episode.step(self.turn(self.box(index=1), self.box(index=2)))
        assert len(shown(step)) == 2
        arrow = {"index": 4, "start_point_2d": [0, 0], "end_point_2d": [50, 50], "label": "way"}
        assert len(shown(episode.step(self.turn(arrow)))) == 1

    @pytest.mark.parametrize(
        "turn", ["no", "```json\n[1]\n```", '```json\n[{"bbox_2d": [1,2,3,4], "label": "a"}]\n```']
    )
    def test_a_turn_without_a_valid_drawing_ends_it(self, turn):
        step = looking.drawing()(prompt(), 0).step(turn)
        assert (step.done, step.info["stop"]) == (True, "unreadable")

    def test_a_picture_that_is_not_there_ends_it(self):
        assert looking.drawing()(prompt(), 0).step(self.turn(self.box(index=7))).info["stop"] == "failed"

    def test_the_last_words_forbid_tools(self):
        episode = looking.drawing(turns=2)(prompt(), 0)
        assert "without drawing" in said(episode.step(self.turn(self.box())))


def test_wall_clock_ends_a_rollout():
    episode = replace(looking.zoom(), budget=Budget(turns=None, seconds=10))(prompt(), 0)
    now = episode.clock()
    episode.clock = lambda: now + 11
    assert episode.step(call("image_zoom_in_tool", bbox_2d=[0, 0, 50, 50])).info["stop"] == "seconds"


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="A budget of turns must be more than 0"):
        Budget(turns=0)
