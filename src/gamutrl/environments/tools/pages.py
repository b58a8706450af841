"""Retrieval of pages: an index of embeddings, and the search tool over it.

An index is exact inner product, in FAISS where it is installed and in numpy where it is not; `graph=True` is hnswlib's
approximate graph, for collections of millions. Any embedder will do that gives rows of numbers: `Words` (hashed words,
no weights), `FromModel` (any image-text model of transformers), `Matched` (a regression fitted to a few hundred pages).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.media import decode_image
from gamutrl.environments.desk import Desk, Refusal, Shown, sayable
from gamutrl.environments.tools.crop import View

Vectors = NDArray[np.float32]
MOST_QUERY = 1000
"""Characters of a query that are read."""


class Page(Protocol):
    """A page of a collection: its name, its words, its picture."""

    @property
    def name(self) -> str: ...
    @property
    def words(self) -> str: ...
    def draw(self) -> Image.Image: ...


@dataclass(frozen=True)
class PageFile:
    """A page that is a picture in a file; its name is the file's, less the ending."""

    path: Path
    words: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    def draw(self) -> Image.Image:
        return decode_image(self.path.read_bytes())


@dataclass(frozen=True)
class PageFiles:
    """The pictures of a folder as one collection, the same for every row. Raises ValueError where there are none."""

    folder: str
    endings: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp")

    @cached_property
    def _pages(self) -> tuple[PageFile, ...]:
        found = sorted(path for path in Path(self.folder).glob("*") if path.suffix.lower() in self.endings)
        if not found:
            raise ValueError(
                f"{self.folder} holds no pictures of pages ({', '.join(self.endings)}): put them there, or name their "
                "folder (of a recipe's preset --rl.environment.tools.search.pages.folder, and --evaluation.… alike)."
            )
        return tuple(map(PageFile, found))

    def __call__(self, prompt: Prompt) -> Sequence[Page]:
        return self._pages


class Embedder(Protocol):
    """Texts and pages as rows of one space."""

    def texts(self, texts: Sequence[str]) -> Vectors: ...
    def pages(self, pages: Sequence[Page]) -> Vectors: ...


@dataclass(frozen=True)
class Words:
    """Hashed words and pairs of neighbouring words: a text and a page are near that share rare ones.

    size: of the vectors. pairs: what a pair weighs against a word.
    """

    size: int = 2048
    pairs: float = 1.0

    def texts(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.size), np.float32)
        for row, text in zip(vectors, texts):
            words = re.findall(r"\w{1,40}", text[:20_000].lower())
            for word in words:
                row[zlib.crc32(word.encode("utf-8", "surrogatepass")) % self.size] += 1.0
            for one, two in pairwise(words):
                row[zlib.crc32(f"{one} {two}".encode("utf-8", "surrogatepass")) % self.size] += self.pairs
        return unit(vectors)

    def pages(self, pages: Sequence[Page]) -> Vectors:
        return self.texts([page.words for page in pages])


@dataclass(frozen=True)
class Matched:
    """Pages by their pictures alone, in the space of `Words`: a kernel ridge regression from small pixels to words.

    Fitted to pages whose words are known; it then reads pages that it has not seen, about as well as they look like
    those. side: pixels a side that a page is shrunk to. ridge: how strongly small weights are preferred.
    """

    examples: Callable[[], Sequence[Page]]
    space: Words = Words(512, 0.0)
    side: int = 24
    ridge: float = 0.01

    @cached_property
    def _fitted(self) -> tuple[Vectors, Vectors, float]:
        """The examples' features, the weight of each, and the kernel's width."""
        pages = self.examples()
        features, words = self._features(pages), self.space.pages(pages)
        apart = _apart(features, features)
        width = float(apart.mean())
        gram = np.exp(-apart / width) + self.ridge * np.eye(len(pages))
        return features, np.linalg.solve(gram, words - words.mean(0)).astype(np.float32), width

    def texts(self, texts: Sequence[str]) -> Vectors:
        return self.space.texts(texts)

    def pages(self, pages: Sequence[Page]) -> Vectors:
        examples, weights, width = self._fitted
        return unit(np.exp(-_apart(self._features(pages), examples) / width) @ weights)

    def _features(self, pages: Sequence[Page]) -> Vectors:
        small = [page.draw().convert("RGB").resize((self.side, self.side), Image.Resampling.BOX) for page in pages]
        return np.stack([np.asarray(picture, np.float32).ravel() / 255 for picture in small])


