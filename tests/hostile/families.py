"""Families of odd inputs: each makes one case in an empty folder from a random generator and the shop of `shop.build`.

Where an input has one clear meaning, only the right result counts; where it is damaged, one line and exit code 2 too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from PIL import Image
from tests.hostile import damage, forms
from tests.hostile.shop import IDS
from tests.hostile.trial import Case

VICTIM = "outside/victim.txt"
_READERS = (
    ["review", "shop"],
    ["review", "shop", "--approve-all"],
    ["clicks", "shop"],
    ["clicks", "shop", "--explain"],
    ["report", "shop"],
    ["score", "shop", "--product", IDS[0], "pictures/first.webp", "pictures/second.webp"],
    ["explain", "shop"],
    ["refresh", "shop"],
    ["ingest", "shop", "catalog.jsonl", "--workers", "1"],
    ["export", "shop", "--placement", "google-display-300x50", "--workers", "1"],
)


def feeds(folder: Path, rng: Random, base: Path) -> Case:
    """The same four products in an export of another shape; half of them damaged as well."""
    shutil.copytree(base / "pictures", folder / "pictures")
    feed, products = forms.write_feed(folder, rng)
    options = ["--skip-bad-rows"] if rng.random() < 0.5 else []
    arguments = ["ingest", "shop", feed.name, "--workers", "1", *options]
    _new_workspace(folder)
    if rng.random() < 0.5:
        feed.write_bytes(damage.damage_bytes(feed.read_bytes(), rng))
        return Case(arguments)
    return Case(arguments, wrong=lambda: forms.wrong_products(folder / "shop", products), may_refuse=False)


def logs(folder: Path, rng: Random, base: Path) -> Case:
    """The same events in files of another layout; a third of them damaged as well."""
    _copy_shop(base, folder)
    shutil.rmtree(folder / "shop/clicks")
    arguments, files, expected = forms.write_log(folder, rng)
    if rng.random() < 0.3:
        file = rng.choice(files)
        damage.damage_file(file, rng, victim=_victim(folder))
        return Case(arguments)
    return Case(arguments, wrong=lambda: forms.wrong_counts(folder / "shop", expected), may_refuse=False)


def settings(folder: Path, rng: Random, base: Path) -> Case:
    """clickscape.toml with the defaults uncommented, then damaged, or with a value of another kind."""
    _copy_shop(base, folder)
    path = folder / "shop/clickscape.toml"
    lines = path.read_text("utf-8").splitlines()
    lines = [
        line.removeprefix("# ") if " = " in line and ";" not in line and "null" not in line else line for line in lines
    ]
    places = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    if rng.random() < 0.7:
        place = rng.choice(places)
        value = rng.choice(
            ("-1", "1e999", "nan", "1" + "0" * 23, '"x"', "[" * 3_000, "{}", "[[]]", "true", '"\\u0000"', "''")
        )
        lines[place] = f"{lines[place].split(' = ')[0]} = {value}"
    text = "\n".join(lines).encode()
    path.write_bytes(damage.damage_bytes(text, rng) if rng.random() < 0.5 else text)
    return Case([*rng.choice(_READERS[:4])])


def records(folder: Path, rng: Random, base: Path) -> Case:
    """One file of a finished workspace or export is damaged, or another kind of entry; any command may meet it."""
    _copy_shop(base, folder)
    shutil.copytree(base / "exports", folder / "exports")
    shutil.copy(base / "catalog.jsonl", folder / "catalog.jsonl")
    for name in ("pictures", "cutouts"):
        shutil.copytree(base / name, folder / name)
    kinds: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("shop/**/*"), *folder.glob("exports/.renditions/*/*"), *folder.glob("exports/*")]):
        if path.is_file():
            kinds.setdefault(f"{path.parent.name if path.suffix in ('.webp', '.png') else ''}{path.suffix}", []).append(
                path
            )
    path = rng.choice(kinds[rng.choice(sorted(kinds))])
    damage.damage_file(path, rng, victim=_victim(folder))
    return Case([*rng.choice(_READERS)])


def images(folder: Path, rng: Random, base: Path) -> Case:
    """A product photo in any format, damaged, with a header that lies, or very large for its bytes."""
    shutil.copytree(base / "pictures", folder / "pictures")
    suffix = rng.choice(("png", "jpg", "webp", "gif", "tiff", "bmp"))
    path = folder / f"photo.{suffix}"
    if rng.random() < 0.1:
        Image.new("RGB", (rng.choice((1, 3, 7_900)), rng.choice((1, 7_900))), (250, 250, 250)).save(path)
    else:
        with Image.open(folder / "pictures/first.webp") as picture:
            picture.convert("RGB").save(path)
        path.write_bytes(damage.damage_bytes(path.read_bytes(), rng))
    row = {"id": "a", "title": "A lamp", "category": ["Home"], "image": path.name}
    (folder / "feed.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    _new_workspace(folder)
    return Case(["ingest", "shop", "feed.jsonl", "--workers", "1", *rng.choice(([], ["--skip-bad-rows"]))])


def own_ads(folder: Path, rng: Random, base: Path) -> Case:
    """Ads of a shop's own as CSV or JSON Lines; half of the tables damaged, and one picture of a third."""
    _copy_shop(base, folder)
    shutil.rmtree(folder / "shop/clicks")
    shutil.copytree(base / "pictures", folder / "pictures")
    rows = [
        {"product_id": IDS[0], "image": f"pictures/{name}.webp", "creative_id": f"own {name}",
         "description": "a table, soft light", "status": "live", "impressions": "1200", "clicks": "31"}
        for name in ("first", "second")
    ]  # fmt: skip
    table = folder / rng.choice(("ads.csv", "ads.jsonl"))
    lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
    text = "\n".join(map(json.dumps, rows) if table.suffix == ".jsonl" else lines)
    arguments = ["ingest", "shop", "--creatives", table.name, "--workers", "1", *rng.choice(([], ["--skip-bad-rows"]))]
    is_damaged, is_broken = rng.random() < 0.5, rng.random() < 0.3
    table.write_bytes(damage.damage_bytes(text.encode(), rng) if is_damaged else text.encode())
    if is_broken:
        damage.damage_file(folder / "pictures/first.webp", rng, victim=_victim(folder))
    if is_damaged or is_broken:
        return Case(arguments)
    return Case(arguments, wrong=lambda: forms.wrong_ads(folder / "shop"), may_refuse=False)


