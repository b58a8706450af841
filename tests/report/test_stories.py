"""A rollout of several turns reads as a story: what was written, where it looked, what came back, how it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from gamutrl.core import Batch, Call, Message, Prompt, image, text
from gamutrl.data.worlds import games, library, turns
from gamutrl.environments import Step, looking
from gamutrl.environments.playing import Playing
from gamutrl.environments.tools.crop import View
from gamutrl.environments.tools.pages import Search
from gamutrl.report.pictures import Drawn, Pictures
from gamutrl.report.rollouts import write_rollouts
from gamutrl.report.story import pieces, told
from gamutrl.training.rollouts import Seat
from gamutrl.training.samples import describe_prompt, describe_rollout

(ROW,) = library.rows("train", 1, task="digit", pages=12, side=144)
SMALL = View(1.0, 8, 0, 72 * 72)
SEARCHING = looking.searching(Search(library.collection_of, view=SMALL), frame=(72, 72), view=View())


def at(environment, row, *said):
    """A rollout in which these turns were taken."""
    seat = Seat(row, environment)
    for one in said:
        seat.say(one)
    return seat.rollout()


@pytest.fixture
def tell(tmp_path):
    """A rollout as the page has it, by way of the run directory's JSON."""
    pictures = Pictures(tmp_path)

    def tell(rollout, **rewards):
        row = json.loads(json.dumps(describe_prompt(rollout.prompt, tmp_path)))
        described = json.loads(json.dumps(describe_rollout(rollout, tmp_path, rewards)))
        return told(described, pictures, row)

    return tell


class TestToolsAndPictures:
    def test_each_turn_has_its_words_its_call_and_what_came_back(self, tell):
        found = tell(at(SEARCHING, ROW, *library.demonstrate_turns(ROW)), judge=1.0)
        assert found.path == ("search", "crop", "answer")
        assert found.stop == "it answered"
        assert found.is_story
        search, crop, answer = found.turns
        assert (search.caption, len(search.pictures), search.looks) == (ROW.columns["golden"][0], 1, ())
        assert len(crop.pictures) == len(crop.looks) == 1
        assert [piece.text for piece in answer.pieces if piece.kind == "answer"] == [ROW.answer]

    def test_a_look_is_drawn_where_it_was_on_the_picture_as_it_was_shown(self, tell):
        """The page has 144 pixels, it was shown in 72, the model writes in 72."""
        box = ROW.columns["evidence"][0]
        _, crop, _ = tell(at(SEARCHING, ROW, *library.demonstrate_turns(ROW))).turns
        assert 'viewBox="0 0 72 72"' in crop.looks[0]
        assert f'x="{box[0]:.1f}" y="{box[1]:.1f}" width="14.0" height="14.0"' in crop.looks[0]
        assert 'class="dim"' in crop.looks[0]

    def test_a_refused_call_says_why(self, tell):
        look = turns.search_or_crop_tag(turns.Look("", {"box": [0, 0, 9, 9]}))
        (turn,) = tell(at(SEARCHING, ROW, look)).turns
        assert [(call.name, call.error) for call in turn.untold] == [("crop", "there is no image yet")]

    def test_a_spent_budget_is_told_in_words(self, tell):
        assert tell(at(SEARCHING, ROW, *["hm"] * 5)).stop == "its turns were spent"


