"""The image-token policy: one model that writes words and draws pictures by sampling codes one after another."""

from gamutrl.policies.image_tokens.policy import ImageTokenPolicy

__all__ = ["ImageTokenPolicy"]
