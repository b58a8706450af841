"""Given pictures as people have them, then RGB, upright, 8-bit; given damage, a bomb or a program, then a reason."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gamutrl.data.media import MediaOptions, decode_image, even_indices, natural
from gamutrl.data.problems import BadRow
from gamutrl.data.video import decode_audio, decode_video

RED = (200, 30, 20)


def saved(picture: Image.Image, kind: str = "PNG", **settings) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **settings)
    return out.getvalue()


def frames(count: int, size=(16, 8)) -> list[Image.Image]:
    return [Image.new("RGB", size, (20 * k, 0, 255 - 20 * k)) for k in range(count)]


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (12, 6), RED)


def test_every_form_of_the_same_picture_is_the_same_pixels(picture, tmp_path):
    body = saved(picture)
    (tmp_path / "a.png").write_bytes(body)
    url = "data:image/png;base64," + base64.b64encode(body).decode()
    forms = [
        picture, body, "a.png", tmp_path / "a.png", url, {"bytes": body, "path": None},
        {"bytes": None, "path": "a.png"}, {"url": url}, {"image_url": {"url": url}},
        np.asarray(picture), np.asarray(picture).tolist(), np.asarray(picture).transpose(2, 0, 1),
    ]  # fmt: skip
    for form in forms:
        found = decode_image(form, tmp_path)
        assert found.mode == "RGB"
        assert (np.asarray(found) == np.asarray(picture)).all()


def test_a_sideways_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode_image(saved(Image.new("RGB", (30, 10), RED), "JPEG", exif=exif))
    assert found.size == (10, 30)


def test_sixteen_bits_become_eight_without_clipping():
    grey = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    found = decode_image(saved(Image.fromarray(grey)))
    assert np.asarray(found)[0, :, 0].tolist() == [0, 100, 255]


def test_floats_up_to_one_are_shares_of_white():
    assert np.asarray(decode_image(np.array([[0.0, 0.5, 1.0]])))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    assert decode_image(saved(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_a_transparent_colour_and_cmyk_and_bilevel():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, *RED])
    assert decode_image(saved(palette)).getpixel((0, 0)) == RED
    assert decode_image(saved(palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    cmyk = decode_image(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((0, 0))
    assert cmyk[0] > 240
    assert max(cmyk[1:]) < 20
    assert decode_image(saved(Image.new("1", (4, 4), 1))).getpixel((1, 1)) == (255, 255, 255)


def test_an_animation_is_its_first_frame():
    first, *rest = frames(3)
    body = saved(first, "WEBP", save_all=True, append_images=rest, lossless=True)
    assert decode_image(body).getpixel((0, 0)) == (0, 0, 255)


def test_large_pictures_are_made_smaller_only_where_asked(picture):
    assert decode_image(picture, options=MediaOptions(max_side=4)).size == (4, 2)
    assert decode_image(picture, options=MediaOptions(max_side=99)).size == (12, 6)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "no bytes"),
        (b"GIF89a nonsense", "cannot be read"),
        (b"plain text", "no picture format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture format"),
        (bomb(30_000, 30_000), "refused|max_pixels"),
        (bomb(10_000, 10_000), "10000 × 10000: more than max_pixels"),
        ("missing.png", "no file 'missing.png'.*--image-root"),
        ("https://example.com/a.png", "not read by default"),
        ("data:image/png,abc", "data:<type>;base64"),
        ("data:image/png;base64,@@@", "not valid base64"),
        ({"bytes": None, "path": None}, "without bytes or path"),
        (7, "cannot be read from int"),
        ([[[1, 2], [3, 4]]] * 5, "no array of pixels"),
        ("x" * 5000, "no file"),
        ("a\0b", "no file"),
    ],
)
def test_what_is_no_usable_picture_is_refused_with_the_reason(value, reason, tmp_path):
    with pytest.raises(BadRow, match=reason):
        decode_image(value, tmp_path)


def test_a_cut_off_file_is_damaged_and_named(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "half.jpg").write_bytes(saved(noise, "JPEG")[:1500])
    with pytest.raises(BadRow, match=r"'half\.jpg' is damaged"):
        decode_image("half.jpg", tmp_path)


def test_paths_start_from_the_image_root_where_one_is_given(picture, tmp_path):
    (tmp_path / "pictures").mkdir()
    picture.save(tmp_path / "pictures" / "a.png")
    assert decode_image("a.png", tmp_path, MediaOptions(image_root=str(tmp_path / "pictures"))).size == (12, 6)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_a_reason(body):
    with contextlib.suppress(BadRow):
        assert decode_image(body).mode == "RGB"


@given(st.integers(0, 500), st.integers(1, 40))
def test_even_places_are_distinct_ordered_and_reach_both_ends(total, wanted):
    places = even_indices(total, wanted)
    assert places == sorted(set(places))
    assert len(places) == min(total, wanted)
    if total > 1 and wanted > 1:
        assert (places[0], places[-1]) == (0, total - 1)


def test_a_video_is_a_list_a_folder_or_an_animation(tmp_path):
    shown = frames(12)
    (tmp_path / "clip").mkdir()
    for k, frame in enumerate(shown):
        frame.save(tmp_path / "clip" / f"frame{k}.png")
    animation = saved(shown[0], "GIF", save_all=True, append_images=shown[1:], duration=100)
    (tmp_path / "a.gif").write_bytes(animation)
    options = MediaOptions(max_frames=4)
    from_list = decode_video(shown, tmp_path, options)
    from_folder = decode_video("clip", tmp_path, options)
    from_gif = decode_video(animation, tmp_path, options)
    assert [frame.getpixel((0, 0))[0] for frame in from_list.value] == [0, 80, 140, 220]
    assert [frame.getpixel((0, 0)) for frame in from_folder.value] == [f.getpixel((0, 0)) for f in from_list.value]
    assert len(from_gif.value) == 4
    assert from_gif.info["fps"] == pytest.approx(4 / 1.2)
    assert len(decode_video("a.gif", tmp_path, MediaOptions(fps=5)).value) == 6


def test_frames_are_numbered_as_people_do(tmp_path):
    names = [tmp_path / name for name in ("f10.png", "f9.png", "f1.png", "f2b.png", "f2.png")]
    assert [path.name for path in natural(names)] == ["f1.png", "f2.png", "f2b.png", "f9.png", "f10.png"]


def test_a_video_file_is_sampled_evenly(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for k in range(20):
            grey = np.full((16, 32, 3), 12 * k, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    part = decode_video("a.mp4", tmp_path, MediaOptions(max_frames=5))
    levels = [frame.getpixel((0, 0))[0] for frame in part.value]
    assert part.info["fps"] == pytest.approx(2.5)
    assert levels == sorted(levels)
    assert levels[0] < 15
    assert levels[-1] > 215
    assert len(decode_video((tmp_path / "a.mp4").read_bytes(), options=MediaOptions(fps=1)).value) == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [([], "no frames"), ([frames(1)[0], frames(1, (9, 9))[0]], "unequal sizes"), (b"nonsense" * 9, "cannot be read")],
)
def test_what_is_no_video_is_refused_with_the_reason(value, reason):
    pytest.importorskip("av")
    with pytest.raises(BadRow, match=reason):
        decode_video(value)


def test_sound_comes_as_samples_or_a_file(tmp_path):
    import wave

    tone = (np.sin(np.arange(1600) / 5) * 16000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone.tobytes())
    assert decode_audio({"array": [[0.0, 1.0], [1.0, 1.0]], "sampling_rate": 8000}).value.tolist() == [0.5, 1.0]
    pytest.importorskip("av")
    part = decode_audio("a.wav", tmp_path)
    assert part.info["sampling_rate"] == 8000
    assert np.abs(part.value - tone / 32768).max() < 1e-3


def test_a_missing_reader_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(BadRow, match=r"pip install 'gamutrl\[video\]'"):
        decode_video(b"\0\0\0\x18ftypmp42 and so on")
