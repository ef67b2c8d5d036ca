"""What does a catalog cost: here, in processes, on Ray?  python benchmarks/scale.py --page docs/experiments/scale.md

Ingests catalogs of so many products, whose pictures are small: one after the other here, in two processes, and on a Ray
cluster of this machine with one and two workers; the cut-outs must be the same files. CPU-seconds are those of all
processes, Ray's own included. Then takes photographs through every stage, here, for two numbers of products: the slope
is what one costs. Prints tables and appends JSON rows to benchmarks/results/scale.jsonl. TMPDIR=/dev/shm keeps a busy
disk out of the wall time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from _process_tree import measure
from _results import RESULTS, Row, append_row, write_part

SIDES = {
    "in process": ("process", 1),
    "2 processes": ("process", 2),
    "Ray, 1 worker": ("ray", 1),
    "Ray, 2 workers": ("ray", 2),
}
ITEM = 100.0
"""CPU-ms of the item that the overhead is held against."""
_OBJECTS = ("coffee_mug", "soccer_ball", "camera", "doughnut", "running_shoe", "lipstick", "hammer", "wine_bottle")


def _ingest(count: int, engine: str, workers: int) -> Row:
    """Ingest so many products in this process and its workers; the digest is that of all cut-outs."""
    from clickscape.stages.ingest import ingest
    from clickscape.stages.progress import run
    from clickscape.workspace import Workspace

    with tempfile.TemporaryDirectory() as folder:
        shop = Workspace.create(Path(folder) / "shop")
        shop.settings_path.write_text(f'[compute]\nengine = "{engine}"\n', encoding="utf-8")
        feed = _pictures(Path(folder), count)
        before, start, wall = _resident_mib(), time.process_time(), time.perf_counter()
        made = run(ingest(shop, feed, workers=workers))
        row = {
            "items": len(made.products),
            "before_cpu": round(start, 2),
            "before_mib": round(before),
            "wall_seconds": round(time.perf_counter() - wall, 1),
        }
        digest = hashlib.sha256()
        for path in sorted((shop.catalog / "cutouts").iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return {**row, "digest": digest.hexdigest()[:16]}


def _pictures(folder: Path, count: int) -> Path:
    """A feed of cut-outs with transparency, 96 px high or wide, no two of which are the same file."""
    from clickscape.catalog import sample

    (folder / "pictures").mkdir()
    cut = [sample.cutout(f"{name}-navy", 96) for name in _OBJECTS]
    with (folder / "feed.jsonl").open("w", encoding="utf-8") as feed:
        for number in range(count):
            pixels = cut[number % len(cut)].copy()
            pixels[0, 0] = (number % 256, number // 256 % 256, number // 65536, 0)
            Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png", compress_level=1)
            row = {"id": f"p{number:07d}", "title": f"Product No. {number}", "image": f"pictures/{number}.png"}
            feed.write(json.dumps(row) + "\n")
    return folder / "feed.jsonl"


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


STAGES = {
    "cut-outs": "`ingest`, photos of 1,000 px on white",
    "bare": "`generate` without a reward model, 2 ads of 768 px",
    "generate": "`generate` with one, 4 descriptions scored, 2 ads",
    "score": "`score --jsonl`, 2 pictures",
    "export": "`export` of 2 ads to meta-feed",
}


def _cost(count: int) -> Row:
    """CPU-seconds of every stage in this process, for the first `count` products of the sample catalog."""
    from clickscape.catalog import sample
    from clickscape.config import ClicksConfig, RewardConfig, SimulateConfig
    from clickscape.stages.clicks import clicks
    from clickscape.stages.export import export
    from clickscape.stages.generate import generate
    from clickscape.stages.ingest import ingest
    from clickscape.stages.progress import run
    from clickscape.stages.reward import reward
    from clickscape.stages.score import score_lines
    from clickscape.stages.simulate import simulate
    from clickscape.workspace import Workspace

    row: Row = {"products": count}

    def timed(name: str, stage: Any) -> Any:
        start = time.process_time()
        result = run(stage) if hasattr(stage, "send") and name != "score" else list(stage)
        row[name] = round(time.process_time() - start, 2)
        return result

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        chosen = [one for number, one in enumerate(sample.products()) if number % 12 == 1][:: 110 // count][:count]
        feed = _photos(place, [one.product_id for one in chosen])
        shop = Workspace.create(place / "shop")
        timed("cut-outs", ingest(shop, feed))
        how: Any = {"workspace": shop.path, "catalog": None}
        timed("bare", generate(**how, out=place / "bare", keep_doubtful=True))
        run(simulate(shop, SimulateConfig(creatives_per_product=4, size=96)))
        run(clicks(shop, ClicksConfig()))
        run(reward(shop, RewardConfig()))
        timed("generate", generate(**how, out=place / "ads", keep_doubtful=True))
        ads = [
            json.loads(line) for line in (place / "ads" / "creatives.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        asked = [{"product_id": ad["product_id"], "images": [str(place / "ads" / ad["image"])] * 2} for ad in ads[::2]]
        lines = io.BytesIO("".join(json.dumps(line) + "\n" for line in asked).encode())
        row["scored"] = len(timed("score", score_lines(shop, lines)))
        chosen_ads = {ad["creative_id"] for ad in ads}
        exports = export(shop, placements=["meta-feed"], out=place / "exports", only=chosen_ads)
        row["exported"] = timed("export", exports).files
        made = [*(place / "ads").rglob("*"), *(shop.path / "creatives").rglob("*"), *(place / "exports").rglob("*")]
        row["bytes"] = sum(path.stat().st_size for path in made if path.is_file())
    return row


def _photos(folder: Path, product_ids: Sequence[str]) -> Path:
    """A feed of photographs: each product in the middle of 1,000 × 1,000 white pixels, as JPEG."""
    from clickscape.catalog import sample

    (folder / "photos").mkdir()
    known = {one.product_id: one for one in sample.products()}
    rows = []
    for name in product_ids:
        cut = Image.fromarray(sample.cutout(name, 640))
        photo = Image.new("RGB", (1_000, 1_000), (250, 250, 250))
        photo.paste(cut, ((1_000 - cut.width) // 2, (1_000 - cut.height) // 2), cut)
        photo.save(folder / "photos" / f"{name}.jpg", quality=92)
        product = known[name]
        rows.append(
            {"id": name, "title": product.title, "category": list(product.category), "image": f"photos/{name}.jpg"}
        )
    feed = folder / "feed.jsonl"
    feed.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return feed


def _child(arguments: Sequence[str]) -> Row:
    """Run this file with the arguments in a process of its own; returns its row with what all its processes used."""
    used = measure([sys.executable, __file__, *arguments])
    row: Row = json.loads(used.output.splitlines()[-1])
    return {
        **row,
        "cpu_seconds": round(used.cpu_seconds - row.get("before_cpu", 0.0), 2),
        "command_mib": round(used.peak[used.command]),
        "worker_mib": round(used.worker_mib),
    }


def engines(counts: Sequence[int], sides: Sequence[str]) -> list[Row]:
    """Measure every side at every number of products; SystemExit where files differ."""
    rows: list[Row] = []
    for count in counts:
        for side in sides:
            engine, workers = SIDES[side]
            row = {"side": side, "products": count, **_child(["--ingest", str(count), engine, str(workers)])}
            first = next((one for one in rows if one["products"] == count), row)
            if row["digest"] != first["digest"]:
                raise SystemExit(f"{side}: other files than {first['side']}")
            row["items_per_cpu_second"] = round(row["items"] / row["cpu_seconds"], 1)
            row["more_ms"] = round(1e3 * (row["cpu_seconds"] - first["cpu_seconds"]) / row["items"], 2)
            rows.append(row)
            append_row(row, by="scale")
            print(json.dumps(row), flush=True)
    return rows


def tables(rows: Sequence[Row]) -> str:
    """Return the page's tables: what workers cost, what each stage costs, and what a million products would."""
    exported = {(row["side"], row["products"]): row for row in rows if row["side"] in SIDES}
    few, many = min(count for _, count in exported), max(count for _, count in exported)
    columns = (
        "side", f"items per CPU-second, {few:,}", f"{many:,}",
        f"more than in process, ms an item, {few:,}", f"{many:,}",
        "without the start", f"at most, of an item of {ITEM:.0f} ms", f"command, MiB, {few:,}", f"{many:,}",
        f"largest other process, MiB, {few:,}", f"{many:,}",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    here = [exported["in process", count] for count in (few, many)]
    for side in SIDES:
        pair = [exported[side, count] for count in (few, many)]
        more = [
            1e3 * (row["cpu_seconds"] - first["cpu_seconds"]) / row["items"]
            for row, first in zip(pair, here, strict=True)
        ]
        slope = (more[1] * many - more[0] * few) / (many - few)
        cells = [f"{row['items_per_cpu_second']:.1f}" for row in pair]
        if side != "in process":
            cells += [*(f"{value:.1f}" for value in more), f"{slope:.1f}", f"{max(more) / ITEM:.1%}"]
        else:
            cells += [""] * 4
        cells += [f"{row[name]:,}" if row[name] else "" for name in ("command_mib", "worker_mib") for row in pair]
        lines.append(f"| {side} | {' | '.join(cells)} |")
    small, large = sorted((row for row in rows if row["side"] == "stages"), key=lambda row: row["products"])[-2:]
    apart = large["products"] - small["products"]
    lines += [
        "",
        "| stage | CPU-ms a product | a million products, CPU-hours | on 100 cores, hours |",
        "| --- " * 4 + "|",
    ]
    total = 0.0
    for name, words in STAGES.items():
        cost = (large[name] - small[name]) / apart
        total += 0.0 if name == "bare" else cost
        lines.append(f"| {words} | {1e3 * cost:,.0f} | {cost / 3.6e-3:,.0f} | {cost / 0.36:,.1f} |")
    lines.append(
        f"| together, with a reward model | {1e3 * total:,.0f} | {total / 3.6e-3:,.0f} | {total / 0.36:,.1f} |"
    )
    grown = (here[1]["command_mib"] - here[0]["command_mib"]) / (many - few) * 1024
    kept = (large["bytes"] - small["bytes"]) / apart
    lines += ["", f"Memory of the command: {grown:.1f} KiB a product. Files kept: {kept / 1e6:.2f} MB a product."]
    return "\n".join([*lines, "", *_events()])


def _events() -> list[str]:
    """What benchmarks/clicks.py measured last, at its smallest and largest log, and what a billion events cost."""
    rows = [json.loads(line) for line in (RESULTS / "clicks.jsonl").read_text(encoding="utf-8").splitlines()]
    compared = {row["events"]: row["sides"]["clickscape"] for row in rows if "clickscape" in row.get("sides", {})}
    few, many = min(compared), max(compared)
    cost = (compared[many]["cpu_seconds"] - compared[few]["cpu_seconds"]) / (many - few)
    lines = ["| events | CPU-seconds | peak, MiB |", "| --- " * 3 + "|"]
    lines += [f"| {n:,} | {compared[n]['cpu_seconds']:.1f} | {compared[n]['peak_mib']:,} |" for n in (few, many)]
    return [*lines, f"| a billion, by the slope | {1e9 * cost:,.0f} | not by a slope: the memory limit |"]


def main() -> None:
    """Measure, print, keep the rows, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=[*SIDES])
    parser.add_argument("--cost", type=int, nargs=2, default=[6, 12], help="products, two numbers: the slope counts")
    parser.add_argument("--page", type=Path, help="page whose tables are written from all rows")
    parser.add_argument("--ingest", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--stages", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if asked.ingest:
        print(json.dumps(_ingest(int(asked.ingest[0]), asked.ingest[1], int(asked.ingest[2]))))
        return
    if asked.stages:
        print(json.dumps(_cost(asked.stages)))
        return
    for count in filter(None, asked.cost):
        row = {"side": "stages", **_child(["--stages", str(count)])}
        append_row(row, by="scale")
        print(json.dumps(row), flush=True)
    if asked.sides:
        engines(asked.products, asked.sides)
    if asked.page:
        write_part(asked.page, tables(_newest()), by="scale")


def _newest() -> list[Row]:
    """The newest row of each side and number of products."""
    lines = (RESULTS / "scale.jsonl").read_text(encoding="utf-8").splitlines()
    return list({(row["side"], row["products"]): row for row in map(json.loads, lines)}.values())


if __name__ == "__main__":
    main()