class TestOtherEnvironments:
    def test_a_game_shows_its_boards_and_its_score(self, tell):
        (row,) = games.rows("train", 1, task="2048")
        played = at(Playing(turns=2), row, "<answer>up</answer>", "<answer>left</answer>")
        found = tell(played)
        assert len(found.turns[0].pictures) == 1
        assert [name for name, _ in found.turns[0].scores] == ["reward", "score"]

    def test_a_fresh_start_shows_what_the_turn_sees(self, tell):
        picture = Image.new("RGB", (8, 8), "red")

        class Again:
            def step(self, output):
                if output == "done":
                    return Step(done=True, info={"end": "answer"})
                (message,) = ROW.messages
                parts = (*message.parts, image(picture), text("Reward 0.5."))
                return Step(context=(Message("user", parts),), info={"reward": 0.5})

        found = tell(at(lambda prompt, seed: Again(), ROW, "a try", "done"))
        first, second = found.turns
        assert (first.fresh, second.fresh) == (False, True)
        assert second.opening[0] == ("Reward 0.5.",)
        assert len(second.opening[1]) == 1

    def test_regions_are_drawn_on_the_first_picture(self, tmp_path):
        prompt = Prompt.ask("Where?", image(Image.new("RGB", (40, 20), "blue")))
        described = describe_prompt(prompt, tmp_path)
        rollout = {"turns": [{"text": "x", "info": {"regions": [[0.5, 0.5, 1.0, 1.0]]}}]}
        (turn,) = told(rollout, Pictures(tmp_path), described).turns
        assert 'x="20.0" y="10.0" width="20.0" height="10.0"' in turn.looks[0]

    def test_a_place_that_was_told_is_marked_on_the_picture(self, tmp_path):
        described = describe_prompt(Prompt.ask("Where?", image(Image.new("RGB", (40, 20), "blue"))), tmp_path)
        info = {"shown": [{"picture": 0, "mark": [36, 16, 40, 20]}], "sizes": [[80, 40]]}
        (turn,) = told({"turns": [{"text": "x", "info": info}]}, Pictures(tmp_path), described).turns
        assert 'x="18.0" y="8.0" width="2.0" height="2.0"' in turn.looks[0]

    def test_one_turn_that_called_nothing_is_no_story(self, tell):
        class Once:
            def step(self, output):
                return Step(done=True)

        assert not tell(at(lambda prompt, seed: Once(), ROW, "so")).is_story

    @pytest.mark.parametrize(
        "info",
        [
            {"shown": [{"picture": 7, "box": [0, 0, 1, 1]}]},
            {"shown": [{"picture": "a", "box": [0, 0, 1, 1]}]},
            {"shown": [{"picture": 0, "box": ["<script>", 0, 1, 1]}]},
            {"regions": [["a"] * 4]},
            {"regions": "none"},
        ],
    )
    def test_looks_that_cannot_be_drawn_are_left_out(self, info, tmp_path):
        prompt = describe_prompt(Prompt.ask("?", image(Image.new("RGB", (8, 8)))), tmp_path)
        (turn,) = told({"turns": [{"text": "x", "info": info}]}, Pictures(tmp_path), prompt).turns
        assert turn.looks == ()

    def test_rollouts_of_older_runs_are_told(self, tmp_path):
        found = told({"turns": [{"text": "a", "calls": [{"name": "zoom"}]}, {"text": "b"}]}, Pictures(tmp_path))
        assert found.path == ("zoom", "turn")


def test_json_actions_are_a_thought_and_a_call():
    said = turns.json_action(turns.Look("so", {"tool": "OCR"}))
    assert [piece.kind for piece in pieces(said)] == ["thought", "call"]
    assert "".join(piece.text for piece in pieces(said)) == said


def test_all_but_the_looks_is_dimmed(tmp_path):
    (tmp_path / "media").mkdir()
    Image.new("RGB", (50, 40)).save(tmp_path / "media" / "0123456789abcdef.png")
    shown = Pictures(tmp_path).show("media/0123456789abcdef.png", [Drawn((10, 5, 20, 15), "look")])
    assert 'd="M0 0H50V40H0ZM10.0 5.0V15.0H20.0V5.0Z"' in shown


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_a_page_of_rollouts_escapes_what_a_model_says_and_calls(tmp_path):
    bad = "<script>alert(1)</script>"
    rollout = at(SEARCHING, ROW, f"<search>{bad}</search>", f"<think>{bad}</think>", f"<answer>{bad}</answer>")
    rollout.turns[0] = replace(rollout.turns[0], calls=(Call(bad, {bad: bad}, bad),))
    batch = Batch.of([ROW], [rollout], [0])
    file = write_rollouts(batch, [{"total": 0.5, bad: None}], {"system": bad, "change": bad}, tmp_path / "page.html")
    tags = Tags(file.read_text()).found
    assert tags.count("script") == 1
    assert tags.count("li") == 4
