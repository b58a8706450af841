"""`pages-tiny`: how it is built, and what the packaged one finds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gamutrl import zoo
from gamutrl.data.worlds import library
from gamutrl.environments.desk import Desk
from gamutrl.environments.tools import pages as tools
from gamutrl.zoo import pages


def test_a_build_writes_what_from_pretrained_reads_and_is_a_function_of_its_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "Plan", lambda **given: plan(**{"collections": 1, "pages": 140, **given}))
    one, other = (pages.build(steps=2, seed=3, out=tmp_path / name) for name in ("one", "other"))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert json.loads((one / "card.json").read_text())["plan"]["steps"] == 2
    vectors = tools.FromModel(str(one)).texts(["red circle and blue square on green", "never heard", ""])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


plan = pages.Plan


@pytest.mark.skipif(pages.NAME not in zoo.available(), reason=f"{pages.NAME} is not packaged")
def test_pictures_of_pages_that_it_never_saw_are_found_by_their_titles():
    search = tools.Search(library.collection_of, tools.FromModel(pages.NAME))
    rows = library.rows("test", 24, task="digit", pages=200)
    found = [search(Desk.of(row, 0), {"query": row.columns["query"]["titles"][0]}).info["page"] for row in rows]
    assert np.mean([page in row.columns["golden"] for page, row in zip(found, rows)]) >= 0.75
