"""The world of blobs: its density, its perfect denoiser, its scores, and rows with preferences."""

from __future__ import annotations

import math

import pytest
import torch

from gamutrl.data.worlds import blobs

SPACES = ("points", "pictures")


@pytest.mark.parametrize("name", SPACES)
def test_rows_depend_on_their_arguments_only_and_splits_share_no_class(name):
    train, test = (blobs.rows(split, 60, seed=3, task=name) for split in ("train", "test"))
    assert [row.text for row in blobs.rows("train", 20, seed=3, task=name)] == [row.text for row in train[:20]]
    assert not {row.columns["class"] for row in train} & {row.columns["class"] for row in test}
    kinds = {row.columns["kind"] for row in train}
    assert kinds == {row.columns["kind"] for row in test} == set(blobs.space(name).kinds)
    everything = blobs.space(name).classes("train")
    assert sorted(row.columns["class"] for row in train[: len(everything)]) == everything


def test_captions_name_what_and_where():
    texts = {row.text for row in blobs.rows("train", 40, task="pictures")}
    assert "a frame at the top left" in texts or "a disc at the top left" in texts
    assert len(texts) == 40


def test_the_density_of_points_integrates_to_one():
    points = blobs.space("points")
    axis = torch.linspace(-4, 4, 801)
    grid_RD = torch.cartesian_prod(axis, axis)
    for label in (0, 13):
        density = points.log_density(grid_RD, torch.full((len(grid_RD),), label)).exp()
        assert float(density.sum() * 0.01**2) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", SPACES)
def test_samples_have_the_modes_in_the_share_of_their_priors(name):
    space = blobs.space(name)
    class_R = torch.full((20_000,), 5)
    mode_R = space.mode_of(space.sample(class_R, torch.Generator().manual_seed(0)), class_R)
    share_M = torch.bincount(mode_R, minlength=len(space.prior_M)) / len(class_R)
    assert torch.allclose(share_M, space.prior_M, atol=0.02)


@pytest.mark.parametrize("known", [True, False])
def test_the_perfect_denoiser_is_the_mean_of_all_samples_that_could_have_been_there(known):
    """Against importance sampling over a quarter of a million clean samples."""
    points = blobs.space("points")
    generator = torch.Generator().manual_seed(1)
    class_R = torch.full((250_000,), 4) if known else torch.randint(24, (250_000,), generator=generator)
    clean_RD = points.sample(class_R, generator)
    for t, x in ((0.7, [0.3, 0.6]), (0.4, [-0.2, 0.9]), (0.9, [1.0, -1.0])):
        x_1D = torch.tensor([x])
        weight_R = (-(x_1D - (1 - t) * clean_RD).square().sum(1) / (2 * t**2)).softmax(0)
        answer = points.denoised(x_1D, torch.tensor([4 if known else -1]), 1 - t, t)
        assert torch.allclose(answer[0], weight_R @ clean_RD, atol=0.02)


def test_a_denoiser_at_full_noise_answers_the_mean_of_the_class_or_of_all():
    pictures = blobs.space("pictures")
    x_RD = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    answer = pictures.denoised(x_RD, torch.tensor([7, -1]), 0.0, 1.0)
    assert torch.allclose(answer[0], pictures.prior_M @ pictures.mode_CMD[7], atol=1e-5)
    assert torch.allclose(answer[1], torch.einsum("m,cmd->d", pictures.prior_M, pictures.mode_CMD) / 54, atol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_gold_is_the_worth_of_a_mode_and_falls_away_from_it(name):
    space = blobs.space(name)
    class_R = torch.full((len(space.worth_M),), 2)
    on_modes = space.mode_CMD[2]
    assert torch.allclose(space.gold(on_modes, class_R), space.worth_M)
    best = on_modes[-1:]
    away = torch.cat([best + amount * space.reach * space.artefact_D for amount in (0.0, 1.0, 3.0)])
    gold = space.gold(away, class_R[:1].expand(3))
    assert gold.tolist() == pytest.approx([1.0, math.exp(-0.5), math.exp(-4.5)], rel=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_the_proxy_rises_all_the_way_on_which_gold_falls(name):
    space = blobs.space(name)
    away = space.mode_CMD[2, -1] + torch.linspace(0, 6, 40)[:, None] * space.reach * space.artefact_D
    class_R = torch.full((40,), 2)
    gold, proxy = space.gold(away, class_R), space.proxy(away, class_R)
    assert (gold.diff() < 0).all()
    assert gold[-1] < 1e-3
    assert proxy[-1] > proxy[0] + 0.2
    assert proxy.argmax() == 39


def test_scores_have_gradients_and_qualities_tell_the_modes_apart():
    pictures = blobs.space("pictures")
    x_RD = pictures.mode_CMD[11].clone().requires_grad_()
    class_R = torch.full((4,), 11)
    pictures.proxy(x_RD, class_R).sum().backward()
    assert (x_RD.grad @ pictures.artefact_D > 0).all()
    mode, texture, clean = pictures.qualities(x_RD.detach(), class_R).T
    assert (mode > 0.9).tolist() == [False, False, True, True]
    assert (texture > 0.5).tolist() == [False, True, False, True]
    assert torch.allclose(clean, torch.ones(4))


def test_preferences_follow_the_score_but_for_noise_and_ties():
    space = blobs.space("pictures")

    def agreement(**knobs):
        found = blobs.rows("train", 400, task="pairs", **knobs)
        class_R = torch.tensor([row.columns["class"] for row in found])
        chosen, rejected = (torch.tensor([row.columns[key] for row in found]) for key in ("chosen", "rejected"))
        return float((space.gold(chosen, class_R) >= space.gold(rejected, class_R)).float().mean()), found

    assert agreement()[0] == 1.0
    assert agreement(noise=0.3)[0] == pytest.approx(0.7, abs=0.07)
    _, found = agreement(band=0.1)
    assert all(row.columns["tie"] == (row.columns["margin"] <= 0.1) for row in found)
    assert 0.2 < sum(row.columns["tie"] for row in found) / len(found) < 0.7


def test_labels_and_rankings_follow_the_score():
    space = blobs.space("points")
    for row in blobs.rows("test", 50, task="labels", space="points", threshold=0.5):
        x_1D, class_1 = torch.tensor([row.columns["output"]]), torch.tensor([row.columns["class"]])
        assert row.columns["liked"] == (float(space.gold(x_1D, class_1)) > 0.5)
    for row in blobs.rows("train", 20, task="rankings", space="points", count=5):
        outputs_RD = torch.tensor(row.columns["outputs"])
        gold = space.gold(outputs_RD, torch.full((5,), row.columns["class"]))
        best_first = sorted(range(5), key=row.columns["rank"].__getitem__)
        assert (gold[best_first].diff() <= 1e-6).all()


def test_a_sample_is_shown_as_a_picture():
    for name in SPACES:
        space = blobs.space(name)
        picture = space.picture(space.mode_CMD[3, 0], 3)
        assert picture.size == (64, 64)
        assert len(picture.getcolors()) > 1


def test_what_is_not_there_is_said():
    with pytest.raises(ValueError, match="has no task 'sum'"):
        blobs.rows("train", 1, task="sum")
    with pytest.raises(ValueError, match="'points' and 'pictures'"):
        blobs.space("cubes")
    with pytest.raises(ValueError, match="takes no knobs"):
        blobs.rows("train", 1, task="points", noise=0.1)
