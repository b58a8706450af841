"""Responders: a model of the run's own, or one behind an endpoint."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from letters import TablePolicy
from PIL import Image

from gamutrl.core import Context, Message, Prompt, ResponderError, Sampling, image, text, video
from gamutrl.training.responders import Endpoint, FromModel


def asked(words: str, *parts) -> list[Message]:
    return [Message("user", (*parts, text(words)))]


class Parrot(TablePolicy):
    """Says the last word of its question; leaves out questions that are too long."""

    def rollout(self, prompts, group_size, environment, sampling, *, seed):
        kept = [Prompt(p.messages, columns={"kind": 0}) for p in prompts if len(p.text) < 20]
        originals = [p for p in prompts if len(p.text) < 20]
        batch = super().rollout(kept, group_size, environment, sampling, seed=seed)
        for rollout, prompt in zip(batch.rollouts, originals):
            rollout.prompt = prompt
            rollout.turns[0].text = prompt.text.split()[-1]
        return batch


def test_a_model_of_the_run_answers_as_it_stands():
    context = Context(models={"policy": Parrot()}, responders={"reader": FromModel("policy")})
    replies = context.respond("reader", [asked("say one"), asked("say " + "x" * 30), asked("say two")])
    assert replies == ["one", "", "two"]


def test_a_model_that_is_not_there_is_named():
    context = Context(models={"policy": Parrot()}, responders={"judge": FromModel("critic", Sampling())})
    with pytest.raises(KeyError, match="critic"):
        context.respond("judge", [asked("hm")])


@pytest.fixture
def server():
    """An endpoint that echoes the question, fails the first `failures` times, and keeps what it was sent."""
    seen: dict = {"failures": 0, "bodies": [], "keys": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen["bodies"].append(body)
            seen["keys"].append(self.headers.get("Authorization"))
            if seen["failures"]:
                seen["failures"] -= 1
                self.send_error(seen.get("code", 503))
                return
            said = body["messages"][-1]["content"][-1]["text"]
            reply = b"{}" if said == "nonsense" else json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *args):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    seen["url"] = f"http://127.0.0.1:{http.server_port}/v1"
    yield seen
    http.shutdown()
    http.server_close()


def test_an_endpoint_answers_each_conversation_in_order(server, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    replies = Endpoint(server["url"], "judge-7b", key_variable="JUDGE_KEY")([asked("a"), asked("b"), asked("c")])
    assert replies == ["a", "b", "c"]
    assert {body["model"] for body in server["bodies"]} == {"judge-7b"}
    assert set(server["keys"]) == {"Bearer secret"}


def test_a_picture_goes_as_a_data_url(server):
    Endpoint(server["url"])([asked("what?", image(Image.new("L", (2, 2))))])
    first = server["bodies"][0]["messages"][0]["content"][0]
    assert first["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_failure_is_tried_again(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server["failures"] = 2
    assert Endpoint(server["url"], tries=3)([asked("a")]) == ["a"]


@pytest.mark.parametrize("words", ["nonsense", "down"])
def test_what_fails_for_good_is_a_responder_error(server, monkeypatch, words):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server["failures"] = 9 if words == "down" else 0
    with pytest.raises(ResponderError, match="did not answer in 2 tries"):
        Endpoint(server["url"], tries=2)([asked(words)])


def test_a_refusal_is_not_tried_again_and_says_why(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waited to ask again"))
    server["failures"], server["code"] = 1, 401
    with pytest.raises(ResponderError, match=r"refuses the question \(HTTP 401"):
        Endpoint(server["url"])([asked("a")])
    assert len(server["bodies"]) == 1


def test_a_key_that_is_not_set_is_asked_for(server, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ResponderError, match="Set the environment variable JUDGE_KEY"):
        Endpoint(server["url"], key_variable="JUDGE_KEY")([asked("a")])
    assert not server["bodies"]


def test_replies_are_kept_and_asked_for_once(server, tmp_path):
    endpoint = Endpoint(server["url"], cache=str(tmp_path / "kept"))
    assert endpoint([asked("a"), asked("b")]) == endpoint([asked("a"), asked("b")]) == ["a", "b"]
    assert len(server["bodies"]) == 2
    other = Endpoint(server["url"], "another", cache=str(tmp_path / "kept"))
    assert other([asked("a")]) == ["a"]
    assert len(server["bodies"]) == 3


def test_a_clip_cannot_be_sent():
    with pytest.raises(ResponderError, match="video"):
        Endpoint()([asked("what?", video([Image.new("RGB", (2, 2))]))])
