"""Run directories on a command line: which folders are one, and what their configuration may import."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError

if TYPE_CHECKING:
    from gamutrl.training.preset import Preset


def add_allow_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package beside gamutrl that the run's configuration may import from",
    )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory; a model's folder has a config.json, too."""
    try:
        return "preset" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def preset_of_run(folder: Path, allowed: Sequence[str], *, before: bool = False) -> tuple[Preset, dict[str, Any]]:
    """A run's preset with its trained model (`before`: the one that it started from), and its configuration."""
    from gamutrl.training.run import read_config

    preset, config = read_config(folder, allowed)
    if before:
        return preset, config
    if not (folder / "model").is_dir():
        raise UsageError(f"{folder} has no trained model yet; finish it with `gamut resume {folder}`.")
    return preset.with_model(str(folder / "model")), config
