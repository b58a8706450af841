"""Is the answer right? Reading it, and comparing it by type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.rewards import answers as a


def test_the_tagged_answer_is_what_counts():
    text = "<think>3</think><answer> 4 </answer>"
    assert a.accuracy(text, "4", compare=a.same_text) == 1
    assert a.accuracy(text, "<answer>4</answer>", compare=a.same_text) == 1
    assert a.accuracy(text, "3", compare=a.same_text) == 0
    assert a.accuracy("<answer>3</answer><answer>4</answer>", "4", compare=a.same_text, which="last") == 1


def test_a_missing_answer_is_wrong_unless_asked_otherwise():
    assert a.accuracy("4", "4", compare=a.same_text) == 0
    assert a.accuracy("", "", compare=a.same_text) == 0
    assert a.accuracy("", "", compare=a.same_text, missing="empty") == 1
    assert a.accuracy("4", "4", compare=a.same_text, missing="whole") == 1


def test_a_type_without_a_comparison_does_not_apply():
    assert a.typed_accuracy("<answer>B</answer>", "B", "multiple choice", compare=a.PROBLEM_TYPES) == 1
    assert a.typed_accuracy("<answer>B</answer>", "B", "essay", compare=a.PROBLEM_TYPES) is None


@pytest.mark.parametrize(
    ("compare", "given", "truth", "value"),
    [
        (a.same_text, " Cat ", "Cat", 1),
        (a.same_text, "cat", "Cat", 0),
        (a.contains, "a red-tailed hawk", "red-tailed hawk", 1),
        (a.contains, "", "hawk", 0),
        (a.same_choice, "(B) a cat", "B", 1),
        (a.same_choice, "b", "B", 1),
        (a.same_choice, "The answer is C.", "C", 1),
        (a.same_choice, "none", "B", 0),
        (a.same_number, "1,234.001", "1234", 1),
        (a.same_number, "nan", "nan", 0),
        (a.relative_error, "90", "100", 0.9),
        (a.relative_error, "abc", "100", 0),
        (a.number_or_text, "There are 5 dogs", "5", 1),
        (a.number_or_text, "5%", "0.05", 1),
        (a.number_or_text, "Yes", "yes", 1),
        (a.mean_relative_accuracy, "three chairs", "3", 1),
        (a.mean_relative_accuracy, "5", "10", 0.1),
        (a.within_tolerance, "110", "100", 0.75),
        (a.within_tolerance, "0", "0", 1),
        (a.word_accuracy, "hello", "hello big world", 1 / 3),
        (a.rouge, "red", "red", 2 / 3),
        (a.edit_similarity, "kitten", "kitchen", 1 - 2 / 7),
        (a.subset_share, "A", "A,B", 0.5),
        (a.subset_share, "A,C", "A,B", 0),
        (a.subset_share, "A,", "A", 1),
        (a.set_f1, "a, b", "B, C", 0.5),
        (a.only_letter, "an apple b", "B", 0),
        (a.only_letter, "b", "B", 1),
        (a.starts_with_letter, "B. the dog", "B", 1),
    ],
)
def test_comparisons_by_type(compare, given, truth, value):
    assert compare(given, truth) == pytest.approx(value)


@given(st.text(), st.text())
def test_every_comparison_stays_in_the_unit_interval(given, truth):
    for compare in (a.same_choice, a.same_number, a.relative_error, a.word_accuracy, a.edit_similarity, a.set_f1):
        assert 0 <= compare(given, truth) <= 1


@given(st.integers(-(10**6), 10**6))
def test_a_number_is_found_in_a_sentence(number):
    assert a.number_in(f"about {number:,} of them") == number
    assert a.number_in(f"{number}% it is") == number / 100


def test_the_words_between_a_common_beginning_and_end_are_the_change():
    assert a.changed_words("a red cat", "a blue cat") == ["blue"]
    assert a.changed_words("the cat", "the cat") == []
    assert a.names_change("I see a BLUE cat", "a red cat", "a blue cat") == 1
    assert a.names_change("anything", "same", "same") == 0
