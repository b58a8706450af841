"""The models that are in the package, and where they are."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parent / "models"
CONFIGS = ("config.json", "model_index.json")
"""What tells a model's folder, or a pipeline's."""


def available() -> list[str]:
    """The names of the packaged models."""
    return sorted(config.parent.name for name in CONFIGS for config in MODELS.glob(f"*/{name}"))


def path(name: str) -> Path:
    """The folder of a packaged model, ready for `from_pretrained`.

    Raises ValueError, listing the names there are, when no packaged model has this name.
    """
    if name not in available():
        have = ", ".join(available()) or "none yet: make one with `gamut zoo build vlm-tiny`"
        raise ValueError(f"The package holds no model {name!r} (it holds: {have}).")
    return MODELS / name
