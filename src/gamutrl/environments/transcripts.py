"""Conversations written out as one text with chat markers: whose words they are, and what of a turn is kept."""

from __future__ import annotations

from collections.abc import Sequence

from gamutrl.core import Rollout
from gamutrl.rewards.tags import tag_spans, tagged_blocks

USER_TURN = ("\n<|im_start|>user", "<|im_end|>")
ASSISTANT_HEADER = "\n<|im_start|>assistant\n"


def own_characters(text: str) -> list[bool]:
    """For each character whether the policy wrote it: not in a user's turn, nor in the header that follows one."""
    own = [True] * len(text)
    opening, closing = USER_TURN
    for start, end in tag_spans(text, USER_TURN):
        start, end = start - len(opening), end + len(closing)
        end += len(ASSISTANT_HEADER) if text.startswith(ASSISTANT_HEADER, end) else 0
        own[start:end] = [False] * (end - start)
    return own


def kept_blocks(text: str, tags: Sequence[str] = ("think", "search", "bbox", "answer")) -> str:
    """A turn's tagged blocks, one a line, without what stands between them."""
    return "\n".join(f"<{tag}>{inside}</{tag}>" for tag, inside in tagged_blocks(text, tags))


def first_action(text: str, tags: Sequence[str] = ("search", "answer", "bbox")) -> tuple[str | None, str]:
    """The first of a turn's actions and what it says; None and nothing if it takes none."""
    return next(((tag, inside.strip()) for tag, inside in tagged_blocks(text, tags)), (None, ""))


def conversation(rollout: Rollout) -> str:
    """All the words after the prompt: what was said, what was observed, what was put into the policy's mouth."""
    words: list[str] = []
    for turn in rollout.turns:
        words += [turn.prefill, turn.text, *(part.value for part in turn.observation if not part.is_media)]
    return "".join(words)
