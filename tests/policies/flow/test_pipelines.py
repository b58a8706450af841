"""Pipelines of diffusers as policies: each family is asked the way its own pipeline asks it, and replays exactly."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.core import image as picture
from gamutrl.environments import SingleTurn
from gamutrl.policies.models import FlowModel, Lora

diffusers = pytest.importorskip("diffusers")

from gamutrl.policies.flow import FlowPolicy, FlowSampling  # noqa: E402
from gamutrl.policies.flow.families.pipeline import patches, unpatched  # noqa: E402
from gamutrl.policies.flow.families.schedules import schedule_of  # noqa: E402
from gamutrl.policies.flow.pipelines import dtype_argument, load_pipeline  # noqa: E402
from gamutrl.policies.loading import without_message  # noqa: E402
from gamutrl.zoo import random_pipelines  # noqa: E402

FAMILIES = tuple(random_pipelines.FAMILIES)
LORA = Lora(rank=4, alpha=8.0)
SIDE = 32


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def load(pipeline_folder):
    """A family's name to a policy of its own."""

    def get(family, **settings):
        frames = 5 if family == "wan" else 1
        return FlowPolicy(load_pipeline(pipeline_folder(family), height=SIDE, width=SIDE, frames=frames, **settings))

    return get


@pytest.fixture(scope="session")
def shared(load):
    """A family's name to its policy as it is ("base"), or with an adapter that does something ("adapted")."""
    made = {}

    def get(family, kind):
        if (family, kind) not in made:
            made[family, kind] = load(family) if kind == "base" else moved(load(family, lora=LORA))
        return made[family, kind]

    return get


def moved(policy):
    """The policy with other weights, those of its adapter if it has one."""
    with torch.no_grad():
        for n, parameter in enumerate(policy.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n)), alpha=0.03)
    return policy


PROMPTS = [
    Prompt.ask("a red square", id="one"),
    Prompt.ask("two large circles", id="two", negative_prompt="blurred"),
]


