"""`gamut play` and `gamut rollout`: the model's seat taken by a person, and the model's own turns."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image
from rich.console import Console

from gamutrl.cli import main
from gamutrl.cli.terminal import MOST_WORDS, Shown, filmstrip, indented, thumbnail, where
from gamutrl.data.worlds import turns
from gamutrl.recipes import vrag_rl

(PAGES, *_) = vrag_rl.TINY.evaluation.prompts()


@pytest.fixture
def typed(monkeypatch):
    """What a person types, turns parted by empty lines."""
    return lambda *said: monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n".join(said)))


def looks() -> list[str]:
    title, box = PAGES.columns["query"]["titles"][0], PAGES.columns["evidence"][0]
    return [turns.search_or_crop_tag(turns.Look("so", at)) for at in ({"query": title}, {"box": box})]


def answer(said: object) -> str:
    return f"<think>so</think>\n<answer>{said}</answer>"


class TestPlay:
    def test_one_turn_is_scored_by_every_reward(self, typed, tmp_path, capsys):
        typed("<think></think>\n<answer>[{'Position': [56, 4, 72, 20], 'Confidence': 1.0}]</answer>")
        assert main(["play", "visual-rft", "--out", str(tmp_path / "seen")]) == 0
        told = capsys.readouterr().out
        assert "Where is the red cross?" in told
        assert str(tmp_path / "seen" / "001.png") in told.replace("\n", "")
        assert Image.open(tmp_path / "seen" / "001.png").size == (72, 72)
        for line in ("iou 1.000", "confidence 1.000", "name – does not apply", "total 3.000"):
            assert line in " ".join(told.split())

    def test_tools_answer_and_the_end_says_why_it_came(self, typed, tmp_path, capsys):
        typed(*looks(), answer(PAGES.answer))
        assert main(["play", "vrag-rl", "--out", str(tmp_path / "seen")]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert PAGES.columns["golden"][0] in told
        assert "of picture 1" in told
        assert "ended: answer" in told
        assert "ndcg 1.000 weight 0.2" in told
        assert "total 1.000" in told
        assert len(list((tmp_path / "seen").glob("*.png"))) == 2

    def test_an_episode_may_be_left_and_is_scored_so_far(self, typed, capsys):
        typed(looks()[0])
        assert main(["play", "vrag-rl"]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "Nothing more was typed" in told
        assert "not over" in told
        assert "total 0.000" in told

    def test_a_refused_call_is_told(self, typed, capsys):
        typed(looks()[1], answer(1))
        assert main(["play", "vrag-rl"]) == 0
        assert "refused: there is no image yet" in capsys.readouterr().out

    def test_where_turns_are_pictures_a_move_is_named(self, typed, capsys):
        typed("down")
        assert main(["play", "visual-planning"]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "Name a move" in told
        assert "progress 1.000" in told

    def test_rows_of_training_follow_the_seed(self, typed, capsys):
        told = []
        for seed in ("1", "1", "2"):
            typed(answer(1))
            assert main(["play", "grpo", "--split", "train", "--row", "3", "--seed", seed]) == 0
            told.append(capsys.readouterr().out.split("your turn")[0].partition("gamut-play")[0])
        assert told[0] == told[1] != told[2]

    def test_control_characters_do_not_reach_the_terminal(self, typed, capsys):
        typed("\x1b]0;owned\x07" + answer(1))
        assert main(["play", "grpo"]) == 0
        told = capsys.readouterr().out
        assert "owned" in told
        assert "\x1b" not in told
        assert "\x07" not in told

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["no-such-system"], "There is no system called"),
            (["flow-grpo"], "makes pictures, which cannot be typed"),
            (["grpo", "--row", "100000"], "numbered from 0"),
            (["grpo", "--row", "-1"], "numbered from 0"),
            (["grpo", "--variant", "released"], "No variant 'released'"),
            (["grpo"], "No turn was taken"),
        ],
    )
    def test_what_cannot_be_is_told_in_a_sentence(self, words, said, typed, capsys):
        typed("")
        assert main(["play", *words]) != 0
        assert said in capsys.readouterr().err


class TestRollout:
    def test_rollouts_of_a_system_are_told_with_their_rewards_and_as_a_page(self, model, tmp_path, capsys):
        page = tmp_path / "story.html"
        words = ["rollout", "visual-rft", "--model", str(model), "--n", "2", "--rl.sampling.max_tokens", "8"]
        assert main([*words, "--out", str(page)]) == 0
        told = capsys.readouterr().out
        assert told.count("ended: ") == 2
        assert told.count("total") == 2
        assert str(page) in told.replace("\n", "")
        html = page.read_text()
        assert "rollout 2 of 2" in html
        assert "<image id=" in html

    def test_tools_and_rows(self, model, capsys):
        words = [
            "rollout",
            "vrag-rl",
            "--model",
            str(model),
            "--n",
            "1",
            "--rows",
            "2",
            "--rl.sampling.max_tokens",
            "6",
        ]
        assert main(words) == 0
        told = capsys.readouterr().out
        assert told.count("Your previous action is invalid") >= 2
        assert "ended: turns" in told

    def test_the_same_seed_gives_the_same_rollouts(self, model, capsys):
        told = []
        for seed in ("1", "1", "2"):
            words = ["rollout", "grpo", "--model", str(model), "--n", "1", "--rl.sampling.max_tokens", "8"]
            assert main([*words, "--split", "test", "--seed", seed]) == 0
            told.append(capsys.readouterr().out.split("rollout 1")[1])
        assert told[0] == told[1] != told[2]

    def test_the_model_of_a_run_on_a_row_that_it_was_measured_on(self, finished, monkeypatch, capsys):
        monkeypatch.syspath_prepend(finished.parent)  # Where the run's own reward is.
        assert main(["rollout", str(finished), "--n", "1", "--allow", "short_reward"]) == 0
        told = capsys.readouterr().out
        assert "ended: " in told
        assert "short" in told

    def test_a_model_that_makes_pictures_writes_them(self, tmp_path, capsys):
        words = ["rollout", "flow-grpo", "--n", "2", "--pictures", str(tmp_path / "made")]
        assert main(words) == 0
        told = capsys.readouterr().out
        assert len(list((tmp_path / "made").glob("*.png"))) == 2
        assert "gamut sample" in told

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["no-such-system"], "There is no system called"),
            (["grpo", "--n", "0"], "must be at least 1"),
            (["grpo", "--out", "story.txt"], "names a page"),
            (["grpo", "--before"], "needs a run directory"),
            (["grpo", "--model", "nothing-of-the-kind"], "There is no model 'nothing-of-the-kind'"),
        ],
    )
    def test_what_cannot_be_is_told_in_a_sentence(self, words, said, capsys):
        assert main(["rollout", *words]) != 0
        assert said in capsys.readouterr().err


class TestTerminal:
    def test_a_thumbnail_has_two_pixels_a_character(self):
        picture = Image.new("RGB", (4, 4), "red")
        picture.paste("blue", (0, 0, 4, 1))
        first, second, _ = thumbnail(picture, columns=4, rows=2).split("\n", allow_blank=True)
        assert (first.plain, second.plain) == ("▀▀▀▀", "▀▀▀▀")
        style = first.spans[0].style
        assert (style.color.name, style.bgcolor.name) == ("#0000ff", "#ff0000")

    def test_without_colours_it_is_grey_letters(self):
        halves = Image.new("RGB", (8, 8), "black")
        halves.paste("white", (4, 0, 8, 8))
        assert thumbnail(halves, 8, 4, colour=False).plain.splitlines() == ["    @@@@"] * 4

    @pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (5, 3)])
    def test_any_shape_fits(self, size):
        lines = thumbnail(Image.new("RGB", size), 20, 10).plain.splitlines()
        assert 1 <= len(lines) <= 10
        assert 1 <= len(lines[0]) <= 20

    def test_a_clip_is_a_strip_of_frames(self, tmp_path):
        frames = [Image.new("RGB", (10, 8), (k, 0, 0)) for k in range(40)]
        assert filmstrip(frames).size == (16 * 12 - 2, 8)
        shown = Shown(Console(file=io.StringIO()), tmp_path)
        shown.picture(frames, "video")
        assert "40 frames of 10 × 8" in shown.console.file.getvalue()

    def test_long_words_are_cut_and_say_so(self):
        console = Console(file=io.StringIO(), width=100)
        console.print(indented("a" * (MOST_WORDS + 5)))
        assert "5 more characters" in console.file.getvalue()

    def test_what_a_call_brought_is_told(self):
        assert where({"box": [1, 2, 3, 4], "picture": 0}) == "the part [1, 2, 3, 4] of picture 1"
        assert where({"page": "page_002", "query": "red"}) == "page_002"
        assert where({}) == ""
