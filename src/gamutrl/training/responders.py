"""Who answers a reward's questions: one of the run's own models, or a model behind an HTTP endpoint."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gamutrl.core import Message, Part, Prompt, ResponderError, Sampling
from gamutrl.environments import SingleTurn
from gamutrl.policies.base import Policy


@dataclass(frozen=True)
class FromModel:
    """Answers with one of the run's models as it stands now ("policy" is the one in training).

    What it says depends on the model and the question alone: samples are drawn by a seed of the question's own.
    """

    model: str = "policy"
    sampling: Sampling = Sampling(temperature=0.0)

    def bind(self, models: Mapping[str, Any]) -> Callable[[Sequence[Sequence[Message]]], list[str]]:
        """The responder itself; `Context.respond` calls this with the run's models."""
        if self.model not in models:
            raise KeyError(f"No model is called {self.model!r} (the run has: {', '.join(models)}).")
        return partial(_answer, models[self.model], self.sampling)


def _answer(policy: Policy, sampling: Sampling, conversations: Sequence[Sequence[Message]]) -> list[str]:
    prompts = [Prompt(tuple(messages)) for messages in conversations]
    with torch.no_grad():
        batch = policy.rollout(prompts, 1, SingleTurn(), sampling, seed=0)
    said = {id(rollout.prompt): rollout.text for rollout in batch.rollouts}
    return [said.get(id(prompt), "") for prompt in prompts]


@dataclass(frozen=True)
class Endpoint:
    """Answers with a model that is served elsewhere, by the chat completions protocol (vLLM, SGLang and others).

    url: up to and with `/v1`. model: its name there. key_variable: the environment variable that holds the key, if one
    is needed. parallel: questions under way at once. Each is tried `tries` times, waiting longer each time; one that
    fails for good, or that the endpoint refuses, is a `ResponderError`. cache: a folder in which replies are kept, so
    that the same question is asked once ("": they are not).
    """

    url: str = "http://localhost:8000/v1"
    model: str = "default"
    key_variable: str = ""
    max_tokens: int = 256
    temperature: float = 0.0
    timeout: float = 60.0
    tries: int = 3
    parallel: int = 16
    cache: str = ""

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        with ThreadPoolExecutor(max_workers=self.parallel) as pool:
            return list(pool.map(self._ask, conversations))

    def _ask(self, messages: Sequence[Message]) -> str:
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "messages": [
                {"role": message.role, "content": [_content(part) for part in message.parts]} for message in messages
            ],
        }
        url = f"{self.url.rstrip('/')}/chat/completions"
        data = json.dumps(body, sort_keys=True).encode()
        kept = Path(self.cache, f"{hashlib.sha256(url.encode() + data).hexdigest()}.json") if self.cache else None
        if kept and kept.is_file():
            return str(json.loads(kept.read_text("utf-8")))
        reply = self._sent(urllib.request.Request(url, data, self._headers()))
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_suffix(f".{threading.get_ident()}.part")
            draft.write_text(json.dumps(reply), "utf-8")
            draft.replace(kept)
        return reply

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key_variable:
            if not (key := os.environ.get(self.key_variable)):
                raise ResponderError(f"Set the environment variable {self.key_variable} to the key of {self.url}.")
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def _sent(self, request: urllib.request.Request) -> str:
        failure = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(2**attempt / 2)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    return str(json.load(reply)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                said = error.read(500).decode("utf-8", "replace").strip()
                failure = f"HTTP {error.code} {error.reason}: {said}"
                if error.code in REFUSED:
                    raise ResponderError(f"{request.full_url} refuses the question ({failure}).") from None
            except (urllib.error.URLError, OSError, ValueError, LookupError, TypeError) as error:
                failure = f"{type(error).__name__}: {error}"
        raise ResponderError(f"{request.full_url} did not answer in {self.tries} tries ({failure}).")


REFUSED = (400, 401, 403, 404, 413, 422)
"""What an endpoint answers to a question that it will not take, however often it is asked."""


def _content(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.value}
    if part.kind != "image":
        raise ResponderError(f"An endpoint is asked with text and images, not with a part of kind {part.kind!r}.")
    out = io.BytesIO()
    part.value.convert("RGB").save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
