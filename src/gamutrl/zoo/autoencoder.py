"""What the training of tokenizers has in common: convolutions' optimizer, a table of codes without a gradient.

Each entry of the table follows the mean of what is nearest to it (van den Oord et al. 2017, 1711.00937, appendix A). It
is begun by clustering what an encoder gives before there is a table, and an entry that nothing is near to is put where
something is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.zoo.muon import Muon
from gamutrl.zoo.phases import Phase

FOLLOWS, FORGETS = 0.03, 0.02
"""How far an entry moves to its members' mean in a step; how fast the count of its members forgets."""
UNUSED = 0.02
"""An entry with fewer members a step than this is put elsewhere."""


def convolutions(name: str, modules: nn.Module) -> Phase:
    """A phase in which Muon moves the kernels, AdamW what else has a gradient."""
    trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    kernels = [parameter for parameter in trained if parameter.dim() == 4]
    others = [parameter for parameter in trained if parameter.dim() != 4]
    return Phase(name, modules, [Muon(kernels), torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)])


class Codebook:
    """The table `[V, D]`, changed in place. unit: entries, and all rows that are looked up, have length 1."""

    def __init__(self, weight_VD: Tensor, *, unit: bool = False) -> None:
        self.weight, self.unit = weight_VD.requires_grad_(False), unit
        self.count = torch.ones(len(weight_VD))

    @property
    def used(self) -> float:
        """The share of the entries that something is near to."""
        return float((self.count > 0.05).float().mean())

    def nearest(self, row_ND: Tensor) -> Tensor:
        """The number of each row's nearest entry, `[N]`."""
        return nearest(row_ND, self.weight)

    @torch.no_grad()
    def begin(self, row_ND: Tensor) -> None:
        """Put the entries in the middle of clusters of rows."""
        self.weight.copy_(clusters(row_ND, len(self.weight), unit=self.unit))

    @torch.no_grad()
    def follow(self, row_ND: Tensor, nearest_N: Tensor, step: int) -> None:
        """Move entries towards the mean of the rows that are nearest to them."""
        mean, found = _means(row_ND, nearest_N, len(self.weight))
        self.count.lerp_(found, FORGETS)
        moved = self._of_length(torch.lerp(self.weight, mean, FOLLOWS))
        self.weight.copy_(torch.where(found[:, None] > 0, moved, self.weight))
        unused = (self.count < UNUSED).nonzero().flatten()
        if len(unused) and step % 20 == 0:
            generator = torch.Generator().manual_seed(step)
            self.weight[unused] = row_ND[torch.randint(len(row_ND), (len(unused),), generator=generator)]
            self.count[unused] = 1.0

    def _of_length(self, row_ND: Tensor) -> Tensor:
        return F.normalize(row_ND, dim=-1) if self.unit else row_ND


def nearest(row_ND: Tensor, center_VD: Tensor) -> Tensor:
    """The number of the center that is nearest to each row, `[N]`."""
    return (center_VD.square().sum(1) - 2 * row_ND @ center_VD.T).argmin(-1)


def clusters(row_ND: Tensor, count: int, *, unit: bool = False, rounds: int = 12) -> Tensor:
    """The centers of so many clusters of rows, `[count, D]`; of length 1, if `unit`."""
    generator = torch.Generator().manual_seed(0)
    center = row_ND[torch.randperm(len(row_ND), generator=generator)[:count]].clone()
    for _ in range(rounds):
        mean, found = _means(row_ND, nearest(row_ND, center), count)
        spare = row_ND[torch.randint(len(row_ND), (count,), generator=generator)]
        center = torch.where(found[:, None] > 0, mean, spare)
        center = F.normalize(center, dim=-1) if unit else center
    return center


def _means(row_ND: Tensor, nearest_N: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean of each entry's rows, `[V, D]`, and how many there are, `[V]`."""
    total = torch.zeros(count, row_ND.shape[1]).index_add(0, nearest_N, row_ND)
    found = torch.bincount(nearest_N, minlength=count).float()
    return total / found.clamp(min=1)[:, None], found
