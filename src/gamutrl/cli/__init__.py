"""The `gamut` command: a module a family of verbs."""

from gamutrl.cli.command import main

__all__ = ["main"]
