"""What tokenizers are trained by: a table of codes that follows what is nearest to it."""

from __future__ import annotations

import torch
from torch import nn

from gamutrl.zoo.autoencoder import Codebook, clusters, convolutions, nearest

CENTERS = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, -3.0]])


def cloud(count: int = 60) -> torch.Tensor:
    """Rows around the centers, in turn."""
    generator = torch.Generator().manual_seed(0)
    return CENTERS.repeat(count // 3, 1) + 0.1 * torch.randn(count, 2, generator=generator)


def test_clusters_are_found_where_rows_are():
    found = clusters(cloud(), 3)
    distance = torch.cdist(CENTERS, found).min(1).values
    assert (distance < 0.2).all()
    assert torch.allclose(clusters(cloud(), 3, unit=True).norm(dim=1), torch.ones(3))


def test_nearest_is_by_distance():
    assert nearest(cloud(6), CENTERS).tolist() == [0, 1, 2, 0, 1, 2]


def test_entries_follow_their_members_and_others_stay():
    book = Codebook(torch.tensor([[2.0, 0.0], [0.0, 50.0]]))
    rows = torch.tensor([[4.0, 0.0], [6.0, 0.0]])
    book.follow(rows, book.nearest(rows), step=1)
    assert book.weight[0, 0] > 2.0
    assert book.weight[0, 1] == 0.0
    assert book.weight[1].tolist() == [0.0, 50.0]
    for step in range(2, 400):
        book.follow(rows, book.nearest(rows), step)
    # The first is at the mean of both, or each has its own; the one that nothing was near to has moved.
    assert (torch.cdist(rows, book.weight).min(1).values <= 1.0).all()
    assert book.used == 1.0


def test_unit_entries_keep_their_length():
    book = Codebook(torch.eye(2), unit=True)
    rows = nn.functional.normalize(torch.tensor([[1.0, 0.5], [0.2, 1.0]]), dim=-1)
    book.follow(rows, book.nearest(rows), step=1)
    assert torch.allclose(book.weight.norm(dim=1), torch.ones(2))


def test_only_what_has_a_gradient_is_optimised():
    modules = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1).requires_grad_(False))
    phase = convolutions("codes", modules)
    owned = [p for optimizer in phase.optimizers for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in owned} == {id(p) for p in modules[0].parameters()}
