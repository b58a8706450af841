"""References: named copies of the weights that train, each with its own rule of update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

BASE = "base"


class References:
    """Copies of a module's trainable weights. Frozen weights are shared, and an adapter's "base" is the adapter off."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.copies: dict[str, dict[str, Tensor]] = {}

    @contextmanager
    def use(self, name: str) -> Iterator[None]:
        """Inside, the module has the copy's weights and makes no gradient."""
        with torch.no_grad():
            if name not in self.copies and name == BASE and self._adapted:
                with self.module.disable_adapter():  # type: ignore[operator]
                    yield
                return
            copy = self._copy(name)
            own = {parameter: (parameter.data, copy[key]) for key, parameter in self._trained()}
            try:
                for parameter, (_, other) in own.items():
                    parameter.data = other
                yield
            finally:
                for parameter, (weights, _) in own.items():
                    parameter.data = weights

    def keep(self, name: str) -> None:
        """Copy the weights of now; an adapter that adds nothing yet needs no copy to be switched off."""
        if name == BASE and self._adapted and not any(p.any() for key, p in self._trained() if "lora_B" in key):
            self.copies.pop(name, None)
            return
        self.copies[name] = {key: parameter.detach().clone() for key, parameter in self._trained()}

    @torch.no_grad()
    def update(self, name: str, decay: float) -> None:
        """copy ← decay · copy + (1 − decay) · weights of now."""
        copy = self._copy(name)
        for key, parameter in self._trained():
            copy[key].lerp_(parameter.detach(), 1 - decay) if decay else copy[key].copy_(parameter.detach())

    def state_dict(self) -> dict[str, Tensor]:
        state = {f"weights/{key}": parameter.detach() for key, parameter in self._trained()}
        for name, copy in self.copies.items():
            state |= {f"reference/{name}/{key}": tensor for key, tensor in copy.items()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises KeyError if the state is of a module with other trainable weights."""
        own = dict(self._trained())
        given = {key.removeprefix("weights/") for key in state if key.startswith("weights/")}
        if given != set(own):
            odd = sorted(given ^ set(own))[:3]
            raise KeyError(f"The state does not belong to this policy: only one of them has {', '.join(odd)}, ….")
        for key, parameter in own.items():
            parameter.copy_(state[f"weights/{key}"])
        self.copies = {}
        for key, tensor in state.items():
            if key.startswith("reference/"):
                _, name, weight = key.split("/", 2)
                self.copies.setdefault(name, {})[weight] = tensor.detach().clone().to(own[weight].device)

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((key, parameter) for key, parameter in self.module.named_parameters() if parameter.requires_grad)

    @property
    def _adapted(self) -> bool:
        """Whether what trains is a low-rank adapter and nothing else, so that there is a base to switch back to."""
        low_rank = all("lora_A" in key or "lora_B" in key for key, _ in self._trained())
        return low_rank and hasattr(self.module, "disable_adapter")

    def _copy(self, name: str) -> dict[str, Tensor]:
        if name == BASE and name not in self.copies and self._adapted:
            # The adapter off, as weights: its second matrix is zero.
            self.copies[name] = {
                key: p.detach().clone() if "lora_A" in key else torch.zeros_like(p) for key, p in self._trained()
            }
        if name not in self.copies:
            have = ", ".join(self.copies) or "none"
            raise KeyError(f"There is no reference {name!r} (there are: {have}); call keep_reference({name!r}) first.")
        return self.copies[name]


class Referenced:
    """What every policy promises of its weights (`policies.base`): those that train, and its named copies."""

    module: nn.Module
    references: References

    def parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.module.parameters() if parameter.requires_grad)

    def reference(self, name: str) -> AbstractContextManager[None]:
        """Inside, the policy acts and scores as its named copy, without gradient."""
        return self.references.use(name)

    def keep_reference(self, name: str) -> None:
        self.references.keep(name)

    def update_reference(self, name: str, decay: float = 0.0) -> None:
        self.references.update(name, decay)

    def state_dict(self) -> dict[str, Tensor]:
        """What trains, and the named copies: one flat dictionary of tensors."""
        return self.references.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.references.load_state_dict(state)
