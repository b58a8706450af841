"""Every reward of text is total: on any text it returns a finite number, within a second of work."""

import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import bounded

from gamutrl.rewards import (
    answers,
    boxes,
    calls,
    grading,
    grids,
    lengths,
    maps,
    objects,
    parsing,
    repetition,
    spans,
    tags,
)

BOX = [[1, 2, 30, 40]]
SCORES = {
    "tag_format": tags.tag_format,
    "tag_format search": partial(tags.tag_format, before=True, after=True, multiline=False),
    "tag_format five": partial(tags.tag_format, tags=("think", "answer", "reflection", "think", "answer"), once=True),
    "exactly_once": partial(tags.exactly_once, marks=("<think>", "</think>")),
    "in_order": partial(tags.in_order, patterns=("<think>", r"</think>\s*+<answer>", r"\[\d+,", "</answer>")),
    "ends_with_answer": partial(tags.ends_with_answer, body=r"\(\d++,\d++\)"),
    "accuracy maths": partial(answers.accuracy, answer="42"),
    "accuracy same_text": partial(answers.accuracy, answer="cat", compare=answers.same_text),
    "accuracy contains": partial(answers.accuracy, answer="cat", compare=answers.contains),
    "accuracy choice": partial(answers.accuracy, answer="B", compare=answers.same_choice),
    "accuracy number": partial(answers.accuracy, answer="42", compare=answers.same_number),
    "accuracy number or text": partial(answers.accuracy, answer="42", compare=answers.number_or_text),
    "accuracy relative": partial(answers.accuracy, answer="42", compare=answers.relative_error),
    "accuracy mra": partial(answers.accuracy, answer="42", compare=answers.mean_relative_accuracy),
    "accuracy tolerance": partial(answers.accuracy, answer="42", compare=answers.within_tolerance),
    "accuracy words": partial(answers.accuracy, answer="a red cat", compare=answers.word_accuracy),
    "accuracy rouge": partial(answers.accuracy, answer="a red cat on a mat", compare=answers.rouge),
    "accuracy edits": partial(answers.accuracy, answer="a red cat", compare=answers.edit_similarity),
    "accuracy subset": partial(answers.accuracy, answer="A,B", compare=answers.subset_share),
    "accuracy set": partial(answers.accuracy, answer="A,B", compare=answers.set_f1),
    "accuracy letter": partial(answers.accuracy, answer="B", compare=answers.only_letter),
    "accuracy calls": partial(answers.accuracy, answer="f(1, a)", compare=calls.calls_score),
    "accuracy graded": partial(answers.accuracy, answer="x+1", compare=grading.same_answer),
    "names_change": partial(answers.names_change, before="a red cat", after="a blue cat"),
    "box_score": partial(boxes.box_score, answer=BOX),
    "detection_iou": partial(boxes.detection_iou, answer=BOX),
    "detection_hits": partial(boxes.detection_hits, answer=BOX),
    "detection_confidence": partial(boxes.detection_confidence, answer=BOX),
    "detection_ap": partial(boxes.detection_ap, answer=BOX),
    "detection_balance": partial(boxes.detection_balance, answer=BOX),
    "matched_score": partial(boxes.matched_score, answer=BOX),
    "box_count": partial(boxes.box_count, answer=BOX),
    "detection_precision": partial(objects.detection_precision, answer=BOX),
    "detection_recall": partial(objects.detection_recall, answer=BOX),
    "box_and_point_score": partial(objects.box_and_point_score, answer=BOX),
    "integer boxes": lambda text: len(parsing.integer_boxes(text)) + len(parsing.integer_corners(text)),
    "span_score": partial(spans.span_score, answer=[2, 8]),
    "span_score bare": partial(
        spans.span_score, answer=[2, 8], read=partial(spans.in_answer, spans=spans.bare_spans_in)
    ),
    "span_set_score": partial(spans.span_set_score, answer=[[2, 8]]),
    "places_in": lambda text: len(maps.places_in(text, ["chair", "tv stand"])),
    "grid_in": lambda text: len(grids.grid_in(text, 9) or []),
    "repeated_boxes": repetition.repeated_boxes,
    "repeated_sentences": repetition.repeated_sentences,
    "thought_share": lengths.thought_share,
    "reasoning_steps": lengths.reasoning_steps,
}
PIECES = [
    "<think>",
    "</think><answer>",
    "</answer>",
    " \n",
    "1.",
    "1 to ",
    "1:11:",
    "A, ",
    "f(1, a) ",
    "a(",
    "[1,2,3,4],",
]
PIECES += [
    '{"bbox_2d": [1,2,3,4]},',
    '{"a":',
    "[[",
    "```json\n",
    "\\boxed{",
    "$",
    "9^",
    "chair 1 2 ",
    "\u00e9\ud800\x00",
]
MEGABYTES = [
    "<think></think><answer>" + "".join(piece * (50_000 // len(piece)) for piece in PIECES) + "</answer>",
    "<answer>" + "".join(piece * (50_000 // len(piece)) for piece in reversed(PIECES) if "answer>" not in piece),
    "<think></think><answer>[" + "1," * 500_000 + "</answer>",
]


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Libraries that a first call imports are not the text's cost."""
    answers.rouge("a", "a")
    answers.maths("1", "1")


@pytest.mark.parametrize("name", SCORES)
def test_a_megabyte_of_anything_is_scored_in_time(name):
    for number, text in enumerate(MEGABYTES):
        with bounded(f"text {number}"):
            assert math.isfinite(SCORES[name](text))


WORDS = ["No Objects", "None", "to", "{", "}", "[", "]", "(", ")", "'", '"', "NaN", "1e999", "%", "Infinity", "-"]
tokens = st.sampled_from([*PIECES, *WORDS])
texts = st.lists(tokens | st.text(max_size=5), max_size=20).map("".join)
cheap = [name for name in SCORES if name not in ("accuracy maths", "accuracy graded")]


@settings(max_examples=40, deadline=None)
@given(texts)
def test_any_text_has_a_finite_score(text):
    for name in cheap:
        for whole in (text, f"<think>t</think><answer>{text}</answer>"):
            assert math.isfinite(SCORES[name](whole)), name


@settings(max_examples=20, deadline=None)
@given(texts)
def test_any_text_can_be_compared_as_maths(text):
    for name in ("accuracy maths", "accuracy graded"):
        assert SCORES[name](f"<answer>{text}</answer>") in (0, 1)