@pytest.mark.parametrize("family", FAMILIES)
class TestEachFamily:
    @pytest.mark.parametrize("guidance", [1.0, 3.5])
    def test_replay_finds_what_sampling_recorded(self, shared, family, guidance):
        policy = shared(family, "adapted")
        policy.module.zero_grad()
        sampling = FlowSampling(steps=3, eta=0.7, guidance=guidance, trained=(0, 1))
        batch = policy.rollout(PROMPTS, 2, SingleTurn(), sampling, seed=0)
        logp_NT = policy.log_probs(batch)
        assert torch.allclose(logp_NT, batch.logp_sampled_NT * batch.mask_NT, atol=1e-5, rtol=0)
        logp_NT.sum().backward()
        trained = [parameter for parameter in policy.parameters() if parameter.grad is not None]
        assert len(trained) > 0
        assert all(torch.isfinite(parameter.grad).all() for parameter in trained)
        outputs = batch.rollouts[0].output
        for shown in outputs if isinstance(outputs, list) else [outputs]:
            assert isinstance(shown, Image.Image)
            assert shown.size == (SIDE, SIDE)

    def test_with_the_adapter_off_it_is_the_base_model(self, shared, family):
        adapted, base = shared(family, "adapted"), shared(family, "base")
        batch = base.rollout(PROMPTS, 1, SingleTurn(), FlowSampling(steps=2, trained=(0,)), seed=0)
        with adapted.reference("base"):
            assert torch.allclose(adapted.log_probs(batch), base.log_probs(batch), atol=1e-6)
        assert not torch.allclose(adapted.log_probs(batch), base.log_probs(batch), atol=1e-6)

    def test_sampling_with_the_adapter_laid_in_is_sampling_with_it_beside(self, shared, family, monkeypatch):
        policy = shared(family, "adapted")
        before = {name: value.clone() for name, value in policy.module.state_dict().items()}
        sampling = FlowSampling(steps=2, guidance=3.0)
        assert policy.laid.now() is not policy.denoiser
        batch = policy.rollout(PROMPTS, 1, SingleTurn(), sampling, seed=0)
        state = policy.begin(PROMPTS, 1, sampling, seed=0)
        monkeypatch.setattr(policy.laid, "layers", [])
        assert policy.laid.now() is policy.denoiser
        with torch.no_grad():
            while not state.done:
                state, _ = policy.step(state)
        latents = torch.stack([rollout.info["latent"] for rollout in batch.rollouts])
        assert torch.allclose(latents, state.latent_R, atol=1e-4)
        assert all(torch.equal(value, before[name]) for name, value in policy.module.state_dict().items())
        assert all(parameter.requires_grad for parameter in policy.parameters())
        assert len(list(policy.parameters())) > 0

    def test_the_graphs_of_sampling_give_the_gradient_of_the_adapter_beside(self, shared, family, monkeypatch):
        policy, found = shared(family, "adapted"), []
        sampling = FlowSampling(steps=3, guidance=3.0, trained=(0, 1))
        batch = policy.rollout(PROMPTS, 1, SingleTurn(), sampling, seed=0)
        assert len(policy.graphs) > 0
        for layers in (policy.laid.layers, []):
            monkeypatch.setattr(policy.laid, "layers", layers)
            policy.module.zero_grad()
            policy.log_probs(batch)[:, 1].sum().backward()
            found.append([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
            assert len(policy.graphs) == 0
        kept, beside = (torch.cat(gradients) for gradients in found)
        assert torch.allclose(kept, beside, rtol=0, atol=1e-3 * float(beside.abs().max()))

    @pytest.mark.parametrize("guidance", [1.0, 3.0])
    def test_without_noise_it_ends_where_its_own_pipeline_does(self, shared, family, guidance, monkeypatch):
        policy = shared(family, "base")
        pipeline = policy.denoiser.pipeline
        if family in ("sana", "wan"):
            euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
            monkeypatch.setattr(pipeline, "scheduler", euler)
            monkeypatch.setattr(policy.denoiser, "schedule", schedule_of(euler, policy.denoiser.tokens, even=False))
        elif family == "sdxl":
            monkeypatch.setattr(pipeline, "scheduler", diffusers.DDIMScheduler.from_config(pipeline.scheduler.config))
        steps = 3
        state = policy.begin(PROMPTS[1:], 1, FlowSampling(steps=steps, eta=0.0, guidance=guidance), seed=0)
        first = state.latent_R
        given = {"prompt": PROMPTS[1].text, "num_inference_steps": steps, "output_type": "latent"}
        given |= {"height": SIDE, "width": SIDE}
        told = "true_cfg_scale" if family == "qwen_image" else "guidance_scale"
        given |= {told: guidance}
        if family != "flux":
            given["negative_prompt"] = "blurred"
        if family == "wan":
            given["num_frames"] = 5
        if family in ("flux", "qwen_image"):
            first = patches(first)
        if family == "sana":
            given |= {"use_resolution_binning": False}
        with torch.no_grad():
            theirs = pipeline(latents=first.clone(), **given)[0]
            while not state.done:
                state, _ = policy.step(state)
        if family in ("flux", "qwen_image"):
            theirs = unpatched(theirs, *state.latent_R.shape[-2:])
        assert torch.allclose(state.latent_R, theirs.float(), atol=2e-4)

    def test_pictures_go_in_again(self, shared, family):
        policy = shared(family, "base")
        batch = policy.rollout(PROMPTS, 1, SingleTurn(), FlowSampling(steps=2, eta=0.0), seed=0)
        outputs = policy.outputs_of(PROMPTS, [rollout.output for rollout in batch.rollouts])
        assert outputs.latent_N.shape == (2, *policy.denoiser.shape)
        corruption = policy.corrupt(outputs, torch.rand(2, 2), torch.Generator().manual_seed(0))
        assert torch.isfinite(policy.score(outputs, corruption)).all()


class TestLoading:
    def test_an_adapter_alone_finds_its_base(self, load, tmp_path):
        policy = moved(load("sd3", lora=LORA))
        policy.save(tmp_path / "model")
        again = FlowPolicy(load_pipeline(tmp_path / "model", height=SIDE, width=SIDE))
        batch = policy.rollout(PROMPTS, 1, SingleTurn(), FlowSampling(steps=2), seed=0)
        assert torch.allclose(again.log_probs(batch), policy.log_probs(batch), atol=1e-6)
        assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in policy.parameters())
        assert not (tmp_path / "model" / "vae").exists()

    def test_all_weights_train_without_an_adapter_and_are_saved_as_a_pipeline(self, load, tmp_path):
        policy = moved(load("sd"))
        policy.save(tmp_path / "model")
        assert (tmp_path / "model" / "model_index.json").is_file()
        again = FlowModel(str(tmp_path / "model"), height=SIDE, width=SIDE).load()
        batch = policy.rollout(PROMPTS, 1, SingleTurn(), FlowSampling(steps=2), seed=0)
        assert torch.allclose(again.log_probs(batch), policy.log_probs(batch), atol=1e-6)

    def test_only_the_denoiser_trains(self, load):
        policy = load("sd3")
        pipeline = policy.denoiser.pipeline
        assert all(parameter.requires_grad for parameter in policy.module.parameters())
        frozen = (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
        assert not any(parameter.requires_grad for part in frozen for parameter in part.parameters())

    def test_an_adapter_goes_on_the_layers_that_are_named(self, load):
        policy = load("sd3", lora=Lora(rank=2, targets=("to_q",)))
        assert all(".to_q." in name for name, p in policy.module.named_parameters() if p.requires_grad)

    def test_layers_that_are_not_there_are_an_error(self, pipeline_folder):
        with pytest.raises(ValueError, match="nowhere"):
            load_pipeline(pipeline_folder("sd3"), lora=Lora(targets=("nowhere",)))

    def test_a_folder_that_is_no_pipeline_is_an_error_that_says_what_to_give(self, tmp_path):
        with pytest.raises(ValueError, match=r"model_index\.json"):
            load_pipeline(Path(tmp_path))

    def test_sides_that_do_not_fit_are_an_error(self, pipeline_folder):
        with pytest.raises(ValueError, match="multiples of 4"):
            load_pipeline(pipeline_folder("sd3"), height=30, width=32)

    def test_a_prompt_with_a_picture_is_an_error_that_names_the_row(self, load):
        prompt = Prompt.ask("like this", picture(Image.new("RGB", (8, 8))), id="rows/7")
        with pytest.raises(ValueError, match="rows/7"):
            load("sd3").rollout([prompt], 1, SingleTurn(), FlowSampling(steps=1), seed=0)

    def test_the_dtype_goes_by_the_name_that_a_version_knows(self):
        names = {version: dtype_argument(version) for version in ("0.36.0", "0.39.0", "0.40.0", "0.42.1", "1.0.0")}
        assert [version for version, name in names.items() if name == "torch_dtype"] == ["0.36.0", "0.39.0"]

    @pytest.mark.slow
    def test_a_first_load_says_nothing_that_nobody_can_act_on(self, pipeline_folder):
        load = (
            f"from gamutrl.policies.flow.pipelines import load_pipeline; load_pipeline({str(pipeline_folder('sd3'))!r})"
        )
        made = subprocess.run(
            [sys.executable, "-W", "error::FutureWarning", "-c", load], capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        assert "torchvision" not in made.stderr

    def test_one_message_is_left_out_while_loading_and_no_other(self, caplog):
        source = logging.getLogger("a.library")
        with without_message("a.library", "needs nothing"):
            source.warning("This needs nothing.")
            source.warning("This needs a look.")
        source.warning("Again: needs nothing.")
        assert caplog.messages == ["This needs a look.", "Again: needs nothing."]


def test_patches_come_back():
    latent_N = torch.randn(2, 3, 4, 6)
    assert torch.equal(unpatched(patches(latent_N), 4, 6), latent_N)
