"""Benchmarks' own graders: what each calls the same answer, on clean and on hostile text."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from patience import bounded

from gamutrl.rewards import benchmarks


@pytest.mark.parametrize(
    ("given_", "truth", "same"),
    [
        ("\\frac12", "\\dfrac{1}{2}", 1),
        ("1/2", "\\frac{1}{2}", 1),
        ("0.5", "\\frac{1}{2}", 1),
        ("\\sqrt3", "\\sqrt{3}", 1),
        ("x = 5", "5", 1),
        (".25", "0.25", 1),
        ("10 \\text{ cm}", "10", 1),
        ("90^\\circ", "90", 1),
        ("\\left( 1, 2 \\right)", "(1,2)", 1),
        ("2/4", "\\frac{1}{2}", 0),
        (None, "5", 0),
    ],
)
def test_math_compares_spelling_not_value(given_, truth, same):
    assert benchmarks.same_math(given_, truth) == same


def test_maths_answer_is_the_last_box():
    assert benchmarks.math_answer("\\boxed{1} and \\boxed{\\frac{1}{2}}") == "\\frac{1}{2}"
    assert benchmarks.math_answer("so $\\boxed 7$.") == "7"
    assert benchmarks.math_answer("\\boxed{open") is None
    assert benchmarks.math_answer("no box") is None


def test_minervas_spelling_drops_units_and_wrappers():
    assert benchmarks.spelled_minerva("x = 12 square meters") == "12"
    assert benchmarks.spelled_minerva("$1,000$") == "1000"
    assert benchmarks.spelled_minerva("\\boxed{\\text{AB}}") == "AB"
    assert benchmarks.spelled_minerva("frac12") == "frac{1}{2}"
    assert benchmarks.minerva_answer("Answer: 3\nAnswer: 4 points") == "4"
    assert benchmarks.minerva_answer("Answer: 3" + "x" * 400) is None


def test_gsm8ks_number_stands_after_four_hashes_or_anywhere():
    assert benchmarks.last_number("12 #### 1,234") == "1234"
    assert benchmarks.last_number("#### 12 then 13") == "12"
    assert benchmarks.last_number("12 then 13.", marked=False) == "13."
    assert benchmarks.last_number("none") is None


def test_open_questions_match_without_articles_case_and_punctuation():
    assert benchmarks.exact_match("The U.S.", ["US", "America"]) == 1
    assert benchmarks.exact_match("Paris, France", "Paris") == 0
    assert benchmarks.exact_match("Paris, France", "paris", inside=True) == 1
    assert benchmarks.exact_match(None, "") == 0


def test_small_readers():
    assert benchmarks.tight_tags(" a < think > b </ think >") == " a<think>b</think>"
    assert benchmarks.last_letter("A then (B).") == "B"
    assert benchmarks.last_letter("ABC") is None
    assert benchmarks.without_degrees("30° and 45^\\circ") == "30 and 45"
    assert benchmarks.only_tag_around("<answer>\\boxed{1}</answer>", "\\boxed{") == 1
    assert benchmarks.only_tag_around("<answer>\\boxed{1}", "\\boxed{") == 0
    assert len(benchmarks.step_marks("1. a\n- b\nStep 2: c\nFirst, d")) == 4


def _all_of(text: str) -> None:
    benchmarks.same_math(benchmarks.math_answer(text), text)
    benchmarks.spelled_minerva(text)
    benchmarks.minerva_answer(text)
    benchmarks.last_number(text)
    benchmarks.last_number(text, marked=False)
    benchmarks.exact_match(text, [text, ""], inside=True)
    benchmarks.tight_tags(text)
    benchmarks.last_letter(text)
    benchmarks.without_degrees(text)
    benchmarks.only_tag_around(text, "\\boxed{")
    benchmarks.step_marks(text)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(), st.text(alphabet="\\boxed{}frac$12/.=, \n<>answer:")))
def test_any_text_is_graded(text):
    _all_of(text)


@pytest.mark.parametrize(
    "unit", ["\\boxed{", "{", "\\text{", "$", " ", "1.", "1", "<", "\\frac", "Answer:", "#### 1", "\n-", "=", "a the "]
)
def test_a_megabyte_of_anything_is_graded_in_time(unit):
    text = unit * (1_000_000 // len(unit))
    with bounded():
        _all_of(text)
