"""X-Omni's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import released_generation
from gamutrl.rewards import ocr as reading


def clean_ocr(text: str) -> str:
    return released_generation.x_omni_clean(text)


def normalize_ocr_text(text: str, mode: str) -> str:
    return reading.plain_text(text, blanks=mode == "en")


def ocr_match_accuracy(targets: list[str], ocr: str, mode: str) -> dict[str, Any]:
    found, missed = reading.words_read(ocr, " ".join(targets), blanks=mode == "en")
    total = found.total() + missed.total()
    return {
        "matched": found.total(),
        "total": total,
        "accuracy": found.total() / total,
        "unmatched": list(missed.elements()),
    }