def checkpoints(folder: Path, rng: Random, base: Path) -> Case:
    """A writer's checkpoint of which one file is damaged or gone, or whose configuration asks for something odd."""
    shutil.copytree(base / "writer", folder / "writer")
    shutil.copytree(base / "pictures", folder / "pictures")
    row = {"id": "a", "title": "A lamp", "category": ["Home"], "image": "pictures/product.png"}
    (folder / "feed.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    files = sorted(path for path in (folder / "writer").iterdir() if path.suffix != ".md")
    damage.damage_file(rng.choice(files), rng, victim=_victim(folder))
    return Case(
        ["generate", "--catalog", "feed.jsonl", "--writer", "writer", "--size", "64", "--keep", "1", "--workers", "1"]
    )


FAMILIES: dict[str, Callable[[Path, Random, Path], Case]] = {
    "feeds": feeds,
    "click logs": logs,
    "settings": settings,
    "workspace files": records,
    "images": images,
    "own ads": own_ads,
    "checkpoints": checkpoints,
}


def _new_workspace(folder: Path) -> None:
    from clickscape.workspace import Workspace

    Workspace.create(folder / "shop")


def _copy_shop(base: Path, folder: Path) -> None:
    shutil.copytree(base / "shop", folder / "shop")


def _victim(folder: Path) -> Path:
    return folder.parent / VICTIM
