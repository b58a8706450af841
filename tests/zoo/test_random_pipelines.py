"""Random pipelines: built offline, the same for one seed, and told apart by what they are asked."""

from __future__ import annotations

import pytest
import torch

diffusers = pytest.importorskip("diffusers")

from gamutrl.core import Prompt  # noqa: E402
from gamutrl.policies.flow import FlowPolicy, FlowSampling  # noqa: E402
from gamutrl.policies.flow.pipelines import load_pipeline  # noqa: E402
from gamutrl.zoo import random_pipelines  # noqa: E402


def first_prediction(folder, text):
    policy = FlowPolicy(load_pipeline(folder, height=32, width=32))
    state = policy.begin([Prompt.ask(text, id="same")], 1, FlowSampling(steps=2), seed=0)
    with torch.no_grad():
        return policy.clean(state)


def test_a_seed_makes_one_pipeline_and_the_prompt_makes_a_difference(tmp_path):
    one, same, other = (
        random_pipelines.build("sd3", tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    asked = first_prediction(one, "a red square")
    assert torch.equal(asked, first_prediction(same, "a red square"))
    assert not torch.allclose(asked, first_prediction(other, "a red square"))
    assert (asked - first_prediction(one, "two blue circles")).abs().max() > 1e-3


def test_an_unknown_family_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="qwen_image"):
        random_pipelines.build("sd9", "nowhere")
