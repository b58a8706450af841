"""Masked discrete diffusion: answers unmasked in a few steps (Show-o, LLaDA, MMaDA)."""

from gamutrl.policies.masked.model import Layout, MaskedConfig, MaskedTransformer
from gamutrl.policies.masked.policy import MaskedPolicy, MaskedSampling, Unmasked

__all__ = ["Layout", "MaskedConfig", "MaskedPolicy", "MaskedSampling", "MaskedTransformer", "Unmasked"]
