"""Stages, evaluation, checkpoints: how a recipe becomes a run."""
