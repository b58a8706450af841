"""Every bound function answers what released code answered, on every recorded case."""

from __future__ import annotations

import pytest

from gamutrl.fidelity.harness import check, golden_folder

SYSTEMS = sorted(path.name for path in golden_folder().iterdir() if path.is_dir())


@pytest.mark.parametrize("system", SYSTEMS)
def test_bound_functions_agree(system):
    failures = [f"{result.function}: {failure}" for result in check(system) for failure in result.failures]
    assert not failures, "\n".join(failures)
