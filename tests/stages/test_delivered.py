"""`inspect --delivered`: which approved picture a downloaded one is, whether it is still that, and what is said."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.factory import clickscape, shop_of_tins

from clickscape.errors import ImageError
from clickscape.render import provenance
from clickscape.render.provenance import Provenance
from clickscape.stages.delivered import inspect_delivered
from clickscape.types import Creative
from clickscape.workspace import Workspace


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 230, (4, 5, 3), np.uint8))
    picture = coarse.resize((300, 240), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(9):
        x, y, size = rng.uniform(0, 260), rng.uniform(0, 200), rng.uniform(15, 60)
        pen.rectangle((x, y, x + size, y + size), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return np.asarray(picture)


def written(path: Path, pixels: np.ndarray, *, label: str = "", quality: int = 90) -> Path:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    data = stream.getvalue()
    if label:
        data = provenance.embed(data, Provenance(label, "studio", "tiny", "compositeSynthetic"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [written(tmp_path / f"approved/{seed}.jpg", scene(seed), label=f"A-{seed}") for seed in range(3)]


def test_the_same_file_is_known_without_comparing(files: list[Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(files[1], tmp_path / "download.jpg"))
    found = inspect_delivered(copy, files)
    assert found.approved
    assert found.comparison is None
    assert found.match.path == files[1]
    assert found.lines() == [f"still the approved picture {files[1]}: the same file", "provenance label: names A-1"]


def test_a_reencoded_picture_is_found_among_others_without_its_label(files: list[Path], tmp_path: Path) -> None:
    found = inspect_delivered(written(tmp_path / "download.jpg", scene(2), quality=70), files)
    assert found.approved
    assert found.match.path == files[2]
    assert found.lines()[1] == "provenance label: was removed, or never was there"


def test_more_pictures_than_are_compared_in_full_are_sorted_by_likeness(tmp_path: Path) -> None:
    many = [written(tmp_path / f"approved/{seed}.jpg", scene(seed)) for seed in range(20)]
    found = inspect_delivered(written(tmp_path / "download.jpg", scene(17)[:, 20:], quality=70), many)
    assert found.match.path == many[17]
    assert found.comparison is not None
    assert found.comparison.changes == ("cropped",)


def test_an_altered_picture_says_what_and_where(files: list[Path], tmp_path: Path) -> None:
    altered = scene(0).copy()
    altered[10:60, 200:280] = (255, 255, 255)
    download = written(tmp_path / "download.jpg", altered, quality=85)
    done = clickscape("inspect", "--delivered", str(download), *map(str, files))
    assert done.code == 1
    first, *rest = done.out.splitlines()
    assert first == f"{download}: NOT the approved picture {files[0]}: a part changed"
    assert any(line.startswith("    changed: ") and "% of the picture" in line for line in rest)
    assert "provenance label: was removed" in rest[-1]


def test_a_folder_of_exports_names_creative_and_placement(files: list[Path], tmp_path: Path) -> None:
    folder = files[0].parent
    records = [{"creative_id": f"A-{n}", "placement": "meta-feed", "file": path.name} for n, path in enumerate(files)]
    (folder / "manifest.json").write_text(json.dumps({"workspace": "x", "renditions": records}), encoding="utf-8")
    download = written(tmp_path / "download.jpg", scene(1), quality=70)
    done = clickscape("inspect", "--delivered", str(download), str(folder))
    assert done.code == 0
    assert "still the approved picture A-1 at meta-feed: encoded again, 300 x 240" in done.out


def workspace_of(tmp_path: Path) -> Workspace:
    shop = shop_of_tins(tmp_path / "my-shop", {"A": (200, 30, 30)})
    creatives = []
    for number in range(2):
        name = f"A-{number}"
        path = shop.save_image(name, scene(number))
        mask = np.zeros((240, 300), np.uint8)
        mask[60:160, 80:200] = 255
        shop.save_mask(name, mask)
        creatives.append(Creative(name, "A", str(path), "oak", {}, "studio", "tiny", 0, status="approved"))
    shop.write_creatives([creatives[0], replace(creatives[1], status="rejected")])
    return shop


def test_a_workspace_offers_what_is_approved_and_knows_the_product(tmp_path: Path) -> None:
    shop = workspace_of(tmp_path)
    altered = scene(0).copy()
    altered[80:140, 100:180] = 255 - altered[80:140, 100:180]
    found = inspect_delivered(written(tmp_path / "download.jpg", altered), [shop.path])
    assert found.match.creative_id == "A-0"
    assert found.comparison is not None
    assert found.comparison.changes == ("product",)
    rejected = inspect_delivered(written(tmp_path / "rejected.jpg", scene(1)), [shop.path])
    assert not rejected.approved, "that creative was rejected"


def test_nothing_to_compare_with_and_what_is_no_picture_are_one_line(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/manifest.json").write_text('{"renditions": []}', encoding="utf-8")
    with pytest.raises(ImageError, match="no approved picture there"):
        inspect_delivered(files[0], [tmp_path / "exports"])
    page = tmp_path / "page.html"
    page.write_text("<html>", encoding="utf-8")
    done = clickscape("inspect", "--delivered", str(page), *map(str, files))
    assert (done.code, done.err.count("\n")) == (2, 1)
    done = clickscape("inspect", "--delivered", str(files[0]), str(tmp_path / "gone.jpg"))
    assert (done.code, done.err.count("\n")) == (2, 1)
