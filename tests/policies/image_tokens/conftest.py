"""Small random models that draw, built once a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.zoo import random_images

SIDE = {"janus": None, "emu3": 3}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A family's name to the folder of its random model."""
    root, made = tmp_path_factory.mktemp("drawers"), {}

    def get(family: str) -> str:
        if family not in made:
            made[family] = str(random_images.build(family, root / family))
        return made[family]

    return get


@pytest.fixture(scope="session")
def load(folder: Callable[[str], str]) -> Callable[..., ImageTokenPolicy]:
    """A family's name to a policy of its own."""
    return lambda family, **options: ImageTokenPolicy.load(folder(family), side=SIDE[family], **options)


@pytest.fixture(params=random_images.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param
