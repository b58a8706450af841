"""How much memory a training step will need, from the model's shape alone: nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gamutrl.policies.models import TextModel

GIB = 2**30
SCORING_CHUNK_BYTES = 3 * 4 * 2**24
"""Logits, their softmax and its gradient in float32, for one chunk of `policies.scoring`."""


@dataclass(frozen=True)
class Estimate:
    """Bytes by what they are for, and what they were counted from."""

    parts: dict[str, float]
    parameters: int
    trained: int
    dtype: str
    device: str

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def skeleton(model: TextModel) -> Any:
    """The model without weights on the meta device, its adapter in place."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from gamutrl.policies import loading

    config = AutoConfig.from_pretrained(model.place)
    device = loading.pick_device(model.device)
    with torch.device("meta"):
        module: Any = AutoModelForImageTextToText.from_config(config, dtype=loading.pick_dtype(model.dtype, device))
        return module if model.lora is None else loading.adapted(module, model.lora)


def estimate(model: TextModel, module: Any, stage: Any, prompt_tokens: int) -> Estimate:
    """What one stage's step needs at its largest, with prompts of so many tokens.

    Activations are counted a layer at a time for one packed forward pass, as the policy packs: a prompt with all of its
    rollouts, several groups up to the policy's limit. Good to about a third; allocators and kernels add their own.
    """
    from gamutrl.policies import loading
    from gamutrl.policies.families import Backbone

    inner = module.get_base_model() if hasattr(module, "get_base_model") else module
    backbone = Backbone(inner)
    for part in model.freeze:
        for parameter in backbone.part(part):
            parameter.requires_grad_(False)
    size = next(inner.parameters()).element_size()
    parameters = sum(p.numel() for p in module.parameters())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    parts = {
        "weights": float(parameters * size),
        "gradients": float(trained * size),
        "optimizer": float(2 * trained * size),
    }
    group_size = getattr(stage, "group_size", 1)
    prompts = getattr(stage, "prompts_per_step", getattr(stage, "rows_per_step", 1))
    kl = getattr(stage, "kl", None)
    if kl is not None and kl.applies and model.lora is None:
        parts["reference"] = float(trained * size)
    text = backbone.text_config
    new_tokens = stage.sampling.max_tokens if hasattr(stage, "sampling") else 128
    group_tokens = prompt_tokens + group_size * new_tokens
    groups = -(-prompts // getattr(stage, "minibatches", 1))
    limit = getattr(stage, "rows_per_forward", 0)
    groups = max(1, min(groups, limit // group_size)) if limit else groups
    in_pass = max(group_tokens, min(2**16, groups * group_tokens))
    hidden, inner_size = text.hidden_size, getattr(text, "intermediate_size", 4 * text.hidden_size)
    heads = text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    head = getattr(text, "head_dim", None) or hidden // heads
    a_layer = in_pass * (8 * hidden + 2 * key_heads * head + 4 * inner_size) * size
    layers = text.num_hidden_layers
    parts["activations"] = float(
        layers * in_pass * hidden * size + a_layer if model.gradient_checkpointing else layers * a_layer
    )
    parts["logits, in chunks"] = float(SCORING_CHUNK_BYTES)
    parts["cache while sampling"] = float(2 * layers * key_heads * head * size * prompts * group_tokens)
    dtype = str(next(inner.parameters()).dtype).removeprefix("torch.")
    return Estimate(parts, parameters, trained, dtype, str(loading.pick_device(model.device)))
