"""A preset: everything that one run needs, as a value."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

from gamutrl.core import Source
from gamutrl.data.sources import asked_alike
from gamutrl.training.collect import Product
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.session import Stage


class ModelSpec(Protocol):
    """Names a policy and how to load it. `name` is a zoo model, a folder or a hub id."""

    @property
    def name(self) -> str: ...

    def load(self) -> Any: ...


@dataclass(frozen=True)
class Preset:
    """A model, the stages it goes through, and what is measured before and after.

    model: the policy that is trained. stages: in order. evaluation: on held-out rows. models: further named models
    (judges, readers). responders: judges and the like by name (rules in `tiny`, models or endpoints in `paper`).
    save_every: steps between checkpoints. stand_in: said where no library has the published architecture.
    """

    model: ModelSpec
    stages: tuple[Stage, ...]
    evaluation: Evaluation
    models: tuple[tuple[str, ModelSpec], ...] = ()
    responders: tuple[tuple[str, Any], ...] = ()
    save_every: int = 20
    stand_in: str = ""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"Two stages are called {', '.join(sorted(doubled))}: give each its own name.")

    def with_model(self, name: str) -> Preset:
        return replace(self, model=replace_field(self.model, "name", name))

    def with_data(self, train: Source, held_out: Source) -> Preset:
        """The same preset on other rows, asked in its own words: every stage's data, but for what a stage before it
        makes, and the evaluation's (whose constants are then found anew)."""
        stages = tuple(
            stage if isinstance(data, Product | None) else replace_field(stage, "data", asked_alike(train, data))
            for stage, data in ((stage, getattr(stage, "data", None)) for stage in self.stages)
        )
        data = asked_alike(held_out, self.evaluation.data)
        return replace(self, stages=stages, evaluation=replace(self.evaluation, data=data, constants=None))

    def with_steps(self, steps: int) -> Preset:
        """The last stage's length (the one that the recipe is about)."""
        *first, last = self.stages
        return replace(self, stages=(*first, replace_field(last, "steps", steps)))


def replace_field(value: Any, name: str, new: Any) -> Any:
    """A copy of a frozen dataclass with one field changed, if it has that field."""
    if is_dataclass(value) and any(field.name == name for field in fields(value)):
        return replace(value, **{name: new})  # type: ignore[type-var]
    return value
