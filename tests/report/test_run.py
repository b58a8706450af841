"""The report of a run: it says what happened, and nothing in it can hurt."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from small import edit

from gamutrl.report import write_report
from gamutrl.report.history import History, NoRun, warnings

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "{{ 7 * 191 }}{% for x in y %}",
    "<answer></textarea><iframe src=//evil.example></iframe></answer>",
    "]]></script><base href=//evil.example>",
    "\x00\ud800\uffff&#60;script&#62;",
]


class Page(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page(folder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_it_says_what_was_gained_against_what(learned):
    summary = json.loads((learned / "summary.json").read_text())
    text = page(learned).text
    for measured in (summary["before"], summary["after"]):
        assert f"{measured['value']:.3f}" in text
    assert "best constant answer" in text
    assert "from the question alone" in text
    assert "Nothing at all." in text
    assert "arXiv 2402.03300" in text


def test_it_shows_curves_of_every_reward_and_of_the_loop(learned):
    text = page(learned).text
    for title in ("Reward", "Reward by component", "KL to the reference", "Entropy", "Length", "Groups without spread"):
        assert title in text
    assert "accuracy" in text
    assert "Seconds a step" in text


def test_why_rollouts_of_an_environment_ended_is_drawn_step_by_step(copied):
    lines = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    for n, line in enumerate(lines):
        reason = {"stop/answer": 1.0} if n % 2 else {"stop/answer": 0.75, "stop/turns": 0.25}
        line |= {"turns/mean": 2.0, "calls/mean": 1.0, "calls/refused": 0.5, **reason}
    (copied / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert History.read(copied).series("stop/turns")[:3] == [0.25, 0.0, 0.25]
    text = page(copied).text
    for words in ("Turns and calls", "Calls refused", "Why rollouts ended"):
        assert words in text


def test_a_good_run_has_no_warning_and_a_collapsed_one_has(learned, collapsed):
    assert warnings(History.read(learned)) == []
    said = " ".join(warnings(History.read(collapsed)))
    assert "The answers collapsed: «7»" in said
    assert "best constant answer" in said
    assert "does not lie above zero" in said
    assert "The answers collapsed" in page(collapsed).text


def test_one_answer_for_every_row_is_said_even_if_it_was_so_before(copied):
    for name in ("before", "after"):
        edit(copied / "evaluation" / f"{name}.json", lambda told: told.update(answers={"7": 59, "8": 1}))
    assert "98% of the rows get one and the same answer: «7»." in warnings(History.read(copied))


def test_held_out_rows_stand_side_by_side_those_that_changed_first(learned):
    shown = page(learned)
    changes = [attrs["data-change"] for tag, attrs in shown.tags if tag == "article"]
    assert changes
    assert changes == sorted(changes, key=["fixed", "broken", "right", "wrong"].index)
    assert "now right" in shown.text


def test_it_needs_nothing_from_outside(learned):
    shown = page(learned)
    for tag, attrs in shown.tags:
        for name in ("src", "href", "data", "action", "poster"):
            if link := attrs.get(name):
                assert link.startswith(("data:image/", "#", "https://arxiv.org/abs/")), (tag, link)
    assert shown.count("script") == 1
    assert shown.count("link") == 0


@pytest.mark.parametrize("bad", HOSTILE)
def test_what_a_model_writes_is_text_and_never_markup(copied, bad):
    def spoil_evaluation(told):
        told["answers"] = {bad: 30, "7": 30}
        told["measured"]["metric"] = bad
        for row in told["rows"]:
            row["prompt"]["id"] += bad
            row["prompt"]["answer"] = bad
            row["prompt"]["messages"][0]["parts"].append({"kind": "text", "text": bad})
            row["rollout"]["text"] = bad
            row["rollout"]["turns"] = [
                {
                    "text": bad,
                    "calls": [{"name": bad, "arguments": {bad: bad}, "error": bad}],
                    "observation": [{"kind": "text", "text": bad}, {"kind": "image", "file": bad}],
                }
            ] * 2
            row["rollout"]["rewards"] = {bad: 0.5}

    for name in ("before", "after"):
        edit(copied / "evaluation" / f"{name}.json", spoil_evaluation)
    edit(copied / "summary.json", lambda told: told["constant"].update(answer=bad) or told.update(device=bad))
    edit(copied / "config.json", lambda told: told["about"].update(system=bad, title=bad, arxiv=bad, change=bad))
    lines = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    (copied / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, f"reward/{bad}": 1.0, bad: 2.0}) + "\n" for line in lines)
    )

    shown = page(copied)
    assert shown.count("script") == 1
    assert not {"iframe", "img", "base", "object", "embed", "form", "link"} & {tag for tag, _ in shown.tags}
    assert not [name for _, attrs in shown.tags for name in attrs if name.startswith("on")]
    assert "1337" not in shown.text


def test_only_pictures_of_the_run_are_read(copied, tmp_path):
    from PIL import Image

    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(secret)

    def point_outside(told):
        for row in told["rows"]:
            for part in row["prompt"]["messages"][0]["parts"]:
                if part["kind"] == "image":
                    part["file"] = "../secret.png"

    for name in ("before", "after"):
        edit(copied / "evaluation" / f"{name}.json", point_outside)
    (copied / "rollouts.jsonl").unlink()
    shown = page(copied)
    assert shown.count("image") == 0
    assert "picture left out" in shown.text


def test_a_conversation_of_several_turns_reads_as_a_story(copied):
    def converse(told):
        told["rows"][0]["rollout"]["turns"] = [
            {
                "text": "I zoom in.",
                "calls": [{"name": "zoom", "arguments": {"box": [1, 2, 3, 4]}, "error": None}],
                "observation": [{"kind": "text", "text": "Here is the crop."}],
            },
            {"text": "<answer>13</answer>", "calls": [], "observation": []},
        ]

    edit(copied / "evaluation" / "after.json", converse)
    text = page(copied).text
    story = ["I zoom in.", "zoom", "box: [1, 2, 3, 4]", "Here is the crop.", "13", "The end:"]
    at = 0
    for line in story:
        at = text.index(line, at)


@pytest.mark.parametrize(
    "missing", ["summary.json", "evaluation/after.json", "metrics.jsonl", "rollouts.jsonl", "media"]
)
def test_a_run_in_the_middle_has_a_report_too(copied, missing):
    import shutil

    place = copied / missing
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if missing == "evaluation/after.json":
        (copied / "summary.json").unlink()
    shown = page(copied)
    assert shown.count("h1") == 1
    assert ("not finished" in shown.text) == (not (copied / "summary.json").exists())


def test_a_line_that_was_cut_by_a_kill_is_left_out(copied):
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "rl", "step": 30, "rew')
    assert len(History.read(copied).steps) == 30


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path):
    with pytest.raises(NoRun, match="neither a run directory"):
        write_report(tmp_path)


def test_the_page_can_be_written_elsewhere(learned, tmp_path):
    assert write_report(learned, tmp_path / "mine.html") == tmp_path / "mine.html"
    assert (tmp_path / "mine.html").stat().st_size < 3 << 20
