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
    `guidance_train` and `temperature_train` are those whose log-probability is trained (None: the same).
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    prefill: str = ""
    guidance: float = 1.0
    guidance_train: float | None = None
    temperature_train: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"sampling.max_tokens must be at least 1, not {self.max_tokens}.")
        if self.temperature < 0:
            raise ValueError(f"sampling.temperature must not be negative (0 is greedy), not {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampling.top_p must be in (0, 1], not {self.top_p}.")
        if self.top_k < 0:
            raise ValueError(f"sampling.top_k must not be negative (0 keeps all), not {self.top_k}.")
        if self.temperature_train is not None and self.temperature_train <= 0:
            raise ValueError(f"sampling.temperature_train must be above 0, not {self.temperature_train}.")

    @property
    def score_temperature(self) -> float:
        """The temperature that log-probabilities are recorded and scored at (greedy records at 1)."""
        return self.temperature or 1.0

    @property
    def trained_guidance(self) -> float:
        """The guidance of the distribution that is trained."""
        return self.guidance if self.guidance_train is None else self.guidance_train

    @property
    def trained_temperature(self) -> float:
        """The temperature of the distribution that is trained."""
        return self.score_temperature if self.temperature_train is None else self.temperature_train

    @property
    def needs_unconditional(self) -> bool:
        """Whether the logits of an unasked picture are needed beside those of the asked one."""
        return self.guidance != 1.0 or self.trained_guidance != 1.0

    @property
    def exact(self) -> bool:
        """Whether what is sampled from is what the update scores, so that one may serve as the other."""
        return self.trained_guidance == self.guidance and self.trained_temperature == self.score_temperature
