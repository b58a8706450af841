"""What a recipe is: a paper's change, as presets that differ from plain GRPO in the fields that the paper changed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gamutrl.training.preset import Preset

Kind = Literal["understanding", "generation", "unified", "reward"]
Family = Literal["image_tokens", "next_scale", "flow", "masked", "unified"]
Variant = Literal["default", "released", "paper", "ablation", "pictures", "ppo"] | Family


@dataclass(frozen=True)
class Claim:
    """What the recipe should beat: by what measure, against which baseline, at what equal cost."""

    metric: str
    baseline: str
    budget: Literal["rollouts", "denoiser_calls", "pairs", "updates"] = "rollouts"


@dataclass(frozen=True)
class Recipe:
    """One published system.

    title, arxiv: of the paper. kind: of model. policy: its family. modalities: in and out. source: "code" (checked
    against released code), "paper" (from the text) or "reconstruction" (formulas had to be chosen). change: what the
    paper changes, in a sentence. formulas: the reward, advantage and loss, in plain notation. tiny, paper: presets.
    variants: presets that follow the released code's defects ("released") or the paper's text ("paper") where they
    differ, the system less the part that its claim is about ("ablation"), where `tiny` trains on blobs, the system on a
    small model that draws for prompts ("pictures"), or the plain method on another family of policy, or with a critic
    ("ppo"). assumptions: choices that are ours, by field, with the reason.
    """

    title: str
    arxiv: str
    kind: Kind
    change: str
    tiny: Preset
    paper: Preset
    claim: Claim
    source: Literal["code", "paper", "reconstruction"] = "code"
    policy: str = "text"
    modalities: tuple[str, ...] = ("image", "text")
    formulas: tuple[str, ...] = ()
    variants: Mapping[str, Preset] = field(default_factory=dict)
    assumptions: Mapping[str, str] = field(default_factory=dict)

    def preset(self, name: str = "tiny", variant: Variant = "default") -> Preset:
        """A preset by name; `variant` chooses among the forms of its rewards and losses."""
        presets = {"tiny": self.tiny, "paper": self.paper}
        if name not in presets:
            raise KeyError(f"There is no preset {name!r}: choose tiny or paper.")
        if variant == "default":
            return presets[name]
        key = f"{name}/{variant}"
        if key not in self.variants:
            have = ", ".join(sorted(self.variants)) or "none"
            raise KeyError(f"No variant {variant!r} of {name!r} differs from the default here (there are: {have}).")
        return self.variants[key]


def slugs() -> list[str]:
    """Every recipe there is: the modules of `gamutrl.recipes` that hold a `RECIPE`, by their command-line names."""
    import gamutrl.recipes as room

    shared = ("recipe", "plain", "flow_plain", "denoising_plain", "tokens_plain", "families_plain")
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(room.__path__) if m.name not in shared)


def load(slug: str) -> Recipe:
    """A recipe by its command-line name. Raises KeyError with the nearest."""
    known = slugs()
    if slug not in known:
        raise KeyError(unknown(slug, known))
    return importlib.import_module(f"gamutrl.recipes.{slug.replace('-', '_')}").RECIPE


def unknown(slug: str, known: Collection[str]) -> str:
    """What to say of a name that is no system's: a near miss, or how a variant is asked for."""
    import difflib

    system, _, variant = slug.partition("/")
    close = difflib.get_close_matches(slug, known, n=1)
    if variant and system in known:
        hint = f" A variant is asked for apart: {system} --variant {variant}."
    else:
        hint = f" Did you mean {close[0]}?" if close else ""
    return f"There is no system called {slug!r}.{hint} `gamut list` shows all."
