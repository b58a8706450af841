"""Pictures held against what they were asked to show."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.rewards import alignment, composition, ocr, pictures

LEFT, RIGHT, BELOW = [0, 0, 10, 10], [50, 0, 60, 10], [0, 50, 10, 60]


DOGS = {"dog": [LEFT, BELOW], "cat": [RIGHT]}


class TestRelations:
    @pytest.mark.parametrize("relation", ["left of", "on the left of"])
    def test_the_right_side_earns_all_and_the_wrong_one_nothing(self, relation):
        assert composition.relation_score(relation, LEFT, RIGHT) == 1
        assert composition.relation_score(relation, RIGHT, LEFT) == 0

    def test_above_is_known_by_all_its_names(self):
        assert [composition.relation_score(name, LEFT, BELOW) for name in ("above", "top of", "on top of")] == [1, 1, 1]
        assert composition.relation_score("below", BELOW, LEFT) == 1

    def test_overlap_costs(self):
        half = composition.relation_score("left of", [0, 0, 10, 10], [5, 0, 15, 10])
        assert half == pytest.approx(0.1 / (50 / 150))

    def test_an_unknown_relation_is_never_right(self):
        assert composition.relation_score("inside", LEFT, RIGHT) == 0

    def test_positions_need_more_than_the_objects_own_size(self):
        assert composition.relative_positions(LEFT, RIGHT) == {"left of"}
        assert composition.relative_positions(BELOW, LEFT) == {"below"}
        assert composition.relative_positions([0, 0, 100, 100], [15, 0, 115, 100]) == set()


class TestVerdict:
    def test_all_that_is_included_must_be_there(self):
        assert composition.shows(DOGS, {}, {"include": [{"class": "dog", "count": 2}]})
        assert not composition.shows(DOGS, {}, {"include": [{"class": "cat", "count": 2}]})

    def test_what_is_excluded_must_not(self):
        asked = {"include": [{"class": "dog", "count": 1}], "exclude": [{"class": "dog", "count": 2}]}
        assert not composition.shows(DOGS, {}, asked)

    def test_a_position_is_held_against_an_earlier_object(self):
        cat, dog = {"class": "cat", "count": 1}, {"class": "dog", "count": 1}
        assert composition.shows(DOGS, {}, {"include": [cat, {**dog, "position": ("left of", 0)}]})
        assert not composition.shows(DOGS, {}, {"include": [cat, {**dog, "position": ("right of", 0)}]})

    def test_colors_are_counted(self):
        asked = {"include": [{"class": "cat", "count": 1, "color": "red"}]}
        assert composition.shows(DOGS, {"cat": ["red"]}, asked)
        assert not composition.shows(DOGS, {"cat": ["blue"]}, asked)


def test_a_surer_box_suppresses_those_that_it_covers():
    assert composition.distinct_count([LEFT, [1, 0, 11, 10], RIGHT], [0.9, 0.8, 0.7]) == 2
    assert composition.distinct_count([], []) == 0


def test_a_caption_says_where_each_noun_stands():
    caption, spans, phrases = composition.grounding_prompt(["stop sign", "cat"])
    assert caption == "stop sign . cat."
    assert [[caption[a:b] for a, b in words] for words in spans] == [["stop", "sign"], ["cat"]]
    assert phrases == ["stop sign", "cat"]


class TestText:
    def test_what_is_read_inside_other_text_is_right(self):
        assert ocr.rendered_text([["we are ", 0.9], ["Open now", 0.8]], ocr.quoted('a sign "OPEN"')) == 1

    def test_a_letter_missing_costs_its_share(self):
        assert ocr.rendered_text([["helo", 0.9]], "hello") == pytest.approx(0.8)

    def test_lines_without_confidence_do_not_count(self):
        assert ocr.rendered_text([["open", 0.0]], "open") == ocr.rendered_text(None, "open") == 0

    def test_words_are_found_in_any_order(self):
        found, missed = ocr.words_read("brews FRESH", "Fresh, brews daily!")
        assert (found.total(), list(missed)) == (2, ["daily"])


def test_cosines_do_not_know_lengths():
    a, b = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])
    assert alignment.cosine(a, b).tolist() == [1, 0]


def test_every_token_counts_by_its_best_counterpart():
    image, words = torch.eye(2), torch.tensor([[5.0, 5.0]])
    assert float(alignment.token_matching(image, words)) == pytest.approx(0.5**0.5)


def test_yes_is_weighed_against_no_alone():
    logits = torch.tensor([[1.0, 1.0, 9.0], [2.0, 1.0, -9.0]])
    yes, sure = alignment.yes_probability(logits, [0], [1]).tolist()
    assert yes == pytest.approx(0.5)
    assert sure == pytest.approx(1 / (1 + np.exp(-1)))


pixels = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 256, (12, 14, 3), np.uint8))


@given(pixels, pixels)
def test_a_picture_is_like_itself_and_less_like_others(one, other):
    assert pictures.structural_similarity(one, one) == pytest.approx(1)
    assert pictures.structural_similarity(one, other) == pytest.approx(pictures.structural_similarity(other, one))
    assert pictures.squared_difference(one, one) == 0 <= pictures.squared_difference(one, other) <= 1


def test_pictures_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="11"):
        pictures.structural_similarity(np.zeros((4, 4, 3)), np.zeros((4, 4, 3)))


def test_noise_makes_a_larger_file_than_a_plain_wall():
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert pictures.jpeg_kilobytes(noise) > pictures.jpeg_kilobytes(torch.full((3, 32, 32), 0.5)) > 0
