"""`gamut sample`: pictures and clips of any model that makes them, the same for the same seed."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from gamutrl import zoo
from gamutrl.cli import main
from gamutrl.cli.sample import contact_sheet


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A random diffusers pipeline, as small as it goes."""
    pytest.importorskip("diffusers")
    from gamutrl.zoo.random_pipelines import build

    return str(build("sd3", tmp_path_factory.mktemp("pipelines") / "sd3"))


def sample(*words):
    return main(["sample", *map(str, words), "--sampling.steps", "2"])


def lines(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


class TestPipelines:
    def test_every_prompt_gets_its_pictures_and_a_sheet(self, pipeline, tmp_path, capsys):
        words = ("--prompt", "a red circle", "--prompt", "two blue squares", "--n", 2)
        assert sample(pipeline, *words, "--out", tmp_path / "one") == 0
        told = lines(tmp_path / "one")
        assert [(line["prompt"], line["copy"]) for line in told] == [
            ("a red circle", 0),
            ("a red circle", 1),
            ("two blue squares", 0),
            ("two blue squares", 1),
        ]
        pictures = [Image.open(tmp_path / "one" / line["file"]) for line in told]
        assert len({picture.tobytes() for picture in pictures}) == 4
        assert Image.open(tmp_path / "one" / "sheet.png").width > 2 * pictures[0].width
        assert "sheet.png" in capsys.readouterr().out

        assert sample(pipeline, *words, "--out", tmp_path / "again") == 0
        again = [Image.open(tmp_path / "again" / line["file"]).tobytes() for line in told]
        assert again == [picture.tobytes() for picture in pictures]

    def test_prompts_may_come_from_a_text(self, pipeline, tmp_path):
        (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
        assert sample(pipeline, "--data", tmp_path / "prompts.txt", "--seed", 3, "--out", tmp_path / "out") == 0
        assert [(line["prompt"], line["seed"]) for line in lines(tmp_path / "out")] == [("a cat", 3), ("a dog", 3)]


def test_a_packaged_model_draws_rows_of_its_world(tmp_path):
    assert (
        sample("blobs-flow", "--world", "blobs", "--task", "pictures", "--prompts", 2, "--out", tmp_path / "blobs") == 0
    )
    assert len(lines(tmp_path / "blobs")) == 2


def test_tokens_are_guided_unless_it_is_said_otherwise(tmp_path):
    if "mask-tiny" not in zoo.available():
        pytest.skip("mask-tiny is not built")
    words = ["sample", "mask-tiny", "--prompt", "a red circle", "--n", "2"]
    for name, more in (("usual", []), ("3", ["--sampling.guidance", "3"]), ("1", ["--sampling.guidance", "1"])):
        assert main([*words, *more, "--out", str(tmp_path / name)]) == 0
    usual, guided, plain = ((tmp_path / name / "sheet.png").read_bytes() for name in ("usual", "3", "1"))
    assert usual == guided != plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing-of-the-kind", "--prompt", "x"], "There is no model 'nothing-of-the-kind'"),
        (["blobs-flow"], "Say what to make"),
        (["blobs-flow", "--prompt", "x", "--n", "0"], "must be at least 1"),
        (["blobs-flow", "--prompt", "x", "--before"], "needs a run directory"),
    ],
)
def test_wrong_usage_is_told(words, said, capsys):
    assert main(["sample", *words]) != 0
    assert said in capsys.readouterr().err


def test_a_model_of_text_is_told_apart(model, tmp_path, capsys):
    words = ["sample", str(model), "--prompt", "a cat", "--sampling.max_tokens", "4", "--out", str(tmp_path / "o")]
    assert main(words) != 0
    assert "is for models that make pictures" in capsys.readouterr().err


def test_small_pictures_are_enlarged_on_the_sheet():
    sheet = contact_sheet([[Image.new("RGB", (32, 32), "red")] * 3, [Image.new("RGB", (32, 32), "blue")]])
    assert sheet.size == (3 * 100 + 4, 2 * 100 + 4)
    assert sheet.getpixel((50, 50)) == (255, 0, 0)
    assert sheet.getpixel((50, 150)) == (0, 0, 255)
    assert sheet.getpixel((150, 150)) == (255, 255, 255)


def test_clips_are_written_as_gifs(tmp_path):
    from gamutrl.cli.sample import _write

    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    file = _write(frames, tmp_path / "000-0", 8.0)
    with Image.open(file) as clip:
        assert (file.suffix, clip.n_frames) == (".gif", 3)
