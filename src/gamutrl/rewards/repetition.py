"""Rewards against saying the same thing again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from gamutrl.rewards.parsing import detections, json_in


def repeated_share(items: Sequence[Hashable]) -> float:
    """The share of items that were there before, in [0, 1); 0 for none."""
    return 1 - len(set(items)) / len(items) if items else 0.0


def runs(items: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """Every run of n neighbouring items."""
    return list(zip(*(items[i:] for i in range(n))))


def repeated_words(text: str, *, n: int = 6) -> float:
    """Minus the share of a text's runs of n words that repeat an earlier one, in (-1, 0]; case aside."""
    return -repeated_share(runs(text.lower().split(), n))


def repeated_at_once(items: Sequence[Hashable], *, n: int = 8, whole: bool = True) -> float:
    """The share of places where n items are followed by the same n items; 0 where there are fewer than 2n.

    whole: only places that have 2n items after them count; otherwise all but the last n (GRIT's words).
    """
    places = len(items) - 2 * n + 1 if whole else len(items) - n
    same = sum(items[i : i + n] == items[i + n : i + 2 * n] for i in range(places))
    return same / places if places > 0 else 0.0


def repeated_boxes(text: str, *, n: int = 6) -> float:
    """Minus the share of a text's boxes (with their labels) that were written before; of words if it has no boxes.

    Source: VLM-R1 (2504.07615), optional.
    """
    found = [(d.box, d.label) for d in detections(json_in(text))]
    return -repeated_share(found) if found else repeated_words(text, n=n)


def repeated_sentences(text: str, *, at_least: int = 2, separator: str = ".") -> float:
    """1 unless at least so many sentences repeat an earlier one, then 0 (VisionReasoner, 2505.12081)."""
    counts = Counter(sentence for part in text.split(separator) if (sentence := part.strip()))
    return float(counts.total() - len(counts) < at_least)


def unrepeated(text: str, tokens: Sequence[int]) -> float:
    """0.5, less half the shares of words and of tokens whose next eight say the same again (GRIT, 2505.15879)."""
    words = text.split()
    if len(words) < 8 or len(tokens) < 16:
        return 0.5
    return 0.5 * (1 - repeated_at_once(words, whole=False) - repeated_at_once(tokens))
