"""Pictures of noise, and the library's own way to a log-probability: what packing is held to."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Prompt
from gamutrl.policies.text import TextPolicy


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def plain_log_probs(policy: TextPolicy, prompt: Prompt, tokens_T: Tensor, left: int = 0, right: int = 0) -> Tensor:
    """The library's own way: processor, chat template, one forward pass of one sequence, maybe padded."""
    chat = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.value} if part.kind == "text" else {"type": "image"}
                for part in message.parts
            ],
        }
        for message in prompt.messages
    ]
    processor = policy.processor
    written = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    arguments = {"images": [part.value for part in prompt.media]} if prompt.media else {}
    given = dict(processor(text=[written], return_tensors="pt", add_special_tokens=False, **arguments))
    ids = given.pop("input_ids")
    count = ids.shape[1]
    whole = torch.nn.functional.pad(torch.cat([ids, tokens_T[None]], dim=1), (left, right))
    mask = torch.nn.functional.pad(torch.ones(1, count + len(tokens_T), dtype=torch.long), (left, right))
    kind = (whole == policy.model.config.image_token_id).long() * mask
    given = {name: value for name, value in given.items() if "token_type" not in name and name != "attention_mask"}
    if "qwen" in policy.model.config.model_type:
        given["mm_token_type_ids"] = kind
    if "gemma3" in policy.model.config.model_type:
        given["token_type_ids"] = kind
    logits = policy.model(input_ids=whole, attention_mask=mask, use_cache=False, **given).logits[0].float()
    logits[:, policy.segments.banned] = -torch.inf
    begin = left + count - 1
    logp = logits.log_softmax(-1)[begin : begin + len(tokens_T)]
    return logp.gather(1, tokens_T[:, None])[:, 0]
