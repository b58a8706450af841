"""How well a picture and a text agree, from their embeddings or from a model's yes and no."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import normalize


def cosine(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    """The cosine of each row with its counterpart, `[N]`; 0 for a row of zeros. CLIP's score, unscaled."""
    return (normalize(a_ND, dim=-1) * normalize(b_ND, dim=-1)).sum(-1)


def token_matching(image_LD: Tensor, text_MD: Tensor) -> Tensor:
    """The mean of how well each picture token matches its best word, and each word its best token (CoRL)."""
    cosine_LM = normalize(image_LD, dim=-1) @ normalize(text_MD, dim=-1).T
    return (cosine_LM.amax(1).mean() + cosine_LM.amax(0).mean()) / 2


def yes_probability(logits_NV: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """The probability of the tokens for yes among those for yes and no, `[N]`."""
    yes_N, no_N = (logits_NV[:, list(tokens)].logsumexp(1) for tokens in (yes, no))
    return (yes_N - no_N).sigmoid()


def relative_preference(image_ND: Tensor, liked_ND: Tensor, disliked_ND: Tensor, discount: float) -> Tensor:
    """(1 + discount) times the cosine with the liked text, less that with the disliked one, `[N]` (2509.06942)."""
    return (1 + discount) * cosine(image_ND, liked_ND) - cosine(image_ND, disliked_ND)
