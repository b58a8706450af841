"""Every reader of what a model wrote is total: on any text it answers, within a second of work for a megabyte."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import bounded

from gamutrl.environments import calls, crops, drawings, games, transcripts, zoom
from gamutrl.rewards import (
    answers,
    boxes3d,
    charts,
    combine,
    extensions,
    final_answers,
    judging,
    named,
    ocr,
    parsing,
    repetition,
    tags,
    thoughts,
    tournament,
    tracks,
)

READERS = {
    "after_last": calls.after_last,
    "action_list": calls.action_list,
    "first_group": calls.first_group,
    "flat_objects": lambda text: list(calls.flat_objects(text, "bbox_2d")),
    "fenced_blocks": calls.fenced_blocks,
    "integers_chosen": partial(calls.integers_chosen, choices=9),
    "drawing_in": drawings.drawing_in,
    "asked": zoom.asked,
    "zoom_box": lambda text: zoom.zoom_box(parsing.json_in(text), (640, 480)),
    "fault": lambda text: crops.fault(parsing.json_in(text), (640, 480)),
    "move_in": games.move_in,
    "cells_code": lambda text: games.cells_code(text, 6, 1297),
    "own_characters": transcripts.own_characters,
    "kept_blocks": transcripts.kept_blocks,
    "first_action": transcripts.first_action,
    "innermost": tags.innermost,
    "without": partial(tags.without, tag="think"),
    "without on a line": partial(tags.without, tag=("<|im_start|>user", "<|im_end|>"), multiline=False),
    "tagged_blocks": lambda text: list(tags.tagged_blocks(text, ("think", "answer", "search"))),
    "balanced_marks": partial(tags.balanced_marks, tags=("think", "answer")),
    "unclosed": tags.unclosed,
    "verdict": judging.verdict,
    "true_or_false": judging.true_or_false,
    "tagged_verdict": judging.tagged_verdict,
    "grade_after": judging.grade_after,
    "labelled_score": partial(judging.labelled_score, label="Final Score:"),
    "final_score": judging.final_score,
    "one_or_zero": judging.one_or_zero,
    "spoken_choice": judging.spoken_choice,
    "relaxed_match": partial(charts.relaxed_match, truth="[a, b]"),
    "relaxed_match number": partial(charts.relaxed_match, truth="10"),
    "boxes3d_in": boxes3d.boxes3d_in,
    "events_in": lambda text: named.events_in(parsing.json_in(text) or []),
    "trace_fault": lambda text: thoughts.trace_fault(text, text[:100], text),
    "named_winner": tournament.named_winner,
    "category_shares": lambda text: tournament.category_shares(parsing.json_in(text)),
    "graded_extension": lambda text: extensions.graded_extension(text, text[-20:]),
    "rendered_text": lambda text: ocr.rendered_text([[text, 0.9]], ocr.quoted(text)),
    "words_read": lambda text: ocr.words_read(text, "a b"),
    "segments_in": lambda text: tracks.segments_in(text, 4.0),
    "final_answer": final_answers.final_answer,
    "final_answer boxed": partial(final_answers.final_answer, style="boxed"),
    "final_answer thought": partial(final_answers.final_answer, style="thought"),
    "same_words": partial(final_answers.same_words, truth="two cats"),
    "same_option": partial(final_answers.same_option, truth="B"),
    "near_number": partial(final_answers.near_number, truth="100"),
    "soft_jaccard": partial(answers.soft_jaccard, truth="a red car"),
    "word_f1": partial(answers.word_f1, truth="a red car"),
    "bleu_1": partial(answers.bleu_1, truth="a red car"),
    "bleu_4": partial(answers.bleu_4, truth="a red car on a road"),
    "anls": partial(answers.anls, truths=["a red car"]),
    "count_accuracy": partial(answers.count_accuracy, truth="5"),
    "relative_accuracy_of": partial(answers.relative_accuracy_of, truth='{"a": 1}', keys=("a",)),
    "choice_or_text": partial(answers.choice_or_text, question="A. a\nB. b"),
    "same_word_or_number": partial(answers.same_word_or_number, truth="two"),
    "repeated_at_once": lambda text: repetition.repeated_at_once(text.split()),
}
PIECES = [
    "<think>",
    "</think><answer>",
    "</answer>",
    "<tool_call>",
    '{"name": "a", "arguments": {',
    '"actions": [',
    "{",
]
PIECES += [
    "}",
    "[",
    "]",
    "[1,2,3,4],",
    '{"bbox_2d": [1,2,3,4]},',
    "```json\n",
    "\n",
    " ",
    "1",
    "1.",
    "-",
    ":",
    "(1, 2) ",
]
PIECES += [
    "box: [1,",
    "<g",
    "<g>",
    "Final answer:",
    "Final Score: ",
    "score",
    "Image 1 ",
    '"',
    "\\boxed{",
    "<|im_start|>user",
]
PIECES += ["Step 1 ", "first ", "答案:", "\u00e9\ud800\x00", "²", "NaN", "1e999", "Infinity"]
MEGABYTES = ["".join(piece * (40_000 // len(piece)) for piece in PIECES), "<answer>" * 60_000 + "</answer>" * 60_000]
MEGABYTES += [piece * (1_000_000 // len(piece)) for piece in ("[", "1", "box: [", "\n<|im_start|>user", "a ", '{"a":')]


@pytest.mark.parametrize("name", READERS)
def test_a_megabyte_of_anything_is_read_in_time(name):
    for number, text in enumerate(MEGABYTES):
        with bounded(f"text {number}"):
            READERS[name](text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20).map("".join))
def test_any_text_can_be_read(text):
    for reader in READERS.values():
        for whole in (text, f"<think>t</think><answer>{text}</answer>", f"<tool_call>{text}</tool_call>"):
            reader(whole)


@pytest.mark.parametrize("spec", ["clip:x", '{"clip": null}', "{", "[1]:", "clip:nan", "clip:"])
def test_weights_that_are_no_numbers_are_refused_with_an_example(spec):
    with pytest.raises(ValueError, match=r"clip:0\.6"):
        combine.weights_of(spec)


def test_weights_are_read_from_names_or_json():
    assert (
        combine.weights_of(" clip : 2 , hps ")
        == {"clip": 2.0, "hps": 1.0}
        == combine.weights_of('{"clip": 2, "hps": 1}')
    )
