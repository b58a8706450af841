"""Gamut: the executable survey of reinforcement learning for generative multimodal models."""

__version__ = "0.1.0"
