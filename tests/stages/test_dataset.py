"""Stage `dataset export`: other libraries open what it writes, truth included; `push` sends only when asked."""

from __future__ import annotations

import base64
import http.server
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import datasets
import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from tests.factory import clickscape, copy_of

from clickscape import model_card
from clickscape.catalog.images import open_image
from clickscape.errors import ClickscapeError, WorkspaceError
from clickscape.stages import split, truth
from clickscape.stages.dataset import export
from clickscape.stages.progress import run
from clickscape.stages.push import plan, upload
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(logged_shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "ads"
    run(export(logged_shop, out, license_id="cc-by-4.0"))
    return out


def _open(folder: Path, table: str, cache: Path) -> datasets.DatasetDict:
    return datasets.load_dataset(str(folder), table, cache_dir=str(cache))


def test_datasets_opens_creatives_with_pictures_counts_and_true_ctrs(
    folder: Path, logged_shop: Workspace, tmp_path: Path
) -> None:
    found = _open(folder, "creatives", tmp_path)
    creatives = {one.creative_id: one for one in logged_shop.creatives()}
    held_out = split.read(logged_shop, logged_shop.products())
    true = truth.read(logged_shop)
    assert true is not None
    seen = set()
    for part in ("train", "test"):
        for row in found[part]:
            creative = creatives[row["creative_id"]]
            seen.add(creative.creative_id)
            assert held_out.is_held_out(creative.product_id) == (part == "test")
            assert row["true_ctr"] == pytest.approx(math.exp(true[creative.creative_id]))
            assert 0 <= row["clicks"] <= row["impressions"]
            assert json.loads(row["scene"]) == dict(creative.scene)
    assert seen == set(creatives)
    row = found["test"][0]
    assert np.array_equal(np.asarray(row["image"]), open_image(creatives[row["creative_id"]].image)[..., :3])
    counts = _open(folder, "counts", tmp_path)["train"].to_pandas()
    pooled = counts.groupby("creative_id")[["impressions", "clicks"]].sum()
    for row in found["train"].remove_columns("image"):
        assert pooled.loc[row["creative_id"]].tolist() == [row["impressions"], row["clicks"]]
    products = _open(folder, "products", tmp_path)
    assert set(products["train"]["group"]).isdisjoint(products["test"]["group"])
    assert products["train"][0]["image"].mode == "RGBA"
    assert isinstance(products["train"][0]["category"], list)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant calls
def test_croissant_is_valid_and_reads_the_records(folder: Path) -> None:
    opened = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not opened.metadata.issues.errors
    rows = list(opened.records(record_set="creatives-test"))
    table = pq.read_table(folder / "creatives" / "test.parquet")
    assert [row["creatives-test/creative_id"].decode() for row in rows] == table["creative_id"].to_pylist()
    assert [row["creatives-test/true_ctr"] for row in rows] == table["true_ctr"].to_pylist()
    assert rows[0]["creatives-test/image"].size == (96, 96)


def test_the_card_is_one_that_the_hub_takes_and_names_no_path_nor_user(folder: Path, logged_shop: Workspace) -> None:
    card = DatasetCard.load(folder / "README.md")
    assert {"simulated", "clickscape"} <= set(card.data.tags)
    assert card.data.license == "cc-by-4.0"
    assert [one["config_name"] for one in card.data.configs] == ["creatives", "products", "counts"]
    assert "nobody clicked" in card.text.lower()
    whole = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert str(logged_shop.path).encode() not in whole
    names = {name for path in folder.rglob("*.parquet") for name in pq.read_schema(path).names}
    assert names.isdisjoint({"user_key", "ts", "event_id", "decision_id"})


def test_real_clicks_have_no_truth_and_export_replaces_nothing_but_an_export(
    logged_shop: Workspace, folder: Path, tmp_path: Path
) -> None:
    real = copy_of(logged_shop, tmp_path / "real", "*-simulate", "*-clicks")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it")
    for wrong, told in ((tmp_path / "full", "is no exported dataset"), (real.path, "would replace the workspace")):
        with pytest.raises(WorkspaceError, match=told):
            run(export(real, wrong))
    done = clickscape("dataset", "export", real.path, "--out", tmp_path / "ads")
    assert done.code == 0, done.err
    assert "real clicks" in done.out
    assert clickscape("dataset", "export", real.path, "--out", tmp_path / "ads").code == 0, "an export is replaced"
    assert set(pq.read_table(tmp_path / "ads/creatives/test.parquet")["true_ctr"].to_pylist()) == {None}
    assert "simulated" not in DatasetCard.load(tmp_path / "ads" / "README.md").data.tags
    assert (tmp_path / "full" / "thesis.txt").read_text() == "all of it"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a commit of small files takes; what was committed is in `committed`."""

    committed: dict[str, bytes]
    created: list[dict[str, object]]

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        base = f"http://{self.headers['host']}"
        if self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            self._answer({"url": f"{base}/datasets/me/ads"})
        elif self.path.endswith("/preupload/main"):
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in
                     json.loads(body)["files"]]  # fmt: skip
            self._answer({"files": files})
        elif "/commit/main" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = "0" * 40
            self._answer({"success": True, "commitOid": oid, "commitUrl": f"{base}/datasets/me/ads/commit/{oid}"})
        else:
            self._answer({}, status=200)  # the card's check

    def do_GET(self) -> None:
        self._answer({}, status=404)

    def _answer(self, value: object, *, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Hub]]]:
    """A hub on this machine, and what was sent to it."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    handler = type("OwnHub", (Hub,), {"committed": {}, "created": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()
        thread.join()


def test_a_push_sends_exactly_what_the_dry_run_listed(folder: Path, hub: tuple[str, type[Hub]]) -> None:
    listed = clickscape("push", folder, "me/ads", "--dry-run")
    assert listed.code == 0, listed.err
    assert listed.out.endswith("dry run: nothing was sent\n")
    address, handler = hub
    assert not handler.created
    sent = upload(plan(folder, "me/ads"), private=True, endpoint=address)
    assert sent.startswith(address)
    (created,) = handler.created
    assert "private" in (created.get("visibility"), created.get("private") and "private")
    own = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert handler.committed == own
    assert all(name in listed.out for name in own)
    assert f"dataset me/ads: {len(own)} files, {sum(map(len, own.values())):,} bytes" in listed.out


def test_what_cannot_be_pushed_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9"  # nobody listens there
    with pytest.raises(ClickscapeError, match=r"127\.0\.0\.1:9: me/ads was not pushed"):
        upload(plan(folder, "me/ads"), private=True, endpoint=closed)
    for name in ("ads", "a b/c", "one/two/three"):
        with pytest.raises(ClickscapeError, match="is no repository"):
            plan(folder, name)
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(ClickscapeError, match="neither a model nor an exported dataset"):
        plan(model, "me/model")
    (model / "model.safetensors").write_bytes(b"")
    with pytest.raises(ClickscapeError, match="no model card"):
        plan(model, "me/model")
    model_card.write(model, model_card.PROMPT, base="tiny")
    assert plan(model, "me/model").kind == "model"
    (model / "assignment.key").write_text("secret")
    with pytest.raises(ClickscapeError, match=r"'assignment\.key' belongs to no model"):
        plan(model, "me/model")
