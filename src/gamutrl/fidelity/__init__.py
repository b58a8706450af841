"""Held against released code: our functions answer what the papers' own code answered on recorded inputs."""

from gamutrl.fidelity.harness import Bound, bound, check, main

__all__ = ["Bound", "bound", "check", "main"]
