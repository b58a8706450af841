"""The denoisers of blobs: what they learn, and that they are found again."""

from __future__ import annotations

import pytest
import torch

from gamutrl import zoo
from gamutrl.data.worlds import blobs
from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel
from gamutrl.rewards.blobs import DENSITY, GOLD
from gamutrl.zoo.blobs import BlobConfig, BlobDenoiser, BlobNet, build, measure, train
from gamutrl.zoo.builders import build as build_any


def test_a_short_training_comes_nearer_to_the_perfect_denoiser():
    config = BlobConfig("points", width=32, depth=1)
    little, more = (measure(train(config, steps))["error"] for steps in (5, 120))
    assert more < 0.7 * little


def test_a_noise_predictor_says_what_the_velocity_says():
    """Both mean the same clean latent, at the same place of the path."""
    flow, diffusion = (BlobDenoiser(BlobNet(BlobConfig("points", predicts))) for predicts in ("velocity", "epsilon"))
    torch.nn.init.normal_(flow.module.last.weight)
    diffusion.module.load_state_dict(flow.module.state_dict())
    x_ND, told = torch.randn(5, 2), {"class": torch.arange(5)}
    for time in (1, 500, 999):
        alpha = diffusion.schedule.alpha_K[time]
        scale = alpha.sqrt() + (1 - alpha).sqrt()
        sigma = float((1 - alpha).sqrt() / scale)
        velocity = flow.predict(x_ND / scale, torch.full((5,), sigma), told)
        noise = diffusion.predict(x_ND, torch.full((5,), float(time)), told)
        clean = diffusion.schedule.clean(x_ND, noise, float(alpha))
        assert torch.allclose(clean, flow.schedule.clean(x_ND / scale, velocity, sigma), atol=1e-3)


def test_a_build_is_a_folder_that_says_how_it_was_made(tmp_path):
    folder = build("points-flow", steps=3, seed=5, out=tmp_path / "model")
    card = (folder / "card.json").read_text()
    assert "gamut zoo build points-flow --steps 3 --seed 5" in card
    again = BlobDenoiser.load(build("points-flow", steps=3, seed=5, out=tmp_path / "again"))
    for one, other in zip(BlobDenoiser.load(folder).module.parameters(), again.module.parameters()):
        assert torch.equal(one, other)
    policy = FlowModel(str(folder)).load()
    rows = blobs.rows("test", 3, task="points")
    batch = policy.rollout(rows, 2, SingleTurn(), FlowSampling(steps=3), seed=0)
    assert [rollout.output.space for rollout in batch.rollouts] == ["points"] * 6


def test_a_wrong_name_or_setting_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"there is one for: vlm-tiny, .*blobs-flow"):
        build_any("blobs")
    with pytest.raises(ValueError, match="takes no --minutes"):
        build_any("blobs-flow", minutes=3.0)


def test_prompts_of_another_space_are_refused():
    denoiser = train(BlobConfig("points", width=8, depth=1), 1)
    with pytest.raises(ValueError, match="makes points; the prompts ask for pictures"):
        denoiser.encode(blobs.rows("test", 1, task="pictures"))


@pytest.mark.parametrize("name", [name for name in ("blobs-flow", "blobs-eps") if name in zoo.available()])
def test_the_packaged_denoisers_sample_what_the_world_holds(name):
    policy = FlowModel(name).load()
    rows = blobs.rows("test", 14, task="pictures")
    batch = policy.rollout(rows, 20, SingleTurn(), FlowSampling(steps=20, eta=0.0), seed=0)
    space = blobs.space("pictures")
    class_R = torch.tensor([rollout.prompt.columns["class"] for rollout in batch.rollouts])
    data = space.gold(space.sample(class_R, torch.Generator().manual_seed(0)), class_R).mean()
    assert float(GOLD.score(batch, None).mean()) == pytest.approx(float(data), abs=0.06)
    assert float(DENSITY.score(batch, None).mean()) > -0.5
