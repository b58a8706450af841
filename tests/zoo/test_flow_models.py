"""`flow-tiny` and `unet-tiny`: what they learn from, how a build goes on, and what the packaged ones can do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from gamutrl import zoo
from gamutrl.data.worlds import pictures
from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel, model_of
from gamutrl.zoo import flow, latents, phases, tokens
from gamutrl.zoo.builders import SCRIPTS

NAMES = tuple(flow.KINDS)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shown() -> tokens.Bank:
    return latents.bank(40, 3)


def test_a_bank_is_a_function_of_its_seed(shown):
    again = latents.bank(40, 3)
    assert np.array_equal(shown.picture_B, again.picture_B)
    assert shown.prompts == again.prompts
    assert shown.picture_B.shape == (40, 32, 32, 3)
    assert set(shown.tasks) <= set(latents.TASKS)


def test_every_prompt_that_is_learned_can_be_read():
    reader = latents.tokenizer()
    for task in latents.TASKS:
        texts = [row.text for row in pictures.rows("test", 60, task=task)]
        ids = reader(texts).input_ids
        assert all(len(row) <= latents.LENGTH for row in ids)
        assert all(row[-1] == reader.eos_token_id for row in ids)
        assert not any(reader.unk_token_id in row for row in ids)


def test_latents_have_unit_spread(shown, tmp_path):
    vae = latents.autoencoder()
    latents.train_autoencoder(vae, shown, 1, tmp_path)
    latent_B = latents.latents(vae, shown)
    assert latent_B.shape == (40, 4, 8, 8)
    assert float(latent_B.std()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_training_that_was_stopped_ends_as_if_it_was_not(name, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "CHECKPOINT_SECONDS", -1)
    kind, plan = flow.KINDS[name], flow.Plan(steps=4, batch=4)

    def trained(work, stop_at=0):
        torch.manual_seed(0)
        denoiser = kind.family(kind.make(latents.autoencoder()), max_text=latents.LENGTH)
        seen = []

        def predict(*told):
            seen.append(told)
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            return type(denoiser).predict(denoiser, *told)

        denoiser.predict = predict
        flow.train(denoiser, shown, plan, work, uniform=kind.uniform)
        assert len(seen) == (2 if work.name == "stopped" else 4)
        return denoiser.pipeline

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", stop_at=3)
    again = trained(tmp_path / "stopped")
    for part in (kind.family.part, "text_encoder"):
        for one, other in zip(getattr(whole, part).parameters(), getattr(again, part).parameters()):
            assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_build_leaves_a_pipeline_with_its_card(name, tmp_path, monkeypatch):
    kind = flow.KINDS[name]
    short = replace(kind.plan, pictures=64, autoencoder_steps=2, batch=4)
    monkeypatch.setitem(flow.KINDS, name, replace(kind, plan=short))
    folder = flow.build(name, steps=2, seed=1, out=tmp_path / name, rows=4)
    card = json.loads((folder / "card.json").read_text("utf-8"))
    assert card["plan"]["seed"] == 1
    assert set(card["held_out"]) == {"plain", "guided"}
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {name}")
    assert model_of(str(folder)) == FlowModel(str(folder))
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
class TestThePackagedModel:
    @pytest.fixture
    def policy(self, name):
        if name not in zoo.available():
            pytest.skip(f"{name} is not built")
        return FlowModel(name).load()

    def test_it_is_found_by_its_name(self, name, policy):
        assert model_of(name) == FlowModel(name)
        assert SCRIPTS[name] == flow.__name__
        assert policy.denoiser.shape == (4, 8, 8)
        assert policy.denoiser.encode_texts(["a red circle"])["text"].shape[1] % latents.LENGTH == 0

    def test_it_draws_what_is_asked(self, name, policy):
        card = json.loads((zoo.path(name) / "card.json").read_text("utf-8"))
        found = flow.measured(policy, flow.GUIDED, rows=40, tasks=("object",))
        assert found["object"] > card["held_out"]["guided"]["object"] - 0.2

    def test_its_own_pipeline_draws_the_same(self, name, policy):
        row = pictures.rows("test", 1, task="object")[0]
        state = policy.begin([row], 1, FlowSampling(steps=3, eta=0.0, guidance=3.0), seed=0)
        told = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent", "latents": state.latent_R}
        if name == "flow-tiny":
            told["max_sequence_length"] = latents.LENGTH
        with torch.no_grad():
            theirs = policy.denoiser.pipeline(row.text, **told)[0]
            while not state.done:
                state, _ = policy.step(state)
        # Noise predictions count 14 times in the first clean latent, and their rounding with them.
        assert torch.allclose(state.latent_R, theirs, atol=1e-2)

    def test_replay_finds_what_sampling_recorded(self, name, policy):
        asked = pictures.rows("test", 3, task="pair")
        batch = policy.rollout(asked, 2, SingleTurn(), FlowSampling(steps=4, eta=0.7, trained=(0, 1)), seed=0)
        with torch.no_grad():
            assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT * batch.mask_NT, atol=1e-5)
