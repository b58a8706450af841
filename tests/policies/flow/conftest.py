"""Small random pipelines of each family, built once a session."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory):
    """A family's name to the folder of its random pipeline."""
    pytest.importorskip("diffusers")
    from gamutrl.zoo import random_pipelines

    root, made = tmp_path_factory.mktemp("pipelines"), {}

    def get(family: str) -> str:
        if family not in made:
            made[family] = str(random_pipelines.build(family, root / family))
        return made[family]

    return get
