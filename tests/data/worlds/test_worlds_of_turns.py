"""Worlds to act in: what must be looked at is known, is illegible before and legible after, and answers are exact."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.worlds import (
    boards,
    charts,
    clutter,
    films,
    games,
    library,
    mazes,
    pages,
    render,
    rooms,
    sheets,
    turns,
)

WORLDS = (pages, clutter, films, library, charts, mazes, games, rooms)
ALL = [pytest.param(world, task, id=f"{world.__name__[21:]}-{task}") for world in WORLDS for task in world.TASKS]
SMALL = {pages: {"side": 288}, clutter: {"side": 288}, library: {"side": 144, "pages": 12}, charts: {"side": 144}}


def rows(world, split, n, seed=0, **knobs) -> list[Prompt]:
    return world.rows(split, n, seed, **{**SMALL.get(world, {}), **knobs})


@pytest.mark.parametrize(("world", "task"), ALL)
class TestEveryTask:
    def test_a_row_depends_on_split_seed_and_number_only(self, world, task):
        few, many = rows(world, "train", 1, 3, task=task), rows(world, "train", 3, 3, task=task)
        assert few[0].text == many[0].text
        assert few[0].answer == many[0].answer
        assert [part.value for part in few[0].media] == [part.value for part in many[0].media]
        other = rows(world, "test", 1, 3, task=task)[0]
        assert (other.columns["facts"], other.columns["query"]) != (few[0].columns["facts"], few[0].columns["query"])

    def test_a_demonstration_ends_with_the_answer_or_with_a_wrong_one(self, world, task):
        for row in rows(world, "train", 4, task=task, form="think"):
            assert world.demonstrate(row, "work").endswith(f"<answer>{row.answer}</answer>")
        if world is not clutter and (world, task) != (rooms, "place"):
            wrong = [world.demonstrate(r, "direct", 1.0) != r.answer for r in rows(world, "train", 6, task=task)]
            assert np.mean(wrong) > 0.7

    def test_a_row_is_plain_data_beside_its_pictures(self, world, task):
        (row,) = rows(world, "test", 1, task=task)
        assert json.loads(json.dumps(dict(row.columns)))["world"] == world.__name__.rpartition(".")[2]

    def test_constant_answers_are_answers(self, world, task):
        assert all(isinstance(answer, str) for answer in world.answers(task))


def view(picture: Image.Image, box=None) -> np.ndarray:
    """What a model sees that sees every picture in 72 pixels."""
    if box is not None:
        scale = picture.width / render.SIZE
        picture = picture.crop(tuple(round(side * scale) for side in box))
    return np.asarray(picture.resize((render.SIZE, render.SIZE), Image.Resampling.LANCZOS).convert("L"), float)


def as_scans(seen: np.ndarray, split: str) -> str:
    """The digit whose scans look most like any place in a picture, at the sizes at which the worlds show digits."""
    from numpy.lib.stride_tricks import sliding_window_view

    def features(windows: np.ndarray) -> np.ndarray:
        flat = windows.reshape(len(windows), -1) - windows.reshape(len(windows), -1).mean(1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    best, answer = -1.0, ""
    for side in (14, 15):
        centre = seen[20:52, 20:52]
        windows = features(sliding_window_view(centre, (side, side)).reshape(-1, side, side))
        for digit, scans in enumerate(render.scans(split)):
            stamps = [
                np.asarray(
                    Image.fromarray((render.digit_stamp(scan) * 255).astype(np.uint8)).resize((side, side)), float
                )
                for scan in scans[:24]
            ]
            score = float((windows @ features(np.stack(stamps)).T).max())
            if score > best:
                best, answer = score, str(digit)
    return answer


class TestPages:
    def test_a_digit_is_legible_in_a_crop_of_its_shape_and_not_before(self):
        made = pages.rows("train", 8, 1, task="digit", side=504)
        before = [as_scans(view(row.media[0].value), "train") == row.answer for row in made]
        after = [as_scans(view(row.media[0].value, row.columns["evidence"][0]), "train") == row.answer for row in made]
        assert np.mean(after) >= 0.75
        assert np.mean(before) <= 0.4

    def test_a_word_is_plain_in_a_crop_of_its_shape_and_lost_before(self):
        for row in pages.rows("train", 4, 1, task="word", side=1024):
            assert row.media[0].value.size == (1024, 1024)
            (thing,) = (t for t in row.columns["facts"]["things"] if t.get("word") == row.answer)
            assert row.columns["evidence"] == [thing["box"]]
            assert len(pages.demonstrate_turns(row)) == 2
            # The same page with another word there: how much of it is another picture?
            facts = {**row.columns["facts"]}
            facts["things"] = [{**t, "word": "XXX"} if t == thing else t for t in facts["things"]]
            one, other = row.media[0].value, pages.draw_page(facts)
            closely, afar = (
                np.linalg.norm(view(one, box) - view(other, box)) for box in (sheets.middle(thing["box"], 12), None)
            )
            assert closely > 4 * afar

    def test_words_of_the_splits_have_nothing_in_common_and_grow_with_the_knob(self):
        train, test = (
            {t["word"] for row in rows(pages, split, 60, task="word") for t in row.columns["facts"]["things"]}
            for split in ("train", "test")
        )
        assert not train & test
        assert {len(word) for word in train} == {3}
        assert len(rows(pages, "test", 1, task="word", letters=6)[0].answer) == 6
        with pytest.raises(ValueError, match="at least 2 letters"):
            rows(pages, "train", 1, task="word", letters=1)

    def test_large_ink_needs_no_closer_look(self):
        (row,) = pages.rows("train", 1, task="digit", inks=(14,))
        assert not row.columns["need"]
        assert len(pages.demonstrate_turns(row)) == 1
        assert len(pages.demonstrate_turns(row, always=True)) == 2

    def test_half_of_mixed_questions_need_a_closer_look(self):
        made = rows(pages, "train", 100, task="mixed")
        assert 0.35 < np.mean([row.columns["need"] for row in made]) < 0.65

    def test_every_shape_is_looked_at_until_the_digit_is_found(self):
        (row,) = rows(pages, "train", 1, task="find")
        assert len(pages.demonstrate_turns(row)) == len(row.columns["facts"]["things"]) + 1

    def test_a_detour_is_a_look_beside_and_then_the_right_one(self):
        (row,) = rows(pages, "train", 1, task="digit")
        said = pages.demonstrate_turns(row, turns.box_tag, detour=1.0)
        box = f"<box>{row.columns['evidence'][0]}</box>"
        assert box not in said[0]
        assert box in said[1]
        assert said[2].endswith(f"<answer>{row.answer}</answer>")


class TestFilms:
    def test_only_the_bright_frame_shows_the_digit(self):
        (row,) = films.rows("train", 1, task="digit")
        frames = films.frames_of(row)
        bright = [int((np.asarray(frame) >= 230).all(-1).sum()) for frame in frames]
        assert row.columns["evidence"] == [int(np.argmax(bright)) + 1]
        assert row.media[0].value.size == (render.SIZE, render.SIZE)

    def test_a_clip_is_blurred(self):
        (row,) = films.rows("train", 1, task="digit", view="clip", frames=8)
        assert len(row.media[0].value) == 8
        k = row.columns["evidence"][0] - 1
        assert row.media[0].value[k] != films.frames_of(row)[k]


class TestClutter:
    def test_targets_are_found_close_up_and_not_from_afar(self):
        for row in rows(clutter, "train", 8, task="count"):
            query = row.columns["query"]
            name = [f"{query['colour']} {query['shape']}"]
            near = sum(len(clutter.detect(row, name, box)) for box in row.columns["evidence"])
            assert near == len(row.columns["targets"]) == int(row.answer)
            assert clutter.detect(row, name, [0, 0, 72, 72]) == []
            assert clutter.detect(row, ["no such thing"], row.columns["evidence"][0]) == []


class TestLibrary:
    def test_splits_share_no_page(self):
        train, test = (library.collection(split, pages=200) for split in ("train", "test"))
        assert not {page.title_text for page in train} & {page.title_text for page in test}
        assert len({page.title_text for page in train}) == 200

    def test_the_answer_stands_on_the_golden_page(self):
        for row in rows(library, "test", 5, task="digit"):
            (page,) = (page for page in library.collection_of(row) if page.name in row.columns["golden"])
            assert str(page.digit) == row.answer
            assert page.title_text in row.text

    def test_a_digit_is_legible_in_a_crop_of_its_plate_and_not_before(self):
        found = []
        for row in library.rows("train", 12, task="digit"):
            (page,) = (page for page in library.collection_of(row) if page.name in row.columns["golden"])
            plate = row.columns["evidence"][0]
            found.append(as_scans(view(page.draw(), plate), "train") == row.answer)
        assert np.mean(found) >= 0.75

    def test_a_search_goes_astray_and_a_guess_looks_at_nothing(self):
        (row,) = library.rows("train", 1, task="digit")
        said = library.demonstrate_turns(row, stray=1.0)
        title = row.columns["query"]["titles"][0]
        assert [f"<search>{title}</search>" in turn for turn in said] == [False, True, False, False]
        assert not any("<bbox>" in turn for turn in library.demonstrate_turns(row, hasty=1.0))

    def test_a_collection_that_is_too_large_is_refused(self):
        with pytest.raises(ValueError, match="from 1 to 828 pages"):
            library.collection("train", pages=900)


class TestCharts:
    def test_a_mark_stands_where_its_value_says(self):
        for row in charts.rows("train", 6, task="value", kind="bar"):
            facts = row.columns["facts"]
            seen = np.asarray(row.media[0].value).astype(int)
            scale = facts["side"] / render.SIZE
            for name, value in zip(facts["names"], facts["values"]):
                x, y = charts.top_of(facts, name)
                if value:
                    inside = seen[round((y + 1) * scale), round(x * scale)]
                    assert np.abs(inside - np.array(render.COLOURS[name])).max() < 30

    def test_actions_look_at_the_mark_and_then_say_its_value(self):
        (row,) = rows(charts, "train", 1, task="value", form="actions")
        said = [json.loads(turn) for turn in charts.demonstrate_turns(row, turns.json_action, form="actions")]
        (name,) = row.columns["query"]["names"]
        assert [turn["actions"][0]["name"] for turn in said] == ["Point", "Terminate"]
        assert said[0]["actions"][0]["arguments"]["param"] == name
        assert said[1]["actions"][0]["arguments"]["ans"] == row.answer
        assert len(charts.demonstrate_turns(row, turns.json_action, hasty=1.0, form="actions")) == 1

    def test_oracles_know_what_is_drawn(self):
        (row,) = rows(charts, "train", 1, task="value")
        facts = row.columns["facts"]
        name, value = facts["names"][0], facts["values"][0]
        assert charts.table_of(row)[name] == value
        assert charts.place_of(row, f"the {name} bar") == charts.top_of(facts, name)
        assert charts.place_of(row, "zebra") is None
        assert charts.place_of(row, "tick 3")[1] > charts.place_of(row, "tick 4")[1]
        assert name in charts.panels_of(row)
        assert tuple(word for word, _ in charts.words_on(row) if word == "9")[:1] == ("9",)

    def test_readers_differ_in_worth_by_kind_of_chart(self):
        right = {kind: np.zeros(3) for kind in charts.KINDS}
        for kind in charts.KINDS:
            made = rows(charts, "train", 25, task="value", kind=kind)
            for row in made:
                tables = [json.loads(said)["table"] for said in charts.reports(row)[:3]]
                right[kind] += [table == charts.table_of(row) for table in tables]
        assert right["bar"].argmax() == 0
        assert right["line"].argmax() == 1

    @pytest.mark.parametrize("task", charts.TASKS)
    def test_a_reasoner_answers_from_the_first_table(self, task):
        from gamutrl.core import Message, text

        for row in rows(charts, "train", 6, task=task):
            known = json.dumps({"table": charts.table_of(row)})
            asked = [[Message("user", (text(f"Question: {row.columns['question']}\n{known}"),))]]
            assert charts.answer_from(asked) == [f"<answer>{row.answer}</answer>"]

    def test_demonstrated_choices_of_readers_are_the_best_ones_or_any(self):
        made = rows(charts, "train", 30, task="value", kind="line")
        assert {charts.choose_readers(row, error_rate=0.0) for row in made} == {"<answer>1</answer>"}
        assert len({charts.choose_readers(row, error_rate=1.0) for row in made}) > 10


class TestMazes:
    @pytest.mark.parametrize("kind", mazes.KINDS)
    @pytest.mark.parametrize("size", [3, 4, 6])
    def test_shortest_ways_lead_to_the_goal(self, kind, size):
        for row in mazes.rows("train", 4, task="plan", kind=kind, size=size):
            maze = row.columns["facts"]
            path, end = mazes.walk(maze, row.answer.split())
            assert end == "goal"
            assert len(path) - 1 == row.columns["distance"][f"{maze['start'][0]},{maze['start'][1]}"] >= 2

    def test_demonstrated_moves_reach_the_goal(self):
        (row,) = mazes.rows("train", 1, task="move")
        moves = [said.partition("<answer>")[2].partition("<")[0] for said in mazes.demonstrate_turns(row)]
        assert mazes.walk(row.columns["facts"], moves)[1] == "goal"

    def test_one_option_alone_leads_to_the_goal(self):
        for row in mazes.rows("train", 6, task="end"):
            ends = [mazes.walk(row.columns["facts"], o.split())[1] for o in row.columns["query"]["options"]]
            assert ends.count("goal") == 1
            assert ends["ABCD".index(row.answer)] == "goal"

    def test_walls_stop_and_ice_does_not(self):
        maze = mazes.make(random.Random(0), "walls", 4)
        walls = maze["walls"][0][0]
        assert mazes.after(maze, (0, 0), "up") is None
        assert (mazes.after(maze, (0, 0), "right") is None) == walls["east"]
        slide = mazes.make(random.Random(0), "slide", 5, holes=0.0, far=1)
        end = mazes.after(slide, (2, 0), "right")
        assert end in ((2, 4), tuple(slide["goal"]))

    def test_tokens_tell_where_everything_is(self):
        maze = mazes.make(random.Random(1))
        said = mazes.tokens(maze)
        assert said[maze["start"][0] * 4 + maze["start"][1]] == 3
        assert said[maze["goal"][0] * 4 + maze["goal"][1]] == 2
        assert said.count(1) == len(maze["holes"])

    def test_a_goal_too_far_away_is_refused(self):
        with pytest.raises(ValueError, match="make `far` or `holes` smaller"):
            mazes.make(random.Random(0), size=3, far=20)


class TestGames:
    @given(st.sampled_from(list(games.GAMES)), st.integers(0, 10**6))
    @settings(max_examples=30, deadline=None)
    def test_any_play_keeps_the_rules(self, name, seed):
        played, rng = games.game(name), random.Random(seed)
        board = played.start(rng)
        for _ in range(12):
            actions = played.actions(board)
            if not actions:
                assert played.over(board)
                break
            after, reward = played.act(board, rng.choice(actions), rng)
            assert after != board
            assert reward >= 0
            if name == "2048":
                assert sum(2**t for row in after for t in row if t) - sum(2**t for row in board for t in row if t) in (
                    2,
                    4,
                )
            elif name == "match":
                assert not boards.matches(after)
                assert all(0 <= tile < played.kinds for row in after for tile in row)
            elif name == "link":
                gone = (
                    [t for row in board for t in row if t is not None],
                    [t for row in after for t in row if t is not None],
                )
                assert len(gone[0]) - len(gone[1]) == 2
            else:
                assert sorted(t for row in after for t in row) == list(range(9))
            board = after
        assert played.draw(board).shape == (render.SIZE, render.SIZE, 3)

    @pytest.mark.parametrize("name", games.GAMES)
    @pytest.mark.parametrize("action", [None, 9, ((0, 0), (9, 9)), ((0, 0), (0, 0)), ((0, 0), (2, 2))])
    def test_what_is_no_action_changes_nothing(self, name, action):
        played = games.game(name)
        board = played.start(random.Random(3))
        after, reward = played.act(board, action, random.Random(0))
        if not (name == "link" and action == ((0, 0), (2, 2))):
            assert after == board
            assert reward <= 0

    @pytest.mark.parametrize("task", games.TASKS)
    def test_the_answer_is_worth_most(self, task):
        for row in games.rows("train", 5, task=task):
            played, board = games.game_of(row), row.columns["state"]
            best = max(games.reward(played, board, action) for action in played.actions(board))
            right = next(a for a in played.actions(board) if games.written(a) == row.answer)
            assert games.reward(played, board, right) == best
            assert row.answer in row.columns["good"]
            assert row.columns["perception"] in games.perceived(row)

    def test_telling_states_have_good_and_bad_moves(self):
        for row in games.rows("train", 20, task="2048", telling=True):
            assert 0 < len(row.columns["good"]) < 4

    def test_a_misread_board_differs_in_one_tile(self):
        for row in games.rows("train", 10, task="2048", plays=(6, 9)):
            said = games.perceived(row, misread=1.0).partition("</perception>")[0].removeprefix("<perception>")
            said, true = (text.replace("|", " ").split() for text in (said, row.columns["perception"]))
            assert sum(a != b for a, b in zip(said, true, strict=True)) == 1

    def test_the_thought_of_2048_counts_what_merges(self):
        (row,) = games.rows("train", 1, task="2048", telling=True)
        game, board = games.game_of(row), row.columns["state"]
        across, down = (games.reward(game, board, move) for move in (1, 0))
        assert row.columns["thought"] == f"across {across:g}, down {down:g}"

    def test_the_same_luck_gives_the_same_board(self):
        played = games.game("match")
        board = played.start(random.Random(5))
        (action, *_) = played.actions(board)
        assert played.act(board, action, random.Random(7)) == played.act(board, action, random.Random(7))

    def test_an_unknown_knob_is_named(self):
        with pytest.raises(ValueError, match="has no colour; it has: size"):
            games.rows("train", 1, task="2048", colour=3)


class TestRooms:
    def test_the_answer_keeps_all_relations_and_collides_nowhere(self):
        for row in rooms.rows("train", 6, task="place"):
            facts = row.columns["facts"]
            things = rooms.placed(facts, facts["solution"])
            assert rooms.physics(facts, things) == (0.0, 0.0)
            assert rooms.graded(facts, things) == 50
            assert rooms.graded(facts, rooms.placed(facts, {})) == 0
            heap = {thing["name"]: [3.0, 3.0, 0.5] for thing in facts["things"]}
            assert rooms.graded(facts, rooms.placed(facts, heap)) < 40

    def test_entries_read_back_as_the_same_things(self):
        from gamutrl.data.worlds import furniture

        (row,) = rooms.rows("train", 1, task="place")
        facts = row.columns["facts"]
        read = [furniture.thing_of(entry) for entry in row.columns["entries"]]
        assert [(t.name, t.size) for t in read[-6:]] == [(t.name, t.size) for t in rooms.shell(facts["room"])]
        assert {r[1] for t in read[:-6] for r in t.relations} == {r[1] for t in facts["things"] for r in t["relations"]}

    def test_what_changed_is_what_differs(self):
        for row in rooms.rows("train", 20, task="changes", most=3):
            facts = row.columns["facts"]
            for index, attribute, value in row.columns["changes"]:
                before, after = facts["before"][index - 1], facts["after"][index - 1]
                if attribute == "size":
                    assert (after["box"][2] - after["box"][0] > 14) == (value == "large")
                else:
                    key = "colour" if attribute == "color" else "shape"
                    assert after[key] == value != before[key]
            changed = {index for index, _, _ in row.columns["changes"]}
            same = [i for i in range(len(facts["before"])) if i + 1 not in changed]
            assert all(facts["before"][i] == facts["after"][i] for i in same)

    def test_mistaken_layouts_break_a_rule_and_the_last_try_is_right(self):
        from gamutrl.environments.refining import layout_in

        (row,) = rooms.rows("train", 1, task="place", things=2, form="think")
        facts = row.columns["facts"]
        right, *wrong = (json.loads(choice) for choice in row.columns["choices"])
        assert wrong
        for layout in (right, *wrong):
            positions = {item["new_object_id"]: [item[axis] for axis in "xyz"] for item in layout}
            assert (rooms.physics(facts, rooms.placed(facts, positions)) == (0.0, 0.0)) == (layout == right)
        tries = rooms.demonstrate_turns(row, error_rate=1.0, tries=3)
        assert [layout_in(said) == facts["solution"] for said in tries] == [False, False, True]
        assert len(rooms.demonstrate_turns(row)) == 1

    def test_mistaken_changes_are_told_from_the_right_ones(self):
        for row in rooms.rows("train", 20, task="changes", most=3):
            right, *wrong = row.columns["choices"]
            assert right == row.answer
            assert right not in wrong
            assert len(wrong) >= 2
            assert rooms.demonstrate(row, error_rate=1.0) in wrong
            assert row.columns["table"] in row.text

    def test_a_mirrored_view_is_mirrored(self):
        (row,) = rooms.rows("train", 1, task="changes", mirrored=1.0, low=2, high=2, most=1)
        one, other = (np.asarray(part.value) for part in row.media)
        assert (one != other[:, ::-1]).mean() < 0.15
        assert row.columns["facts"]["mirrored"]


def test_writers_write_what_their_readers_read():
    from gamutrl.data.worlds.turns import Look

    look = Look("see", {"box": [1, 2, 30, 40]})
    assert turns.point_call(look).endswith('{"coordinate": [15, 21]}}</tool_call>')
    assert turns.search_or_crop_tag(Look("t", {"query": "red"})) == "<think>t</think>\n<search>red</search>"
    assert json.loads(turns.json_action(Look("t", {"tool": "OCR"})))["actions"][0]["name"] == "OCR"
    assert json.loads(turns.terminated("t", "7"))["actions"][0]["arguments"] == {"ans": "7"}
    assert turns.drawn_boxes(Look("t", {"tool": "Object Mapper", "items": []})).startswith("<think>t</think> Action: ")
