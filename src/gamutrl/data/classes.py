"""Classes to draw, as prompts: for models that know no words, and judges that do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gamutrl.core import Prompt
from gamutrl.data.orders import Shuffled
from gamutrl.data.problems import DataError


@dataclass(frozen=True)
class Classes:
    """A JSON file of names by number (`{"0": "tench, Tinca tinca", …}`); a prompt a class, its number in `label`.

    path: a file, or one of a data set of the hub (`owner/name/file.json`). template: the text, with `{name}`, of which
    only what stands before the first comma is used.
    """

    path: str
    template: str = "{name}"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Prompt:
        name = self.names[row].split(",")[0].strip()
        return Prompt.ask(self.template.replace("{name}", name), id=f"{self.path}:{row}", label=row, name=name)

    def column(self, name: str) -> list[Any]:
        return [self[row].columns.get(name) for row in range(len(self))]

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        return Shuffled(self).batch(index, size, seed)

    @cached_property
    def names(self) -> list[str]:
        """Raises DataError for a file that does not number names from 0 on."""
        try:
            found = json.loads(self._file().read_text("utf-8"))
            return [str(found[str(number)]) for number in range(len(found))]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f'{self.path} must be JSON that names classes from 0 on ({{"0": "tench", …}}): {error}.'
            ) from error

    def _file(self) -> Path:
        if Path(self.path).is_file() or self.path.count("/") < 2:
            return Path(self.path)
        from huggingface_hub import hf_hub_download

        owner, name, file = self.path.split("/", 2)
        return Path(hf_hub_download(f"{owner}/{name}", file, repo_type="dataset"))
