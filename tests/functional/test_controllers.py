"""Coefficients that steer themselves, and windows that slide."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.functional.controllers import EntropyController
from gamutrl.functional.denoising import clean_from_known, corrupt
from gamutrl.functional.windows import decaying_patience, late_patience, sliding_windows


def test_entropy_above_the_target_is_pressed_down_and_below_it_encouraged():
    high, low = EntropyController(2.0), EntropyController(2.0)
    high.update(3.0)
    low.update(1.0)
    assert high.alpha > 0 > low.alpha
    assert low.coefficient == -low.alpha


@given(st.lists(st.floats(0, 10), max_size=20))
def test_the_coefficient_stays_within_its_bounds(entropies):
    controller = EntropyController(2.0, lr=0.01, low=-0.005, high=0.005)
    for entropy in entropies:
        controller.update(entropy)
        assert abs(float(controller.alpha)) <= 0.005 + 1e-7


def test_a_window_slides_is_cut_off_at_the_end_and_starts_anew():
    windows = sliding_windows(2, 3, 1, lambda first: 1)
    assert [list(window) for window in islice(windows, 6)] == [[0, 1], [1, 2], [2], [], [0, 1], [1, 2]]


def test_a_window_that_does_not_wrap_stays_empty():
    windows = sliding_windows(2, 3, 2, lambda first: 2, wrap=False)
    assert [list(window) for window in islice(windows, 6)] == [[0, 1], [0, 1], [2], [2], [], []]


def test_patience_wears_off():
    assert [decaying_patience(first, 10, 10, 1) for first in (0, 5, 10)] == [10, 5, 1]
    assert [late_patience(first, 10) for first in (0, 13, 23)] == [10, 10, 4]


def test_a_known_noise_is_taken_out_again():
    clean, noise, sigma = torch.ones(2, 3), torch.full((2, 3), -2.0), torch.tensor(0.8)
    assert clean_from_known(corrupt(clean, noise, sigma), noise, sigma) == pytest.approx(clean)
