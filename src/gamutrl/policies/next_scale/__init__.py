"""Next-scale prediction: pictures drawn scale by scale (VAR)."""

from gamutrl.policies.next_scale.model import NextScale
from gamutrl.policies.next_scale.policy import Drawn, NextScalePolicy
from gamutrl.policies.next_scale.tokenizer import Tokenizer, TokenizerConfig
from gamutrl.policies.next_scale.transformer import Transformer, TransformerConfig

__all__ = [
    "Drawn",
    "NextScale",
    "NextScalePolicy",
    "Tokenizer",
    "TokenizerConfig",
    "Transformer",
    "TransformerConfig",
]
