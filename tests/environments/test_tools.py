"""The tools: what they show is what is there, and whatever a model writes is answered in words and in bounded time."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import bounded
from PIL import Image, ImageDraw

from gamutrl.core import Prompt, image, video
from gamutrl.data.worlds import charts as chart_world
from gamutrl.data.worlds import clutter, films, library
from gamutrl.environments import looking
from gamutrl.environments.desk import Desk, Refusal, Shown
from gamutrl.environments.scripted import calls, play
from gamutrl.environments.toolbox import Budget, Reply
from gamutrl.environments.tools import charts, crop, detect, draw, filters, frames, ocr, pages


def desk(picture: Image.Image) -> Desk:
    return Desk.of(Prompt.ask("?", image(picture)), 0)


class TestPages:
    rows = library.rows("test", 8, task="digit", pages=200, side=144)

    def test_a_title_finds_its_page(self):
        search = pages.Search(library.collection_of)
        for row in self.rows:
            found = search(Desk.of(row, 0), {"query": row.columns["query"]["titles"][0]})
            assert found.info["page"] == row.columns["golden"][0]

    def test_a_page_is_brought_once_and_the_next_nearest_after_it(self):
        search, table = pages.Search(library.collection_of), Desk.of(self.rows[0], 0)
        brought = [search(table, {"query": "red circle"}).info["page"] for _ in range(200)]
        assert len(set(brought)) == 200
        with pytest.raises(Refusal, match="every page"):
            search(table, {"query": "red circle"})
        titles = {page.name: page.title_text for page in library.collection_of(self.rows[0])}
        assert "red circle" in titles[brought[0]]

    def test_pictures_alone_find_pages_that_were_never_seen(self):
        known = lambda: library.collection("train", pages=400, side=144)  # noqa: E731
        search = pages.Search(library.collection_of, pages.Matched(known))
        ranks = []
        for row in self.rows:
            table = Desk.of(row, 0)
            query = {"query": row.columns["query"]["titles"][0]}
            brought = (search(table, query).info["page"] for _ in range(200))
            ranks.append(next(rank for rank, name in enumerate(brought) if name in row.columns["golden"]))
        assert np.median(ranks) <= 5

    @pytest.mark.parametrize("engine", ["faiss", "hnswlib", "numpy"])
    def test_every_engine_finds_the_nearest_first(self, engine, monkeypatch):
        if engine != "numpy":
            pytest.importorskip(engine)
        else:
            monkeypatch.setitem(__import__("sys").modules, "faiss", None)
        vectors = pages.unit(np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32))
        index = pages.Index(vectors, graph=engine == "hnswlib")
        assert index.engine == engine
        found, scores = index.search(vectors[7], 5)
        assert found[0] == 7
        assert scores[0] == pytest.approx(1, abs=1e-4)
        assert all(a >= b - 1e-6 for a, b in pairwise(scores))
        exact = np.argsort(-vectors @ vectors[7], kind="stable")[:5]
        assert len(set(found.tolist()) & set(exact.tolist())) >= (5 if engine != "hnswlib" else 4)

    def test_an_index_of_nothing_is_refused(self):
        with pytest.raises(ValueError, match="rows of numbers"):
            pages.Index(np.zeros((0, 4), np.float32))

    def test_a_whole_demonstration_searches_reads_and_answers(self):
        (row,) = library.rows("train", 1, task="sum", pages=100)
        box = looking.searching(
            pages.Search(library.collection_of, view=crop.View(0.25)), frame=(72, 72), turns=8, view=crop.View()
        )
        played = play(box, row, 0, library.demonstrate_turns(row))
        assert [call.name for call in calls(played)] == ["search", "crop", "search", "crop"]
        assert all(call.error is None for call in calls(played))
        brought = [shown["page"] for _, step in played for shown in step.info.get("shown", ()) if "page" in shown]
        assert brought == row.columns["golden"]
        assert played[1][1].parts[0].value.size == (112, 112)
        assert played[-1][1].info == {"end": "answer"}

    def test_only_tagged_blocks_stay(self):
        box = looking.searching(pages.Search(library.collection_of))
        step = box(self.rows[0], 0).step("hm <think>t</think> well <search>red</search> so")
        assert step.keep == "<think>t</think>\n<search>red</search>"

    @pytest.mark.parametrize(
        "turn", ["hm", "<bbox>[0, 0, 5, 5]</bbox>", "<bbox>[-1, 0, 5, 5]</bbox>", "<bbox>x</bbox>"]
    )
    def test_an_invalid_action_is_answered_with_the_rules(self, turn):
        step = looking.searching(pages.Search(library.collection_of))(self.rows[0], 0).step(turn)
        assert "Your previous action is invalid" in step.parts[0].value
        assert not step.done

    def test_an_image_text_model_of_transformers_embeds_both(self, tmp_path, monkeypatch):
        torch = pytest.importorskip("torch")
        from transformers import CLIPConfig, CLIPModel

        small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = CLIPConfig(
            text_config={**small, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
            vision_config={**small, "image_size": 32, "patch_size": 16},
            projection_dim=8,
        )
        model = CLIPModel(config).eval()

        def processor(return_tensors, text=None, images=None, **rest):
            if text is not None:
                ids = [[1, *(ord(c) % 60 + 3 for c in said[:6].ljust(6)), 2] for said in text]
                return {"input_ids": torch.tensor(ids)}
            arrays = [np.asarray(picture.resize((32, 32)), np.float32) / 255 for picture in images]
            return {"pixel_values": torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2)}

        embedder = pages.FromModel("small")
        embedder.__dict__["_loaded"] = (model, processor)
        shelf = library.collection("train", pages=20, side=144)
        assert embedder.pages(shelf).shape == (20, 8)
        assert np.allclose(np.linalg.norm(embedder.texts(["red", "blue circle"]), axis=1), 1, atol=1e-5)


class TestCharts:
    (row,) = chart_world.rows("train", 1, task="value", kind="bar", side=288)
    tools = charts.chart_tools(chart_world.words_on, chart_world.place_of, chart_world.panels_of)

    def act(self, name: str, **arguments: object) -> str:
        return json.dumps({"thought": "t", "actions": [{"name": name, "arguments": {"image": "img_1", **arguments}}]})

    def test_a_point_is_told_in_hundredths_and_a_line_is_drawn_through_it(self):
        episode = looking.chart_actions(self.tools)(self.row, 0)
        name = self.row.columns["facts"]["names"][0]
        told = episode.step(self.act("point", param=f"the top of {name}"))
        x, y = (side * 100 / 72 for side in chart_world.top_of(self.row.columns["facts"], name))
        assert "".join(part.value for part in told.parts) == (
            f'OBSERVATION: point model outputs: x="{x:.1f}" y="{y:.1f}"\n'
            "Please summarize the model outputs and answer my first question."
        )
        ((left, top, right, bottom),) = (shown["mark"] for shown in told.info["shown"])
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((x / 100 * 288, y / 100 * 288))
        drawn = episode.step(self.act("DrawHorizontalLineByY", param=f"y={y:.1f}"))
        (picture,) = (part.value for part in drawn.parts if part.kind == "image")
        assert picture.getpixel((3, round(y / 100 * picture.height))) == (255, 0, 0)

    def test_print_panels_and_regions_are_what_the_chart_holds(self):
        table = Desk.of(self.row, 0)
        facts = self.row.columns["facts"]
        name = max(facts["names"], key=lambda n: chart_world.table_of(self.row)[n])
        assert name in self.tools["OCR"](table, {}).text
        panel = self.tools["ZoomInSubfigure"](table, {"param": name})
        assert panel.pictures[0].size == (48, 48)
        x, y = chart_world.top_of(facts, name)
        region = self.tools["SegmentRegionAroundPoint"](
            table, {"param": f'x="{x / 0.72:.1f}" y="{(y + 3) / 0.72:.1f}"'}
        )
        left, top, right, bottom = region.info["box"]
        assert abs((left + right) / 2 / 4 - x) < 1
        assert abs(top / 4 - y) < 1
        assert abs(bottom / 4 - chart_world.BOTTOM) < 1.5

    def test_the_word_terminate_ends_it_wherever_it_stands_and_no_action_repeats_the_question(self):
        box = looking.chart_actions(self.tools)
        assert box(self.row, 0).step('{"thought": "I will Terminate later"').info == {"end": "answer"}
        step = box(self.row, 0).step("{}")
        assert step.parts[0].value == self.row.text
        assert not step.done

    @pytest.mark.parametrize(
        ("name", "param"),
        [
            *[("Point", None), ("Point", "a zebra"), ("ZoomInSubfigure", "a zebra"), ("DrawVerticalLineByX", "x=101")],
            *[("DrawVerticalLineByX", "y=3"), ("SegmentRegionAroundPoint", "x=1"), ("Paint", "x")],
        ],
    )
    def test_what_cannot_be_done_is_told(self, name, param):
        step = looking.chart_actions(self.tools)(self.row, 0).step(self.act(name, param=param))
        assert "model outputs: Error: " in step.parts[0].value

    def test_a_table_is_looked_up(self):
        name, value = next(iter(chart_world.table_of(self.row).items()))
        assert charts.Lookup(chart_world.table_of)(Desk.of(self.row, 0), {"param": name}).text == f"{name}: {value}"

    def test_a_responder_is_asked_with_the_picture(self):
        heard = []

        def responder(conversations):
            heard.append(conversations[0][-1])
            return ["seven"]

        tool = charts.Ask(responder, "Read {param}.")
        assert tool(Desk.of(self.row, 0), {"param": "all"}).text == "seven"
        assert [part.kind for part in heard[0].parts] == ["image", "text"]
        assert heard[0].text == "Read all."


class TestDetection:
    (row,) = clutter.rows("train", 1, task="count", side=288)
    name = f"{row.columns['query']['colour']} {row.columns['query']['shape']}"
    tool = detect.Detect(detect.Exact(clutter.detect))

    def test_close_up_it_finds_what_it_misses_from_afar(self):
        table = Desk.of(self.row, 0)
        assert self.tool(table, {"names": [self.name]}).text == "nothing was found"
        box = self.row.columns["evidence"][0]
        shown = self.tool(table, {"names": self.name, "bbox_2d": box})
        assert len(shown.info["found"]) >= 1
        for one in shown.info["found"]:
            truth = min(
                np.abs(np.array(target) - np.array(one["bbox_2d"]) * 72).max() for target in self.row.columns["targets"]
            )
            assert truth < 1e-6

    @pytest.mark.parametrize(
        "arguments", [{}, {"names": []}, {"names": [1]}, {"names": ["x"], "bbox_2d": [9, 9, 9, 9]}]
    )
    def test_what_is_no_question_is_refused(self, arguments):
        with pytest.raises(Refusal):
            self.tool(Desk.of(self.row, 0), arguments)


class TestDetectorOfTheHub:
    """A model of a hub's kind, of random weights: what it is given, and what becomes of what it finds."""

    @pytest.fixture(scope="class")
    def detector(self):
        torch = pytest.importorskip("torch")
        from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

        from gamutrl.zoo import random

        small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        words = {"vocab_size": 300, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
        config = Owlv2Config(
            text_config={**small, **words, "pad_token_id": 0},
            vision_config={**small, "image_size": 64, "patch_size": 16},
            projection_dim=32,
        )
        tokenizer = random.byte_tokenizer({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"})
        tokenizer.model_max_length = 16
        pictures = Owlv2ImageProcessor(size={"height": 64, "width": 64})
        torch.manual_seed(0)
        model = Owlv2ForObjectDetection(config).eval()
        for parameter in model.box_head.dense2.parameters():
            torch.nn.init.zeros_(parameter)  # Every patch's box is then the patch.
        made = detect.FromHub("none", threshold=0.0)
        made.__dict__["_loaded"] = (model, Owlv2Processor(pictures, tokenizer))
        return made

    def test_what_it_finds_in_a_part_lies_in_that_part_and_is_drawn(self, detector):
        noise = np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8)
        shown = detect.Detect(detector, (200, 100))(
            desk(Image.fromarray(noise)), {"names": ["red circle", "cat"], "bbox_2d": [50, 0, 150, 100]}
        )
        assert shown.info["found"]
        for one in shown.info["found"]:
            x1, y1, x2, y2 = one["bbox_2d"]
            assert 0.25 <= x1 < x2 <= 0.75
            assert 0 <= y1 < y2 <= 1
            assert one["label"] in ("red circle", "cat")
        scores = [one["score"] for one in shown.info["found"]]
        assert scores == sorted(scores, reverse=True)
        assert shown.pictures[0].size == (200, 100)

    @pytest.mark.parametrize("name", ["\ud800" * 9, "cat " * 999, "\x00\x1b[2J", " "])
    def test_any_name_can_be_asked_for(self, detector, name):
        detect.Detect(detector)(desk(Image.new("RGB", (64, 64))), {"names": [name]}).text.encode()

    def test_one_that_cannot_be_loaded_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"The detector '.*none' could not be loaded"):
            detect.Detect(detect.FromHub(str(tmp_path / "none")))(desk(Image.new("RGB", (64, 64))), {"names": ["cat"]})
        with pytest.raises(ValueError, match=r"The model that embeds pages '.*none' could not be loaded"):
            pages.FromModel(str(tmp_path / "none")).texts(["cat"])


class TestReadingPixels:
    """OCR by a model of a hub's kind, of random weights, saved and loaded as a published one is."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        torch = pytest.importorskip("torch")
        from transformers import (
            GotOcr2Config,
            GotOcr2ForConditionalGeneration,
            GotOcr2ImageProcessorPil,
            GotOcr2Processor,
        )

        from gamutrl.zoo import random

        own = {name: f"<|{name}|>" for name in ("im_start", "im_end")} | {"open": "<img>", "close": "</img>"}
        ends = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        tokenizer = random.byte_tokenizer(own | ends | {"image_pad": "<imgpad>"})
        tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16}
        config = GotOcr2Config(
            text_config={"model_type": "qwen2", **random.TEXT, "vocab_size": len(tokenizer)},
            vision_config={**tower, "output_channels": 16, "global_attn_indexes": [0]},
            image_token_index=tokenizer.convert_tokens_to_ids("<imgpad>"),
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(0)
        place = tmp_path_factory.mktemp("reader")
        GotOcr2ForConditionalGeneration(config).save_pretrained(place)
        GotOcr2Processor(GotOcr2ImageProcessorPil(size={"height": 1024, "width": 1024}), tokenizer).save_pretrained(
            place
        )
        return place

    def test_a_loaded_reader_reads_any_part(self, folder):
        reader = ocr.ReadPixels(ocr.FromHub(str(folder), most=4))
        noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
        whole, part = (reader(desk(Image.fromarray(noise)), given) for given in ({}, {"bbox_2d": [10, 0, 40.4, 900]}))
        assert whole.info["box"] == [0, 0, 90, 60]
        assert part.info["box"] == [10, 0, 40, 60]
        assert part.text
        part.text.encode()

    def test_what_is_read_is_told_up_to_a_length(self):
        desk_ = desk(Image.new("RGB", (20, 20)))
        assert ocr.ReadPixels(lambda picture: "word " * 900, most=9)(desk_, {}).text == "word word"
        assert ocr.ReadPixels(lambda picture: "")(desk_, {}).text == "nothing is printed there"
        assert ocr.ReadPixels(lambda picture: str(picture.size))(desk_, {"bbox_2d": [2, 3, 12, 9]}).text == "(10, 6)"

    @pytest.mark.parametrize("box", [[30, 30, 40, 40], [5, 5, 5, 9], "all", [1, 2], [float("nan")] * 4, [1e308] * 4])
    def test_a_box_that_holds_nothing_is_refused(self, box):
        with pytest.raises(Refusal):
            ocr.ReadPixels(lambda picture: "x")(desk(Image.new("RGB", (20, 20))), {"bbox_2d": box})

    def test_one_that_cannot_be_loaded_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"The reader of print '.*none' could not be loaded"):
            ocr.FromHub(str(tmp_path / "none"))(Image.new("RGB", (8, 8)))


class TestDrawing:
    black = Image.new("RGB", (100, 100))

    def test_points_lines_and_grids_are_where_they_were_asked_for(self):
        pointed = draw.DrawPoint()(desk(self.black), {"points": [[50, 20]]}).pictures[0]
        assert pointed.getpixel((50, 20)) == (255, 0, 0)
        lined = draw.DrawLine("x", (10, 10))(desk(self.black), {"param": "x=5"}).pictures[0]
        assert [lined.getpixel((50, y)) for y in (0, 99)] == [(255, 0, 0)] * 2
        assert self.black.getpixel((50, 50)) == (0, 0, 0)
        marked = draw.MarkGrid(2, 2)(desk(self.black), {}).pictures[0]
        assert marked.getpixel((50, 90)) == (255, 255, 255)

    @pytest.mark.parametrize("points", [None, [], [[1]], [[101, 0]], [["a", 1]]])
    def test_points_that_are_none_are_refused(self, points):
        with pytest.raises(Refusal):
            draw.DrawPoint()(desk(self.black), {"points": points})

    def test_far_corners_and_strange_labels_are_drawn_in_no_time(self):
        item = {"bbox_2d": [-1e300, 1e300, 1e300, -1e300], "label": "\ud800\x00" * 1000}
        with bounded():
            draw.DrawItems()(desk(self.black), {"index": 1, "items": [item] * 64})


class TestFilters:
    def square(self) -> Image.Image:
        picture = Image.new("RGB", (100, 100), (10, 10, 10))
        ImageDraw.Draw(picture).rectangle((30, 30, 69, 69), fill=(240, 240, 240))
        return picture

    def test_edges_are_thin_and_lie_on_the_border(self):
        grey = np.asarray(self.square().convert("L"), float) / 255
        rows, columns = np.nonzero(filters.edges(grey))
        distance = np.maximum(np.abs(rows - 49.5), np.abs(columns - 49.5))
        assert np.abs(distance - 20).max() < 3
        assert 120 < len(rows) < 260
        assert not filters.edges(np.zeros((20, 20))).any()

    def test_sharp_and_low_seems_near(self):
        noise = np.random.default_rng(0).random((100, 100))
        noise[:50] = 0.5
        near = filters.depth(noise)
        assert near[80:].mean() > 2 * near[:20].mean()

    @pytest.mark.parametrize("kind", ["edges", "depth", "contrast", "negative", "sharpen"])
    def test_every_filter_keeps_the_size_and_large_pictures_are_bounded(self, kind):
        assert filters.Filter(kind)(desk(self.square()), {}).pictures[0].size == (100, 100)
        assert filters.Filter(kind)(desk(Image.new("L", (3000, 20))), {}).pictures[0].size == (2048, 14)

    def test_lengths_angles_areas_and_colours_are_measured(self):
        table = desk(self.square())
        assert filters.Measure("distance")(table, {"points": [[0, 0], [30, 40]]}).info["value"] == 50
        assert filters.Measure("angle")(table, {"points": [[1, 0], [0, 0], [0, 5]]}).info["value"] == pytest.approx(90)
        assert filters.Measure("area")(table, {"point": [50, 50]}).info["value"] == pytest.approx(1600)
        assert filters.Measure("area", frame=(10, 10))(table, {"point": [5, 5]}).info["value"] == pytest.approx(16)
        assert filters.Measure("colour")(table, {"point": [0, 0]}).info["value"] == [10, 10, 10]

    @pytest.mark.parametrize("kind", ["distance", "angle", "area", "colour"])
    @pytest.mark.parametrize(
        "arguments", [{}, {"points": "x", "point": "x"}, {"points": [[1, 1]] * 9, "point": [999, 0]}]
    )
    def test_what_cannot_be_measured_is_refused(self, kind, arguments):
        with pytest.raises(Refusal):
            filters.Measure(kind)(desk(self.square()), arguments)


def test_frames_of_a_film_are_seen_sharp():
    (row,) = films.rows("train", 1, task="digit")
    box = looking.zoom_or_frames(select=frames.PickFrames(films.frames_of))
    played = play(box, row, 0, films.demonstrate_turns(row))
    (picture,) = (part.value for part in played[0][1].parts if part.kind == "image")
    assert picture.tobytes() == films.frames_of(row)[row.columns["evidence"][0] - 1].tobytes()
    assert played[-1][1].info == {"end": "answer"}


# Whatever a model writes


FILM = Prompt.ask("?", image(Image.new("RGB", (200, 100))), video([Image.new("RGB", (40, 40))] * 4))
(PAGE,) = library.rows("train", 1, task="digit", pages=10, side=144)
BOXES = {
    "zoom": (looking.zoom(), FILM),
    "zoom_or_frames": (looking.zoom_or_frames(pictures=500), FILM),
    "zoom_several": (looking.zoom_several(), FILM),
    "evidence": (looking.evidence(), FILM),
    "points": (looking.points(pictures=100), FILM),
    "drawing": (replace(looking.drawing(), ends=()), FILM),
    "charts": (looking.chart_actions(TestCharts.tools), TestCharts.row),
    "searching": (looking.searching(pages.Search(library.collection_of)), PAGE),
}
NAMES = ("image_zoom_in_tool", "image_rotate_tool", "crop_image_normalized", "select_frames", "search_coordinate")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.integers(-10, 300)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        name: VALUES | st.lists(st.integers(-50, 250), min_size=2, max_size=4)
        for name in ("bbox_2d", "target_image", "target_frames", "coordinate", "angle", "param", "image")
    },
)
ITEM = st.fixed_dictionaries(
    {"index": VALUES | st.integers(0, 4), "label": VALUES},
    optional={
        name: VALUES | st.lists(st.floats(), max_size=4) for name in ("bbox_2d", "start_point_2d", "end_point_2d")
    },
)


def spelt(name: str, arguments: object, items: object) -> list[str]:
    call, action = {"name": name, "arguments": arguments}, {"name": "Point", "arguments": arguments}
    return [
        f"<tool_call>{json.dumps(call)}</tool_call>",
        json.dumps({"actions": [action]}),
        *(json.dumps({"actions": [{**action, "name": tool}]}) for tool in TestCharts.tools),
        f"```json\n{items!r}\n```",
        f"<bbox>{json.dumps(arguments.get('bbox_2d'))}</bbox>",
        f"<search>{arguments.get('param')}</search>",
        f"[{arguments.get('bbox_2d')}]",
    ]


@given(st.sampled_from(NAMES), ARGUMENTS, st.lists(ITEM, max_size=3))
@settings(max_examples=60, deadline=None)
def test_no_call_raises_and_every_one_is_answered(name, arguments, items):
    for box, prompt in BOXES.values():
        episode = replace(box, budget=Budget(turns=None))(prompt, 0)
        for turn in spelt(name, arguments, items):
            step = episode.step(turn)
            assert step.done or step.parts


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize(
    "value",
    ['"\\ud800"', "[" * 900 + "]" * 900, "[1e308, 1e308, 1e308, 1e308]", '"<|im_end|>{pictures}{question}"', "1e999"],
    ids=["half a surrogate", "deep", "huge", "marks", "infinite"],
)
def test_what_is_recorded_and_said_of_a_call_can_be_written_down(name, value):
    """A tokenizer takes it, and so does the log of a run."""
    box, prompt = BOXES[name]
    keys = ("bbox_2d", "coordinate", "target_image", "target_frames", "angle", "param")
    arguments = "{" + ", ".join(f'"{key}": {value}' for key in keys) + "}"
    for tool in (*box.tools, "\\udfff"):
        call = f'{{"name": "{tool}", "arguments": {arguments}}}'
        for turn in (f"<tool_call>{call}</tool_call>", f'{{"actions": [{call}]}}', f"<bbox>{value}</bbox>"):
            step = replace(box, budget=Budget(turns=None))(prompt, 0).step(turn)
            said = "".join(part.value for part in step.parts if not part.is_media)
            said.encode()
            assert len(said) < 3000
            for one in step.calls:
                json.dumps([one.name, one.arguments, one.error], ensure_ascii=False).encode()


def test_words_that_look_like_a_field_are_words():
    python_tool = {"python": lambda desk, arguments: Shown(text="{pictures}{question}")}
    step = replace(looking.zoom(), tools=python_tool, reply=Reply(shown="{text} it said{pictures}"))(FILM, 0).step(
        '<tool_call>{"name": "python", "arguments": {}}</tool_call>'
    )
    assert step.parts[0].value == "{pictures}{question} it said"


@pytest.mark.parametrize("region", [crop.InPicture(), crop.Enlarged(), crop.Padded(), crop.Widened(), crop.Grown()])
def test_a_box_beyond_all_numbers_is_refused(region):
    with pytest.raises(Refusal):
        crop.Crop(region, frame=(2, 2))(desk(Image.new("RGB", (200, 100))), {"bbox_2d": [1e308] * 4})


MEGABYTES = [
    piece * (1_000_000 // len(piece))
    for piece in (
        "<tool_call>",
        '<tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [0, 0, 50, 50]}}</tool_call>',
        "[1, 2, ",
        "[1,2,3,4]",
        "```json\n",
        '```json\n[{"index": 1, "bbox_2d": [1, 2, 30, 40], "label": "a"}]\n```\n',
        '{"actions": [',
        "<search>",
        "<search>red</search>",
        "<bbox>[0, 0, 9, 9]</bbox>",
        "<answer>",
        "\\",
        "1",
    )
]


@pytest.mark.parametrize("name", BOXES)
def test_a_megabyte_of_anything_is_answered_in_time(name):
    box, prompt = BOXES[name]
    for number, turn in enumerate(MEGABYTES):
        episode = box(prompt, 0)
        with bounded(f"text {number}"):
            episode.step(turn)
