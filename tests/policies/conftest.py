"""Small random models of each family, built once a session, and the plain forward pass that they are held to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Message, Prompt, image, text
from gamutrl.policies.text import TextPolicy
from gamutrl.zoo import random

FAMILIES = tuple(random.FAMILIES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A family's name to the folder of its random model."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def get(family: str) -> str:
        if family not in made:
            made[family] = str(random.build(family, root / family))
        return made[family]

    return get


@pytest.fixture(scope="session")
def load(folder: Callable[[str], str]) -> Callable[..., TextPolicy]:
    """A family's name to a policy of its own."""
    return lambda family, **options: TextPolicy.load(folder(family), **options)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def prompts() -> list[Prompt]:
    """Ragged: one picture, none, two of other shapes, a question after an answer."""
    return [
        Prompt.ask("How many?", image(picture(0)), id="one"),
        Prompt.ask("No picture here, only words.", id="none"),
        Prompt.ask("Which is larger?", image(picture(1, 64, 64)), image(picture(2, 30, 60)), id="two"),
        Prompt(
            (
                Message("user", (text("Look: "), image(picture(3, 33, 44)))),
                Message("assistant", (text("I see."),)),
                Message("user", (text("And this? "), image(picture(4)), text(" Say."))),
            ),
            id="talk",
        ),
    ]


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
