"""A server writes a round's candidates with the policy's adapter; behind it is a real model with adapters by peft."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from peft import PeftModel
from PIL import Image
from tests.factory import Brightness, in_two

from clickscape.compute.device import Processes
from clickscape.config import OptimizeConfig, Settings
from clickscape.errors import ModelError
from clickscape.generation import sample
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.records import open_round, read_candidates
from clickscape.preference.rounds import RoundReport, Sampled, optimize
from clickscape.preference.train import Step
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer, sample_ids
from clickscape.vlm.model import VisionLanguageModel

pytestmark = [
    pytest.mark.slow,
    # peft asks transformers for a property under its older name
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

CONFIG = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=3, max_new_tokens=32, min_margin=0.0, pairs_per_product=2, epochs=4,
    batch_size=3, learning_rate=2e-2, render_size=64, unparsed_share=1.0, searched_share=0.0, lora_rank=4,
)  # fmt: skip

Kind = Literal["vllm", "sglang"]


@dataclass
class Served:
    """A model with the adapters that were loaded, and for every request: the model's name, the request, the texts."""

    kind: Kind
    base: VisionLanguageModel
    adapters: dict[str, VisionLanguageModel] = field(default_factory=dict)
    ever: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any], list[str]]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Do as vLLM or SGLang does."""
        prefix = "/v1" if self.kind == "vllm" else ""
        if path == f"{prefix}/load_lora_adapter":
            name = body["lora_name"]
            if name in self.adapters:
                return 400, json.dumps(
                    {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
                ).encode()
            core = models.load(self.base.model.name_or_path).model
            adapted = PeftModel.from_pretrained(core, body["lora_path"]).eval()
            self.adapters[name] = VisionLanguageModel(adapted, self.base.processor, name)
            self.ever.append(name)
            return 200, b"Success: it is there." if self.kind == "vllm" else b'{"success": true}'
        if path == f"{prefix}/unload_lora_adapter":
            del self.adapters[body["lora_name"]]
            return 200, b"Success: it is gone."
        if path != "/v1/chat/completions":
            return 404, b'{"detail":"Not Found"}'
        name = body["model"] if self.kind == "vllm" else body["model"].removeprefix("base:")
        if name not in self.adapters:
            return 404, json.dumps({"error": {"message": f"The model `{body['model']}` does not exist."}}).encode()
        texts = written(self.adapters[name], body)
        self.asked.append((name, body, texts))
        return 200, json.dumps({"choices": [{"message": {"content": text}} for text in texts]}).encode()


def written(vlm: VisionLanguageModel, body: dict[str, Any]) -> list[str]:
    """What a model writes for a request: without other words than those of its one message."""
    (message,) = body["messages"]
    picture, words = message["content"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].split(",")[1]))))
    question = Sample(words["text"], (shown,))
    ids = sample_ids(
        vlm, [question], n=body["n"], seeds=[body["seed"]], temperature=body["temperature"],
        max_new_tokens=body["max_tokens"],
    )  # fmt: skip
    return vlm.tokenizer.batch_decode(ids, skip_special_tokens=True)


@contextmanager
def serving(served: Served) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._send(
                200, json.dumps({"data": [{"id": "base"}, *({"id": name} for name in served.adapters)]}).encode()
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with served.lock:
                answer = served.answer(self.path, body)
            self._send(*answer)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def base(taught: Callable[[], VisionLanguageModel], tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """The taught model from a folder, as a server opens it."""
    folder = tmp_path_factory.mktemp("base") / "base"
    models.save(taught(), folder)
    return models.load(folder)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_every_round_is_written_by_a_server_with_the_adapter_as_it_is_then(
    kind: Kind, base: VisionLanguageModel, shelf: list[Product], tmp_path: Path
) -> None:
    served = Served(kind, base)
    with serving(served) as address:
        config = CONFIG.model_copy(update={"server": address})
        pipeline = AdPipeline(load("studio"), Brightness(), processes=Processes())
        run = optimize(Writer(base), pipeline, shelf, folder=tmp_path, config=config)
        for event in run:
            if isinstance(event, Step):
                break  # a kill: what was written stays
        assert not served.adapters, "a round's adapter is let go when all is written"
        first = len(served.asked)
        events = list(optimize(Writer(base), pipeline, shelf, folder=tmp_path, config=config))
    assert [event.round for event in events if isinstance(event, Sampled)] == [2]
    assert [event.round for event in events if isinstance(event, RoundReport)] == [1, 2]
    assert len(set(served.ever)) == len(served.ever) == 2
    assert {name for name, _, _ in served.asked[:first]} == {served.ever[0]}
    assert {name for name, _, _ in served.asked[first:]} == {served.ever[1]}
    untrained, trained = (open_round(tmp_path, number, config=config) for number in (0, 1))
    differing = 0
    for number, requests in ((1, served.asked[:first]), (2, served.asked[first:])):
        assert len(requests) == 8
        kept = read_candidates(tmp_path / f"round-{number}" / "candidates.jsonl")
        assert sorted([one.text for one in each] for each in kept) == sorted(
            [text.partition("\n")[0] for text in texts] for _, _, texts in requests
        )
        for _, body, texts in requests:
            assert (body["top_p"], body["top_k"], body["temperature"]) == (1.0, -1, 1.0)
            assert texts == written(untrained if number == 1 else trained, body)
            differing += texts != written(untrained, body)
    assert differing > 4, "the second round's adapter has learned, and its texts show it"


def test_two_processes_ask_one_server_for_one_adapter(
    base: VisionLanguageModel, shelf: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "PRODUCTS_PER_PASS", 3)  # three passes: two for the one, one for the other
    served = Served("vllm", base)
    with serving(served) as address:
        config = CONFIG.model_copy(update={"server": address, "shard": True})

        def sampled(processes: Processes) -> int:
            pipeline = AdPipeline(load("studio"), Brightness(), processes=processes)
            run = optimize(Writer(base), pipeline, shelf, folder=tmp_path / "run", config=config)
            return sum(isinstance(event, Sampled) for event in takewhile(lambda event: isinstance(event, Sampled), run))

        ends, given = in_two(sampled, tmp_path)
    assert (ends, given) == ([0, 0], [2, 1])
    assert len(served.ever) == 1
    assert not served.adapters
    written_down = read_candidates(tmp_path / "run" / "round-1" / "candidates.jsonl")
    assert len(written_down) == len(served.asked) == 8


def test_a_server_that_takes_no_adapters_is_one_line_with_the_remedy(
    base: VisionLanguageModel, shelf: list[Product], tmp_path: Path
) -> None:
    served = Served("vllm", base)
    with serving(served) as address:
        config = CONFIG.model_copy(update={"server": f"{address}/elsewhere"})
        pipeline = AdPipeline(load("studio"), Brightness())
        with pytest.raises(
            ModelError, match=r"HTTP 404 .*Start vLLM with --enable-lora .*RUNTIME_LORA_UPDATING"
        ) as error:
            list(optimize(Writer(base), pipeline, shelf, folder=tmp_path, config=config))
    assert "\n" not in str(error.value)


def test_full_weights_cannot_be_served() -> None:
    with pytest.raises(ValueError, match="set lora_rank"):
        Settings.model_validate({"optimize": {"server": "http://localhost:8000/v1"}})
