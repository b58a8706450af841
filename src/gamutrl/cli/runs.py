"""Run directories on a command line: which folders are one, and what their configuration may import."""

from __future__ import annotations

import argparse
import json
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
    parser.add_argument(
        "--reward",
        action="append",
        default=[],
        metavar="FILE.py:FUNCTION",
        help="where a reward of your own is, if the run has one",
    )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory; a model's folder has a config.json, too."""
    try:
        return "preset" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_run(folder: Path, args: argparse.Namespace) -> tuple[Preset, dict[str, Any], list[str]]:
    """What a run directory was made with, its configuration, and the packages that `--allow` and `--reward` let in.

    A configuration from elsewhere must not run code by itself: whoever trusts a reward in it says where that is.
    """
    from gamutrl.rewards.users import load
    from gamutrl.training.config import ConfigError
    from gamutrl.training.run import read_config

    allowed = [*args.allow, *(load(where).__module__.split(".")[0] for where in args.reward)]
    try:
        preset, config = read_config(folder, allowed)
    except ConfigError as error:
        named = _own_rewards(folder)
        if not named or args.reward:
            raise
        options = " ".join(f"--reward {where}" for where in named)
        raise UsageError(
            f"This run has rewards of your own. If you trust them: gamut {args.verb} {folder} {options}"
        ) from error
    return preset, config, allowed


def _own_rewards(folder: Path) -> list[str]:
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))["about"].get("rewards") or []
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def preset_of_run(folder: Path, args: argparse.Namespace, *, before: bool = False) -> tuple[Preset, dict[str, Any]]:
    """A run's preset with its trained model (`before`: the one that it started from), and its configuration."""
    preset, config, _ = read_run(folder, args)
    if before:
        return preset, config
    if not (folder / "model").is_dir():
        raise UsageError(f"{folder} has no trained model yet; finish it with `gamut resume {folder}`.")
    return preset.with_model(str(folder / "model")), config
