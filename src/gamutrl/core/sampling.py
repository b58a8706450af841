"""How a policy samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of text-like actions.

    `temperature` 0 means greedy. `top_p`, `top_k` truncate what may be drawn; what is recorded and scored stays
    log-softmax(logits / temperature) over the vocabulary less the banned placeholders, never renormalised after
    truncation. `stop` strings end a turn (they stay in its text). `prefill` is assistant text the turn starts from: it
    is part of the prompt's tokens, never of the actions. `guidance` is the classifier-free weight used to sample;
    `guidance_train` the one whose log-probability is trained (None: the same).
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    prefill: str = ""
    guidance: float = 1.0
    guidance_train: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"sampling.max_tokens must be at least 1, not {self.max_tokens}.")
        if self.temperature < 0:
            raise ValueError(f"sampling.temperature must not be negative (0 is greedy), not {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampling.top_p must be in (0, 1], not {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"sampling.top_k must not be negative (0 keeps all), not {self.top_k}.")

    @property
    def score_temperature(self) -> float:
        """The temperature that log-probabilities are recorded and scored at (greedy records at 1)."""
        return self.temperature or 1.0

    @property
    def exact(self) -> bool:
        """Whether what sampling records is what the update scores, so that it may serve as the old log-probability."""
        return self.guidance_train is None or self.guidance_train == self.guidance
