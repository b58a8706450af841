"""Pictures that a model made: before beside after, and every score in a table."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from small import edit

from gamutrl.report import write_report


def drawn(folder, colours):
    """Make a run of text one of pictures: what it answered is replaced by a picture of one colour."""
    for number, (name, colour) in enumerate(colours.items()):
        file = f"media/{number:016x}.png"
        Image.new("RGB", (32, 32), colour).save(folder / file)
        edit(folder / "evaluation" / f"{name}.json", lambda told, n=number, f=file: _draw(told, n, f))


def _draw(told, number, file):
    told["others"] = {"layout": 0.25 + number / 2, "never": None}
    for row in told["rows"]:
        row["rollout"] |= {"pictures": [file], "text": "", "turns": []}


@pytest.fixture
def page(copied):
    drawn(copied, {"before": "red", "after": "blue"})
    return write_report(copied).read_text(encoding="utf-8")


def test_before_and_after_stand_side_by_side_in_a_gallery(page, copied):
    rows = json.loads((copied / "evaluation" / "after.json").read_text())["rows"]
    assert "The same prompts and seeds, before and after" in page
    gallery = page[page.index('<div class="gallery">') :]
    assert gallery.count("<figure") == len(rows)
    assert page.count("<image ") >= 2
    first = gallery[: gallery.index("</figure>")]
    assert first.count('<svg class="picture') == 2
    assert first.index("before") < first.index("after")
    assert "The same held-out rows, before and after" not in page


def test_every_score_is_told_before_and_after(page):
    table = page[page.index('<table class="scores">') :]
    table = table[: table.index("</table>")]
    assert "layout" in table
    for number in ("0.250", "0.750", "+0.500"):
        assert number in table
    assert "never" in table


def test_runs_of_text_have_no_gallery(learned):
    page = write_report(learned).read_text(encoding="utf-8")
    assert '<div class="gallery">' not in page
    assert "The same held-out rows, before and after" in page
