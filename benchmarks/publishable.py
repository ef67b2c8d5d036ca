"""How many ads could be published as they are?  Draws ads of two versions for blind grading, and reads the grades.

    python benchmarks/publishable.py draw CATALOG FOLDER --against REVISION
    python benchmarks/publishable.py read FOLDER

`draw` runs `clickscape generate` on the catalog with this version and with the other, draws again what this version's
gate refused, and copies all pictures in an order drawn by chance to FOLDER/blind/0001.webp …; FOLDER/key.json says what
each one is. Graders write
FOLDER/grades-NAME.json, a list of {"picture": "0001", "publishable": true, "defects": ["cut-out", …]}, by the rubric of
docs/concepts/publishable.md. `read` prints the table, and adds a row to benchmarks/results/. Photos and grades stay
outside of the repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _results import append_row
from _revision import ROOT, unpack
from clickscape import render
from clickscape.config import GenerateConfig
from clickscape.stages.load_feed import load_cut_out
from clickscape.stages.progress import run
from clickscape.stats.bootstrap import ClusterBootstrap

SIDES = ("before", "now")
REFUSED = "refused"
"""Pictures that this version's fidelity gate refused, one of each description."""

DEFECTS = (
    "cut-out", "floating", "pose", "perspective", "scene", "props", "artificial", "light", "scale", "clutter",
)  # fmt: skip
QUALITY = 92  # of the blind copies, so that nobody waits for 180 PNG files


@dataclass(frozen=True, slots=True)
class Picture:
    """An ad: which version drew it, of which product, and whether its photo came with an alpha."""

    side: str
    product: str
    file: str
    alpha: bool


@dataclass(frozen=True, slots=True)
class Grade:
    """What one grader said of one picture."""

    picture: Picture
    publishable: bool
    defects: frozenset[str]


