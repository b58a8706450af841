"""Keeps what finished runs reached, in `evidence/runs/`: `python -m gamutrl.cli.keep RUN…`, from a checkout's root.

A file says what a recipe's preset of today reaches; so it carries that preset's fingerprint, and runs of other settings
are refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import find_preset, find_recipe
from gamutrl.training.config import ConfigError, to_json
from gamutrl.training.preset import Preset
from gamutrl.training.run import SUMMARY, has_settings

PLACE = Path("evidence") / "runs"


def fingerprint(preset: Preset) -> str:
    """A short name of all that a preset says: two presets have the same one only if they are equal."""
    return hashlib.sha256(json.dumps(to_json(preset), sort_keys=True).encode()).hexdigest()[:16]


def kept(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name of a run's file and what it holds.

    Raises UsageError for a run that is not finished, or whose settings are not those of a recipe's preset today.
    """
    if not (folder / SUMMARY).exists():
        raise UsageError(f"{folder} holds no finished run: there is no {SUMMARY}.")
    summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    about = summary.get("about") or {}
    system, variant = str(about.get("system", "")).partition("/")[0], about.get("variant", "default")
    preset = find_preset(find_recipe(system), about.get("preset", "tiny"), variant)
    if not has_settings(folder, preset):
        raise UsageError(f"{folder} is a run of other settings than {system}'s {variant} {about['preset']} preset has.")
    return f"{system}{'' if variant == 'default' else '.' + variant}.json", {
        **summary,
        "fingerprint": fingerprint(preset),
    }


def main() -> int:
    PLACE.mkdir(parents=True, exist_ok=True)
    status = 0
    for folder in sys.argv[1:]:
        try:
            name, summary = kept(Path(folder))
        except (UsageError, ConfigError) as error:
            print(error, file=sys.stderr)
            status = 2
            continue
        (PLACE / name).write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {summary['before']['value']:.3f} → {summary['after']['value']:.3f}")
    return status


if __name__ == "__main__":
    sys.exit(main())
