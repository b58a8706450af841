"""Rows: where they come from, how they are drawn and changed, and the worlds that generate them."""

from gamutrl.data.base import Rows
from gamutrl.data.columns import Columns
from gamutrl.data.media import MediaOptions
from gamutrl.data.orders import Between, Gaussian, Ordered, Pools, Shuffled, Spread
from gamutrl.data.problems import BadRow, DataError, Problem
from gamutrl.data.rows import FileRows, train_and_test
from gamutrl.data.selectors import as_text
from gamutrl.data.sources import Ahead, Changed, InMemory, Mixture, Repeat, Stages, WorldRows, take

__all__ = [
    "Ahead",
    "BadRow",
    "Between",
    "Changed",
    "Columns",
    "DataError",
    "FileRows",
    "Gaussian",
    "InMemory",
    "MediaOptions",
    "Mixture",
    "Ordered",
    "Pools",
    "Problem",
    "Repeat",
    "Rows",
    "Shuffled",
    "Spread",
    "Stages",
    "WorldRows",
    "as_text",
    "take",
    "train_and_test",
]
