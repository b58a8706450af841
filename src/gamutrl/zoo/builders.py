"""Which script makes which packaged model."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

SCRIPTS = {
    "vlm-tiny": "gamutrl.zoo.build",
    "agent-tiny": "gamutrl.zoo.agent",
    "janus-tiny": "gamutrl.zoo.janus_build",
    "maze-tiny": "gamutrl.zoo.maze",
    "pages-tiny": "gamutrl.zoo.pages",
    "mask-tiny": "gamutrl.zoo.mask",
    "var-tiny": "gamutrl.zoo.var",
    **dict.fromkeys(("flow-tiny", "unet-tiny"), "gamutrl.zoo.flow"),
    **dict.fromkeys(("blobs-flow", "blobs-eps", "points-flow", "points-eps"), "gamutrl.zoo.blobs"),
}
"""The module whose `build(name, …)` trains each model and writes its folder."""


def build(name: str, **settings: Any) -> Path:
    """Train a packaged model; settings that are None are left to its script.

    Raises ValueError for a name that no script builds, and for a setting that its script does not take.
    """
    if name not in SCRIPTS:
        raise ValueError(f"No script builds {name!r}; there is one for: {', '.join(SCRIPTS)}.")
    script = importlib.import_module(SCRIPTS[name]).build
    given = {key: value for key, value in settings.items() if value is not None}
    taken = inspect.signature(script).parameters
    if odd := [key for key in given if key not in taken]:
        raise ValueError(f"The script of {name} takes no --{odd[0].replace('_', '-')}; it takes: {', '.join(taken)}.")
    return script(name, **given)
