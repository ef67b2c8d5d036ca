"""A small server of OpenAI's protocol on this machine, behind which the shipped model writes; and what may go wrong."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.factory import clickscape, rows_of

from clickscape import vlm as room
from clickscape.catalog import sample
from clickscape.errors import ModelError
from clickscape.types import Product
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer, sample_ids
from clickscape.vlm.server import KEY_VARIABLE, RetryPolicy, ServerWriter

KEY = "sk-secret-123"


@dataclass
class Behavior:
    """What the server does, and what it was asked."""

    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    models: tuple[str, ...] = ("tiny-served",)
    ignores_n: bool = False
    key: str = ""
    raw: bytes | None = None
    text: str | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)


@pytest.fixture(scope="module")
def tiny() -> Writer:
    return room.load("tiny")


@pytest.fixture
def behavior() -> Behavior:
    return Behavior()


@pytest.fixture
def address(tiny: Writer, behavior: Behavior) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            behavior.headers.append(dict(self.headers))
            self._answer(200, {"data": [{"id": name} for name in behavior.models]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with behavior.lock:
                behavior.seen.append(asked)
                behavior.headers.append(dict(self.headers))
                failure = behavior.failures.pop(0) if behavior.failures else None
                if behavior.key and self.headers.get("Authorization") != f"Bearer {behavior.key}":
                    return self._answer(401, {"error": {"message": f"bad key {self.headers.get('Authorization')}"}})
                if failure is not None:
                    return self._answer(failure[0], {"error": {"message": "not now"}}, failure[1])
                if behavior.raw is not None:
                    return self._send(200, behavior.raw, {})
                return self._answer(
                    200, {"choices": [{"message": {"content": text}} for text in _write(tiny, asked, behavior)]}
                )

        def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            self._send(status, json.dumps(body).encode(), headers or {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def _write(tiny: Writer, asked: dict[str, Any], behavior: Behavior) -> list[str]:
    """What the shipped model writes when it is shown the picture and asked the question of a request."""
    n = 1 if behavior.ignores_n else asked["n"]
    if behavior.text is not None:
        return [behavior.text] * n
    *pictures, words = asked["messages"][-1]["content"]
    images = []
    for one in pictures:
        kind, data = one["image_url"]["url"].split(",")
        assert kind == "data:image/png;base64"
        images.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
    question = Sample(words["text"], tuple(images))
    ids = sample_ids(tiny.vlm, [question], n=n, seeds=[asked["seed"]], max_new_tokens=asked["max_tokens"])
    return [f"{text}\n\nShall I write more?" for text in tiny.vlm.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _writer(address: str, waited: list[float] | None = None, **more: Any) -> ServerWriter:
    patience = RetryPolicy(**{"seconds": 5.0, **more})
    return ServerWriter(
        address, model="tiny-served", patience=patience, sleep=(waited if waited is not None else []).append
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    ids = ["running_shoe-navy", "coffee_mug-original", "soap_bar-original"]
    return sample.write(tmp_path_factory.mktemp("shelf"), 96, product_ids=ids)


@pytest.mark.slow
def test_descriptions_come_from_the_server_in_the_order_of_the_products(
    address: str, behavior: Behavior, shelf: list[Product]
) -> None:
    writer = room.connect(address)
    assert writer.model_id == "tiny-served"
    texts = writer.describe_all(shelf, n=3, seed=1)
    assert texts == [writer.describe(product, n=3, seed=1) for product in shelf]
    assert texts != writer.describe_all(shelf, n=3, seed=2)
    assert [len(own) for own in texts] == [3, 3, 3]
    assert not any("\n" in text or "Shall" in text for own in texts for text in own)
    asked = behavior.seen[0]
    assert (asked["n"], asked["temperature"], asked["max_tokens"], asked["stop"]) == (3, 1.0, 48, ["\n"])
    assert asked["messages"][0]["role"] == "system"
    titles = {product.title for product in shelf}
    assert any(title in asked["messages"][1]["content"][-1]["text"] for title in titles)


def test_the_picture_that_is_shown_is_the_one_that_is_given(
    address: str, behavior: Behavior, shelf: list[Product]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    writer = _writer(address)
    writer.describe_all(shelf[:1], n=1, seed=0, pictures=lambda product: picture)
    data = behavior.seen[0]["messages"][-1]["content"][0]["image_url"]["url"].split(",")[1]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)
    writer.describe(replace(shelf[0], image=None), n=1)
    assert [part["type"] for part in behavior.seen[1]["messages"][-1]["content"]] == ["text"]


def test_a_server_that_gives_one_choice_is_asked_again(address: str, behavior: Behavior, shelf: list[Product]) -> None:
    behavior.ignores_n = True
    texts = _writer(address).describe(shelf[0], n=3, seed=4)
    assert len(set(texts)) > 1
    assert [asked["n"] for asked in behavior.seen] == [3, 2, 1]
    assert len({asked["seed"] for asked in behavior.seen}) == 3


def test_a_busy_server_is_waited_for_longer_and_longer_or_as_it_says(
    address: str, behavior: Behavior, shelf: list[Product]
) -> None:
    behavior.failures = [(503, {}), (500, {}), (429, {"Retry-After": "7"})]
    waited: list[float] = []
    assert len(_writer(address, waited).describe(shelf[0], n=2)) == 2
    assert waited == [0.5, 1.0, 7.0]
    behavior.failures = [(503, {"Retry-After": "86400"})] * 4
    waited.clear()
    with pytest.raises(ModelError, match=r"HTTP 503 .*not now.*, 4 times"):
        _writer(address, waited).describe(shelf[0], n=2)
    assert waited == [60.0, 60.0, 60.0]


def test_a_server_that_is_silent_or_absent_is_one_clear_error(shelf: list[Product]) -> None:
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        silent = f"http://127.0.0.1:{quiet.getsockname()[1]}"
        waited: list[float] = []
        with pytest.raises(ModelError, match=r"one answer took longer than 0\.1 s"):
            _writer(silent, waited, seconds=0.1, tries=2).describe(shelf[0])
        assert waited == []  # what took all its time is not tried again
    with pytest.raises(ModelError, match=r"no answer \(.*refused\), 3 times. Is the server running"):
        _writer(silent, tries=3).describe(shelf[0])


def test_a_description_of_endless_length_is_cut(address: str, behavior: Behavior, shelf: list[Product]) -> None:
    behavior.text = "marble podium, " * 50_000
    (text,) = _writer(address).describe(shelf[0], n=1)
    assert text == behavior.text[:2_000].strip()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failures": [(400, {})]}, "refused, HTTP 400"),
        ({"failures": [(302, {"Location": "http://127.0.0.1:1/elsewhere"})]}, "refused, HTTP 302"),
        ({"raw": b"<html>hello"}, r"something else than a JSON object \(<html>hello\)"),
        ({"raw": b'{"choices": [{"text": "old"}]}'}, "without choices"),
        ({"raw": b"[1]"}, "something else than a JSON object"),
        ({"text": "\n  \n"}, "wrote 0 of 2 descriptions"),
    ],
)
def test_an_unexpected_server_response_is_one_clear_error(
    address: str, behavior: Behavior, shelf: list[Product], change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(behavior, name, value)
    with pytest.raises(ModelError, match=said) as told:
        _writer(address).describe(shelf[0], n=2)
    assert "\n" not in str(told.value)


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    address: str, behavior: Behavior, shelf: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    behavior.key = KEY
    with pytest.raises(ModelError, match=f"HTTP 401.*Set {KEY_VARIABLE}"):
        _writer(address).describe(shelf[0])
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert len(_writer(address).describe(shelf[0], n=2)) == 2
    monkeypatch.setenv(KEY_VARIABLE, "sk-other-456")
    with pytest.raises(ModelError, match=r"bad key Bearer \*\*\*") as told:
        _writer(address).describe(shelf[0])
    assert "sk-other" not in str(told.value)
    with pytest.raises(ModelError, match="a key is not sent in the clear"):
        _writer("http://models.example/v1")
    assert _writer("https://models.example").address == "https://models.example/v1"


@pytest.mark.parametrize("wrong", ["localhost:8000", "ftp://a/v1", "http://", "http://[::1", "http://a/v1?key=x"])
def test_an_invalid_server_address_is_refused(wrong: str) -> None:
    with pytest.raises(ModelError, match="no address of a server"):
        _writer(wrong)
    with pytest.raises(ModelError, match=f"no user and password.*{KEY_VARIABLE}") as told:
        _writer("https://me:secret@models.example/v1")
    assert "secret@" not in str(told.value)


def test_a_server_with_several_models_needs_a_model_name(address: str, behavior: Behavior) -> None:
    behavior.models = ("large", "small")
    with pytest.raises(ModelError, match="serves large, small; one has to be named"):
        room.connect(address)
    assert room.connect(address, model="small").model_id == "small"


def test_invalid_generation_arguments_are_refused(address: str, shelf: list[Product]) -> None:
    with pytest.raises(ValueError, match="n=0"):
        _writer(address).describe(shelf[0], n=0)
    with pytest.raises(ValueError, match="temperature"):
        _writer(address).describe(shelf[0], temperature=-1)


@pytest.mark.slow
def test_ads_are_drawn_from_what_a_server_writes(
    address: str, behavior: Behavior, shelf: list[Product], tmp_path: Path
) -> None:
    for product in shelf[:2]:
        (tmp_path / f"{product.product_id}.png").write_bytes(Path(str(product.image)).read_bytes())
    lines = [f'{product.product_id},"{product.title}",Shoes,{product.product_id}.png' for product in shelf[:2]]
    (tmp_path / "my.csv").write_text("\n".join(["id,title,category,image", *lines]) + "\n")
    command = ("generate", "--catalog", tmp_path / "my.csv", "--size", "192")
    done = clickscape(*command, "--keep", "1", "--model", address, "--out", tmp_path / "ads")
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "ads" / "creatives.jsonl")
    assert {row["model_id"] for row in rows} == {"tiny-served"}
    assert len(rows) == len(behavior.seen) - 1 == 2, "one request more than products: the server is tried first"
    done = clickscape(*command, "--writer", "http://127.0.0.1:1", "--writer-model", "none", "--out", tmp_path / "new")
    assert done.code == 2
    assert "no answer" in done.err.splitlines()[-1]
    assert not (tmp_path / "new").exists(), "no photo is cut out for a server that is not there"