@dataclass(frozen=True)
class FromModel:
    """Any model of transformers with one space for texts and images (CLIP, SigLIP, …), loaded when first used.

    model: a packaged one's name, a folder, or a hub id. It runs on a GPU if there is one. Raises ValueError where it
    cannot be loaded.
    """

    model: str
    batch: int = 16

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from gamutrl import zoo
        from gamutrl.rewards.models.loading import with_processor

        place = str(zoo.path(self.model)) if self.model in zoo.available() else self.model
        return with_processor("The model that embeds pages", "AutoModel", place)

    def texts(self, texts: Sequence[str]) -> Vectors:
        return self._embedded("text", texts)

    def pages(self, pages: Sequence[Page]) -> Vectors:
        return self._embedded("images", [page.draw() for page in pages])

    def _embedded(self, kind: str, items: Sequence[Any]) -> Vectors:
        import torch

        model, processor = self._loaded
        embed = model.get_text_features if kind == "text" else model.get_image_features
        rows = []
        for start in range(0, len(items), self.batch):
            some: Any = {kind: list(items[start : start + self.batch])}
            if kind == "text":
                # SigLIP and its like were trained on texts that are all filled to their longest.
                filled = "max_length" if "siglip" in model.config.model_type else True
                longest = model.config.text_config.max_position_embeddings
                some |= {"padding": filled, "truncation": True, "max_length": longest}
            with torch.no_grad():
                given = {name: value.to(model.device) for name, value in processor(return_tensors="pt", **some).items()}
                out = embed(**given)
            # Newer versions give an output with the pooled vectors, older ones the vectors.
            rows.append(getattr(out, "pooler_output", out).float().cpu().numpy())
        return unit(np.concatenate(rows))


class Index:
    """Vectors to search by inner product. Raises ValueError for vectors that are none."""

    def __init__(self, vectors: Vectors, graph: bool = False) -> None:
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(f"An index needs rows of numbers, not an array of the shape {vectors.shape}.")
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.engine, self._search = self._graph() if graph else self._exact()

    def search(self, query: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """The numbers of the `k` nearest rows and their inner products, the nearest first; equal ones in order."""
        return self._search(np.ascontiguousarray(query[None], np.float32), min(k, len(self.vectors)))

    def _exact(self) -> tuple[str, Callable[..., Any]]:
        try:
            import faiss
        except ImportError:
            return "numpy", self._scan
        index = faiss.IndexFlatIP(self.vectors.shape[1])
        index.add(self.vectors)

        def search(query: Vectors, k: int) -> Any:
            scores, rows = index.search(query, k)
            order = np.lexsort((rows[0], -scores[0]))
            return rows[0][order], scores[0][order]

        return "faiss", search

    def _graph(self) -> tuple[str, Callable[..., Any]]:
        try:
            import hnswlib
        except ImportError:
            raise ImportError("A graph index needs hnswlib: pip install hnswlib, or leave out `graph`.") from None
        index = hnswlib.Index("ip", self.vectors.shape[1])
        index.init_index(len(self.vectors), random_seed=0)
        index.add_items(self.vectors, num_threads=1)

        def search(query: Vectors, k: int) -> Any:
            index.set_ef(max(50, 2 * k))
            rows, distances = index.knn_query(query, k, num_threads=1)
            return rows[0].astype(np.int64), 1 - distances[0]

        return "hnswlib", search

    def _scan(self, query: Vectors, k: int) -> Any:
        scores = self.vectors @ query[0]
        rows = np.argsort(-scores, kind="stable")[:k]
        return rows, scores[rows]


@dataclass(frozen=True)
class Search:
    """Brings the page that is nearest to a query, of those that this rollout has not seen (VRAG-RL 2505.22019).

    pages: the collection that a row's question is about. view: the size in which a page is shown; a crop of it comes
    from its full resolution. The names of pages brought are in the turn's `info["shown"]`, with the rank of each.
    """

    pages: Callable[[Prompt], Sequence[Page]]
    embedder: Embedder = Words()
    view: View = View()
    argument: str = "query"
    graph: bool = False
    _kept: dict[int, tuple[Sequence[Page], Index]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        query = arguments.get(self.argument)
        if not isinstance(query, str) or not query.strip():
            raise Refusal(f"{self.argument} must say what to search for")
        query = sayable(query[:MOST_QUERY])
        pages = self.pages(desk.prompt)
        seen: set[str] = desk.notes.setdefault("search", set())
        rows, _ = self._index(pages).search(self.embedder.texts([query])[0], len(seen) + 1)
        found = next((pages[row] for row in rows.tolist() if pages[row].name not in seen), None)
        if found is None:
            raise Refusal("every page has been shown already")
        seen.add(found.name)
        picture = _drawn(found)
        info = {"page": found.name, "query": query}
        return Shown(pictures=(self.view(picture),), full=(picture,), info=info)

    def ready(self, prompt: Prompt) -> None:
        """Raises ValueError where the row's collection is not there."""
        self.pages(prompt)

    def _index(self, pages: Sequence[Page]) -> Index:
        """The index of a collection, made once; the last few are kept."""
        kept = self._kept.get(id(pages))
        if kept is None or kept[0] is not pages:
            kept = self._kept[id(pages)] = (pages, Index(self.embedder.pages(pages), self.graph))
            while len(self._kept) > 4:
                self._kept.pop(next(iter(self._kept)))
        return kept[1]


@lru_cache(maxsize=256)
def _drawn(page: Page) -> Image.Image:
    return page.draw()


def _apart(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The squared distance of each row to each."""
    squares = (one.astype(np.float64) ** 2).sum(1)[:, None] + (other.astype(np.float64) ** 2).sum(1)
    return np.maximum(squares - 2 * one.astype(np.float64) @ other.T, 0.0)


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1 (a row of zeros stays)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
