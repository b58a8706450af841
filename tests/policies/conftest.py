"""Small random models of each family, built once a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plainly import picture

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
