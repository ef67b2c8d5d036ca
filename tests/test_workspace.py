"""A workspace gives back what it was given, stays inside its folder, and survives being killed at any moment."""

from __future__ import annotations

import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clickscape.compute import map_shards
from clickscape.config import ClicksConfig, Settings
from clickscape.errors import ImageError, LogError, WorkspaceError
from clickscape.types import Creative, Product
from clickscape.workspace import (
    EVENTS,
    PRODUCTS,
    Noted,
    Workspace,
    atomic_folder,
    file_name,
    fingerprint,
    fingerprint_of,
    ingest,
    ingesting,
    notes_of,
    read_metrics,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


def creative(name: str, **other: object) -> Creative:
    values = {
        "image": "creatives/images/x.webp",
        "description": "oak",
        "scene": {"props": ["palm"]},
        "renderer": "studio",
    }
    return Creative(**{"creative_id": name, "product_id": "p", "model_id": "tiny", "seed": 7, **values, **other})


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


# --- create and open


def test_the_settings_file_names_every_setting_and_changes_none(workspace: Workspace) -> None:
    text = workspace.settings_path.read_text()
    assert workspace.settings == Settings()
    lines = re.findall(r"^(?:# )?(\[\w+\]|\w+ = .*)$", text, flags=re.MULTILINE)
    assert Settings.model_validate(tomllib.loads("\n".join(lines))) == Settings()
    named = {section: set(values) for section, values in tomllib.loads("\n".join(lines)).items()}
    assert named == {section: set(type(stage).model_fields) for section, stage in Settings()}
    workspace.settings_path.write_text(text.replace("# prior_impressions = 200.0", "prior_impressions = 50"))
    assert workspace.settings.clicks == ClicksConfig(prior_impressions=50)


def test_create_refuses_what_is_not_its_own(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is a workspace already"):
        Workspace.create(workspace.path)
    assert Workspace.create(workspace.path, exist_ok=True).path == workspace.path
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(WorkspaceError, match=r"not empty \(it holds 'thesis.tex'\). Choose"):
        Workspace.create(tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.create(tmp_path / "file")
    with pytest.raises(WorkspaceError, match=r"not a workspace.*clickscape new"):
        Workspace.open(tmp_path / "full")


def test_a_create_that_was_killed_can_be_repeated(workspace: Workspace) -> None:
    workspace.settings_path.rename(workspace.path / ".tmp-0123")
    (workspace.path / "runs").rmdir()
    assert Workspace.create(workspace.path).settings == Settings()
    assert not (workspace.path / ".tmp-0123").exists()


def test_deleting_the_settings_means_the_defaults(workspace: Workspace) -> None:
    workspace.settings_path.unlink()
    assert Workspace.open(workspace.path).settings == Settings()


# --- ids as file names


@given(st.text(min_size=1, max_size=300), st.text(min_size=1))
def test_any_id_names_a_file_inside_its_folder_and_no_two_share_one(one: str, other: str) -> None:
    try:
        name = file_name(one)
        assert name == os.path.basename(name) == os.path.normpath(name)
        assert name.isascii()
        assert not set(name) & set('<>:"/\\|?*\0')
        assert len(name) < 200
        assert not name.startswith((".", "~", " "))
        assert (name == file_name(other)) == (one == other)
    except WorkspaceError as error:
        assert "not valid Unicode" in str(error)  # noqa: PT017 - lone surrogates


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("A-17", "A-17"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".tmp-x", "%2Etmp-x"),
        ("con", "%63on"),
        ("NUL.png", "%4EUL.png"),
        ("lpt1", "%6Cpt1"),
        ("a.", "a%2E"),
        ("ü b", "%C3%BC b"),
        ("..", "%2E%2E"),
    ],
)
def test_dangerous_ids_are_escaped(identifier: str, name: str) -> None:
    assert file_name(identifier) == name


def test_long_ids_stay_apart_and_empty_ones_are_refused() -> None:
    assert file_name("a" * 500) != file_name("a" * 501)
    with pytest.raises(WorkspaceError, match="empty id"):
        file_name("")


# --- tables and pictures


def test_products_come_back_as_they_went_in(workspace: Workspace, tmp_path: Path) -> None:
    inside = workspace.save_cutout("a/b", np.full((3, 2, 4), 9, np.uint8))
    products = [
        Product(
            "a/b", "Cup", ("Home", "Cups"), {"color": "red"}, ("new",), 3.5, "EUR", str(inside), (str(inside), "/a.png")
        ),
        Product("c", "Mug", image=str(tmp_path / "elsewhere.png")),
        Product("d", "Jug"),
    ]
    workspace.write_products(products)
    assert Workspace.open(workspace.path).products() == products
    rows = pq.read_table(workspace.products_path)
    assert rows.schema.equals(PRODUCTS)
    assert rows["image"][0].as_py() == "catalog/cutouts/a%2Fb.png"
    assert rows["more_images"].to_pylist() == [["catalog/cutouts/a%2Fb.png", "/a.png"], [], []]


def test_a_table_of_products_from_before_there_were_several_photos_is_read(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup", image="/a.png", more_images=("/b.png",))])
    earlier = pq.read_table(workspace.products_path).drop_columns(["more_images"])
    pq.write_table(earlier, workspace.products_path)
    assert workspace.products() == [Product("a", "Cup", image="/a.png")]


def test_a_moved_workspace_still_finds_its_pictures(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write_products([Product("a", "Cup", image=str(workspace.cutout_path("a")))])
    workspace.path.rename(tmp_path / "moved")
    assert Workspace.open(tmp_path / "moved").products()[0].image == str(tmp_path / "moved/catalog/cutouts/a.png")


def test_creatives_are_appended_once(workspace: Workspace) -> None:
    assert workspace.creatives() == []
    workspace.write_creatives([creative("1")], now=NOW)
    later = NOW.replace(year=2027)
    workspace.append_creatives([creative("2", parent_id="1", status="live", scene={})], now=later)
    first, second = workspace.creatives()
    assert first == creative("1", image=str(workspace.path / "creatives/images/x.webp"))
    assert (second.parent_id, second.status, second.scene) == ("1", "live", {})
    assert pq.read_table(workspace.creatives_path)["created_at"].to_pylist() == [NOW, later]
    with pytest.raises(WorkspaceError, match="creative '2' appears twice"):
        workspace.append_creatives([creative("2")])
    assert len(workspace.creatives()) == 2


def test_images_are_kept_without_loss(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    image, cutout = (rng.integers(0, 256, (17, 23, channels), np.uint8) for channels in (3, 4))
    assert np.array_equal(np.asarray(Image.open(workspace.save_image("x", image))), image)
    assert np.array_equal(np.asarray(Image.open(workspace.save_cutout("x", cutout))), cutout)
    with pytest.raises(WorkspaceError, match=r"expected uint8 \(height, width, 3\), got float64"):
        workspace.save_image("x", image / 255)


def test_an_image_that_leaves_the_workspace_is_refused(workspace: Workspace) -> None:
    table = pa.Table.from_pylist([{"product_id": "a", "title": "t", "image": "../../secret.png"}], schema=PRODUCTS)
    workspace.write_table(workspace.products_path, table)
    with pytest.raises(WorkspaceError, match="leaves the workspace"):
        workspace.products()
    with pytest.raises(WorkspaceError, match="leaves the workspace"):
        workspace.write_creatives([creative("1", image="../x.webp")])


def test_damaged_and_missing_tables_name_the_remedy(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"missing. Run `clickscape ingest` first"):
        workspace.products()
    workspace.products_path.write_bytes(b"PAR1 and no more")
    with pytest.raises(WorkspaceError, match=r"cannot be read.*Delete it"):
        workspace.products()
    pq.write_table(pa.table({"product_id": ["a"]}), workspace.products_path)
    with pytest.raises(WorkspaceError, match=r"products.parquet: no column 'title'; expected product_id"):
        workspace.products()
    with pytest.raises(WorkspaceError, match="product 'a' appears twice"):
        workspace.write_products([Product("a", "x"), Product("a", "y")])


def test_the_same_part_of_events_again_replaces_it(workspace: Workspace) -> None:
    events = pa.Table.from_pylist([{"event_id": "1", "ts": NOW, "kind": "click", "position": 1}], schema=EVENTS)
    path = workspace.append_events(events, part="2026/01")
    assert workspace.append_events(events, part="2026/01") == path == workspace.events_folder / "2026%2F01.parquet"
    assert pq.read_table(path).equals(events)
    with pytest.raises(LogError, match="no column 'ts'"):
        workspace.append_events(events.drop_columns(["ts"]), part="x")
    counts = pa.table({"creative_id": ["a"], "product_id": ["p"], "impressions": [5], "clicks": [1]})
    assert pq.read_table(workspace.write_counts(counts)).column_names == counts.column_names


# --- one writer


def test_only_one_process_writes_and_others_read(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup")])
    with workspace.lock(), workspace.lock():  # nests
        other = Workspace.open(workspace.path)
        assert len(other.products()) == 1
        with pytest.raises(WorkspaceError, match=rf"another process \(id {os.getpid()}\). Wait"):
            other.write_products([Product("b", "Mug")])
    other.write_products([Product("b", "Mug")])
    assert workspace.products() == [Product("b", "Mug")]


# --- atomic folders


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as folder:
        (folder / "new").write_text(str(1 / 0))
    assert files(tmp_path) == {"model/old": b"1"}
    with atomic_folder(target) as folder:
        (folder / "new").write_text("2")
    assert files(tmp_path) == {"model/new": b"2"}


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    """Left by a kill: a folder that nobody locks. Other targets' folders and other people's files are left alone."""
    for name in (".tmp-model-0a1b2c", ".tmp-model-2-0a1b2c", ".tmp-other-0a1b2c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    (tmp_path / ".tmp-model-notes").write_text("a file")
    with atomic_folder(tmp_path / "model") as living:
        (living / "first").write_text("1")
        with atomic_folder(tmp_path / "model") as second:
            (second / "second").write_text("2")
        assert (living / "first").exists()
    assert files(tmp_path) == {
        "model/first": b"1",
        ".tmp-model-2-0a1b2c/half": b"x",
        ".tmp-other-0a1b2c/half": b"x",
        ".tmp-model-notes": b"a file",
    }


@pytest.mark.parametrize("target_there", [True, False])
def test_a_kill_between_the_two_renames_is_mended(workspace: Workspace, target_there: bool) -> None:
    replaced = workspace.models / ".old-reward"
    replaced.mkdir()
    (replaced / "weights").write_text("old")
    if target_there:
        (workspace.models / "reward").mkdir()
        (workspace.models / "reward" / "weights").write_text("new")
    Workspace.open(workspace.path)
    assert files(workspace.models) == {"reward/weights": b"new" if target_there else b"old"}


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    folder, file = fingerprint(tmp_path), fingerprint(tmp_path / "a")
    (tmp_path / ".tmp-1").write_text("ignored")
    os.utime(tmp_path / "a", (0, 0))
    assert (fingerprint(tmp_path), fingerprint(tmp_path / "a")) == (folder, file)
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(tmp_path) != folder
    assert fingerprint(tmp_path / "b") == file
    assert fingerprint({"x": 1, "y": (2,)}) == fingerprint({"y": [2], "x": 1}) != fingerprint({"x": 1, "y": [3]})
    with pytest.raises(WorkspaceError, match="missing"):
        fingerprint(tmp_path / "c")


# --- runs


def test_a_finished_stage_is_found_until_anything_changes(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup")])
    inputs: dict[str, object] = {"products": workspace.products_path, "seed": 3}
    stage = ("clicks", ClicksConfig(), inputs)
    made = workspace.models / "reward"
    assert workspace.finished("clicks", fingerprint_of(*stage)) is None
    with workspace.start_run(*stage, now=NOW) as run:
        run.log({"step": 1, "loss": float("nan")})
        run.log({"step": 2, "loss": np.float32(0.5)})
        with atomic_folder(made) as folder:
            (folder / "weights").write_text("1")
        run.finish(outputs=[made], result={"accuracy": 0.7}, now=NOW)
    assert run.folder == workspace.runs_folder / "20260102T030405Z-clicks"
    manifest = workspace.finished("clicks", fingerprint_of(*stage))
    assert manifest is not None
    assert (manifest.result, manifest.started, manifest.ended) == ({"accuracy": 0.7}, NOW, NOW)
    assert manifest.config["prior_impressions"] == 200
    assert {"python", "numpy"} <= set(manifest.versions)
    assert run.metrics() == [{"step": 1, "loss": None}, {"step": 2, "loss": 0.5}]
    assert workspace.finished("reward", fingerprint_of(*stage)) is None
    other = ("clicks", ClicksConfig(prior_impressions=3), inputs)
    assert workspace.finished("clicks", fingerprint_of(*other)) is None
    (made / "weights").write_text("2")
    assert workspace.finished("clicks", fingerprint_of(*stage)) is None
    (made / "weights").write_text("1")
    workspace.write_products([Product("a", "Mug")])
    assert workspace.finished("clicks", fingerprint_of(*stage)) is None


def test_a_run_that_failed_goes_on_in_its_folder_without_its_torn_line(workspace: Workspace) -> None:
    run = workspace.start_run("reward", {}, {}, now=NOW)
    run.log({"step": 1})
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError
    with run.metrics_path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1}]
    assert workspace.finished("reward", fingerprint_of("reward", {}, {})) is None
    with workspace.start_run("reward", {}, {}) as again:
        assert again.folder == run.folder
        again.log({"step": 2})
    assert again.metrics() == [{"step": 1}, {"step": 2}]
    assert workspace.finished("reward", fingerprint_of("reward", {}, {})) is not None
    with workspace.start_run("reward", {}, {}, now=NOW) as third:
        assert third.folder.name == "20260102T030405Z-reward-2"


def test_damage_in_the_middle_of_metrics_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\noops\n{"step": 3}\n')
    with pytest.raises(WorkspaceError, match="line 2: not JSON"):
        read_metrics(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_run_holds_the_lock_until_its_end(workspace: Workspace) -> None:
    other = Workspace(workspace.path)
    with workspace.start_run("reward", {}, {}), pytest.raises(WorkspaceError, match="another process"):
        other.start_run("reward", {}, {})
    with other.start_run("optimize", {}, {}):
        pass


# --- ingest


def cut_out(path: Path) -> np.ndarray:
    try:
        return np.asarray(Image.open(path).convert("RGBA"))
    except OSError:
        raise ImageError(f"{path} is not an image. Replace it.") from None


def feed(folder: Path, *, number: int = 6) -> list[Product]:
    folder.mkdir(exist_ok=True)
    for n in range(number):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(folder / f"{n}.png")
    return [Product(f"../{n}", f"Cup {n}", ("Home",), image=str(folder / f"{n}.png")) for n in range(number)]


@pytest.mark.parametrize("workers", [1, 2])
def test_ingest_moves_the_whole_catalog_in(workspace: Workspace, tmp_path: Path, workers: int) -> None:
    mapping = functools.partial(map_shards, workers=workers, chunk=2)
    moved = ingest(workspace, feed(tmp_path / "feed"), cut_out=cut_out, mapping=mapping)
    assert Workspace.open(workspace.path).products() == moved
    assert sorted(files(workspace.catalog)) == [*(f"cutouts/%2E.%2F{n}.png" for n in range(6)), "products.parquet"]
    assert np.asarray(Image.open(moved[5].image))[0, 0].tolist() == [5, 0, 0, 255]
    assert not list(workspace.path.glob(".staging*"))


def test_what_is_noted_about_a_cut_out_stays_with_it(workspace: Workspace, tmp_path: Path) -> None:
    def noting(path: Path) -> Noted:
        return Noted(cut_out(path), {"shop:flags": f"thin {path.stem} · é"})

    moved = ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=noting)
    assert notes_of(Path(moved[1].image))["shop:flags"] == "thin 1 · é"
    assert np.asarray(Image.open(moved[1].image))[0, 0].tolist() == [1, 0, 0, 255]
    plain = ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=cut_out)
    assert notes_of(Path(plain[1].image)) == {}
    Path(plain[1].image).write_bytes(b"torn")
    with pytest.raises(ImageError, match="the cut-out cannot be read"):
        notes_of(Path(plain[1].image))


def test_what_was_staged_in_another_way_is_not_taken(workspace: Workspace, tmp_path: Path) -> None:
    products = feed(tmp_path / "feed", number=3)
    steps: Iterator[tuple[int, int]] = ingesting(workspace, products, cut_out=cut_out, way="-old")
    assert [next(steps) for _ in range(3)] == [(0, 3), (1, 3), (2, 3)]
    steps.close()  # type: ignore[attr-defined]
    first, *_ = ingesting(workspace, products, cut_out=cut_out, way="-new")
    assert first == (0, 3)


def test_one_bad_image_leaves_the_workspace_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, feed(tmp_path / "feed", number=2), cut_out=cut_out)
    before = files(workspace.path)
    products = feed(tmp_path / "feed")
    (tmp_path / "feed" / "4.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"4.png is not an image"):
        ingest(workspace, products, cut_out=cut_out)
    (tmp_path / "feed" / "4.png").unlink()
    with pytest.raises(ImageError, match=r"product '../4': the image .*4.png' cannot be read.*Mend its path"):
        ingest(workspace, products, cut_out=cut_out)
    with pytest.raises(WorkspaceError, match="catalog is empty"):
        ingest(workspace, [], cut_out=cut_out)
    with pytest.raises(WorkspaceError, match="appears twice"):
        ingest(workspace, [products[0], products[0]], cut_out=cut_out)
    assert files(workspace.path) == before


def test_an_ingest_that_was_stopped_goes_on_where_it_was(workspace: Workspace, tmp_path: Path) -> None:
    products = feed(tmp_path / "feed")
    steps: Iterator[tuple[int, int]] = ingesting(workspace, products, cut_out=cut_out)
    assert [next(steps) for _ in range(4)] == [(0, 6), (1, 6), (2, 6), (3, 6)]
    steps.close()  # type: ignore[attr-defined]
    assert not workspace.products_path.exists()
    first, *_ = ingesting(workspace, products, cut_out=cut_out)
    assert first == (3, 6)
    assert len(workspace.products()) == 6


# --- killed at any moment

_WRITER = """
import sys
from pathlib import Path
import numpy as np
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace, atomic_folder

workspace = Workspace.open(sys.argv[1])
start = int(sys.argv[2])
print("ready", flush=True)
for number in range(start, start + 100_000):
    text = str(number)
    workspace.write_products([Product(str(n), text) for n in range(20)])
    with atomic_folder(workspace.models / "reward") as folder:
        for name in "abc":
            (folder / name).write_text(text * 1000)
    path = workspace.save_image("x", np.full((16, 16, 3), number % 256, np.uint8))
    workspace.append_creatives([Creative(text, "p", str(path), "d", {}, "studio", "tiny", number)])
    with workspace.start_run("stage", {"number": number}, {"products": workspace.products_path}) as run:
        for step in range(5):
            run.log({"step": step, "text": text * 100})
    print(number, flush=True)
"""


def test_kill_9_at_any_moment_is_survived(workspace: Workspace) -> None:
    chance = random.Random(0)
    seen = start = 0
    for _ in range(7):
        command = [sys.executable, "-c", _WRITER, str(workspace.path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(chance.randrange(3)):
                writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        again = Workspace.open(workspace.path)
        if again.products_path.exists():
            products = again.products()
            assert [product.product_id for product in products] == [str(n) for n in range(20)]
            assert len({product.title for product in products}) == 1
        if (again.models / "reward").exists():
            contents = {name: (again.models / "reward" / name).read_text() for name in "abc"}
            assert len(set(contents.values())) == 1
        else:
            assert not again.creatives()
        creatives = again.creatives()
        seeds = [one.seed for one in creatives]
        assert seeds == sorted(set(seeds))
        if creatives:
            with Image.open(creatives[-1].image) as image:
                assert np.asarray(image).shape == (16, 16, 3)
        for run in again.runs_folder.iterdir():
            steps = [step["step"] for step in read_metrics(run / "metrics.jsonl")]
            assert steps == list(range(len(steps)))
            if (run / "manifest.json").exists() and json.loads((run / "manifest.json").read_text())["status"] == "done":
                assert len(steps) == 5
        assert not [path for path in again.path.rglob("*") if path.name.startswith((".tmp-", ".old-"))]
        seen, start = seen + len(creatives), max(seeds, default=start) + 1
    assert seen > 0