def draw(catalog: Path, folder: Path, *, against: str, keep: int, seed: int) -> None:
    """Draw `keep` ads per product with both versions, and the blind copies of all of them."""
    with tempfile.TemporaryDirectory() as other:
        for side, source in zip(SIDES, (unpack(against, Path(other)), ROOT / "src"), strict=True):
            if not (folder / side / "creatives.jsonl").exists():
                _generate(source, catalog, folder / side, keep=keep)
    _draw_refused(catalog, folder)
    transparent = _transparent(catalog)
    pictures = [
        Picture(side, record["product_id"], f"{side}/{record['image']}", transparent[record["product_id"]])
        for side in (*SIDES, REFUSED)
        for record in _records(folder / side / "creatives.jsonl")
    ]
    (folder / "blind").mkdir(exist_ok=True)
    key = {}
    for number, which in enumerate(np.random.default_rng(seed).permutation(len(pictures)), 1):
        picture = pictures[which]
        key[f"{number:04d}"] = {name: getattr(picture, name) for name in ("side", "product", "file", "alpha")}
        with Image.open(folder / picture.file) as image:
            image.convert("RGB").save(folder / "blind" / f"{number:04d}.webp", quality=QUALITY)
    (folder / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
    print(f"{len(pictures)} pictures in {folder / 'blind'}")


def _generate(source: Path, catalog: Path, out: Path, *, keep: int) -> None:
    command = [sys.executable, "-m", "clickscape", "generate", "--catalog", str(catalog), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([*command, "--keep", str(keep), "--skip-bad-rows"], env=environment, check=True)


def _draw_refused(catalog: Path, folder: Path) -> None:
    """Draw the first refused picture of every description of this version that has one."""
    out, now = folder / REFUSED, folder / SIDES[1]
    out.mkdir(exist_ok=True)
    cut = run(load_cut_out(catalog, cache=now / "remote", folder=now / "cutouts"), on_progress=lambda _: None)
    products = {product.product_id: product for product in cut.products}
    renderers = {name: render.load(name) for name in ("studio", "photo")}
    made = []
    for record in (*_records(now / "creatives.jsonl"), *_records(now / "left-out.jsonl")):
        for attempt in record["gate"]["rejected"][:1]:
            size, file = (GenerateConfig().size,) * 2, f"{record['creative_id']}.png"
            product, renderer = products[record["product_id"]], renderers[record["renderer"]]
            drawn = renderer.render(product, record["description"], size=size, seed=attempt["seed"])
            Image.fromarray(drawn.image).save(out / file)
            made.append({"product_id": product.product_id, "image": file})
    (out / "creatives.jsonl").write_text("".join(json.dumps(one) + "\n" for one in made), encoding="utf-8")


def _records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def gate(sides: Mapping[str, Sequence[Grade]]) -> str:
    """How often the gate was right: of what it refused, the share that graders would not publish, and its recall."""
    bad = {side: sum(not one.publishable for one in some) for side, some in sides.items()}
    refused, missed = bad[REFUSED], bad[SIDES[1]]
    if not sides[REFUSED]:
        return "The gate refused nothing."
    return (
        f"Of {len(sides[REFUSED])} refused pictures {refused / len(sides[REFUSED]):.0%} could not be published; of "
        f"{refused + missed} such pictures drawn, the gate refused {refused / max(refused + missed, 1):.0%}."
    )


def _transparent(catalog: Path) -> dict[str, bool]:
    """Product → whether its photo has an alpha of its own."""
    found = {}
    with catalog.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            with Image.open(catalog.parent / row["image"]) as image:
                found[row["id"]] = "A" in image.getbands()
    return found


def grades(folder: Path) -> list[Grade]:
    """Read every grader's file; SystemExit for a picture or a defect that does not exist, or none graded."""
    key = {name: Picture(**entry) for name, entry in json.loads((folder / "key.json").read_text("utf-8")).items()}
    found = []
    for file in sorted(folder.glob("grades-*.json")):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            defects = frozenset(entry["defects"])
            if entry["picture"] not in key or defects - set(DEFECTS):
                raise SystemExit(f"{file}: {entry} names an unknown picture or defect")
            found.append(Grade(key[entry["picture"]], entry["publishable"], defects))
    if not found:
        raise SystemExit(f"{folder}: no grades-NAME.json yet. docs/concepts/publishable.md says how to grade")
    return found


def shares(graded: Sequence[Grade]) -> dict[str, str]:
    """Share that can be published of what is named, in percent with its 95 % interval (bootstrap over products)."""
    rows: dict[str, list[Grade]] = {
        "all": list(graded),
        "photos with alpha": [one for one in graded if one.picture.alpha],
        "photographs": [one for one in graded if not one.picture.alpha],
        "no cut-out defect": [one for one in graded if "cut-out" not in one.defects],
    }
    return {name: _share(some) for name, some in rows.items()}


def _share(some: Sequence[Grade]) -> str:
    if not some:
        return "–"
    draws = ClusterBootstrap.draw([one.picture.product for one in some], rng=np.random.default_rng(0))
    estimate = draws.mean(np.array([one.publishable for one in some], dtype=float))
    return f"{estimate.value:.0%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}] of {len(some)}"


def table(sides: Mapping[str, Sequence[Grade]]) -> str:
    """Markdown: both versions side by side, then how many pictures have each defect."""
    lines = ["| | " + " | ".join(sides) + " |", "| --- |" + " --- |" * len(sides)]
    columns = {side: shares(graded) for side, graded in sides.items()}
    lines += [
        f"| {row} | " + " | ".join(columns[side][row] for side in sides) + " |" for row in next(iter(columns.values()))
    ]
    for defect in DEFECTS:
        counts = (sum(defect in one.defects for one in graded) for graded in sides.values())
        lines.append(f"| `{defect}` | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw or read."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = arguments.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="ads of both versions, and their blind copies")
    drawing.add_argument("catalog", type=Path)
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--against", required=True, help="revision of the other side")
    drawing.add_argument("--keep", type=int, default=3, help="ads per product")
    drawing.add_argument("--seed", type=int, default=0, help="of the order")
    reading = commands.add_parser("read", help="the table of what graders wrote")
    reading.add_argument("folder", type=Path)
    asked = arguments.parse_args()
    if asked.command == "draw":
        draw(asked.catalog, asked.folder, against=asked.against, keep=asked.keep, seed=asked.seed)
        return
    graded = grades(asked.folder)
    sides = {side: [one for one in graded if one.picture.side == side] for side in (*SIDES, REFUSED)}
    print(table(sides), gate(sides), sep="\n\n")
    row = {"gate": gate(sides), **{side: shares(some) for side, some in sides.items()}}
    append_row(row, by="publishable")


if __name__ == "__main__":
    main()
