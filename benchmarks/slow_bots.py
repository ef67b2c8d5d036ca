"""Are slow bots found by their clicks, and what do the clicks say once they are gone?

Small logs of drawn worlds, with and without `bot_false_alarms`; the bots are known here by the simulator's user keys.
Prints Markdown, appends one JSON row to results/slow_bots.jsonl, and writes the table into a page between its markers.

    python benchmarks/slow_bots.py --first 1000 --worlds 16 --page docs/experiments/clicks.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from _results import append_row, write_part
from clickscape.catalog import sample
from clickscape.clicks import ctr, logs
from clickscape.clicks.clickers import improbable_clickers
from clickscape.config import ClicksConfig
from clickscape.simulator import drawn_traffic, writer
from clickscape.simulator.family import draw_world
from clickscape.types import Creative

BOTS = {f"{user:016x}" for user in range(3)}
SIDES = {"all users": ClicksConfig(bot_false_alarms=0), "without improbable clickers": ClicksConfig()}
NOW = datetime(2027, 1, 1, tzinfo=UTC)
_COLUMNS = ("event_id", "ts", "kind", "decision_id", "creative_id", "product_id", "placement", "position", "user_key")


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1_000, help="number of the first world")
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument("--products", type=int, default=24)
    parser.add_argument("--creatives", type=int, default=4, help="of a product")
    parser.add_argument("--impressions", type=int, default=1_000, help="median of a creative")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    size = {name: getattr(asked, name) for name in ("products", "creatives", "impressions")}
    rows = []
    for number in range(asked.first, asked.first + asked.worlds):
        rows.append(_world(number, **size))
        print(rows[-1], flush=True)
    text = _table(rows, size)
    print(text)
    append_row({"first": asked.first, **size, "worlds": rows}, by="slow_bots")
    if asked.page:
        write_part(asked.page, text, by="slow_bots")


def _world(number: int, *, products: int, creatives: int, impressions: int) -> dict[str, object]:
    """Users found in one world's log, and by side how its CTRs and examinations agree with the truth."""
    world, rng = draw_world(number), np.random.default_rng(number)
    catalog = sample.products()
    chosen = [catalog[place] for place in rng.choice(len(catalog), products, replace=False)]
    shown = [(product, f"{product.product_id}-c{place}") for product in chosen for place in range(creatives)]
    ads = [Creative(key, product.product_id, "", "", {}, "studio", "writer", 0) for product, key in shown]
    log_ctr = np.array(
        [world.segment_log_ctrs(product, writer.write(product, rng)[1], image_key=key) for product, key in shown]
    )
    days = drawn_traffic.traffic_by_day(world, ads, log_ctr, rng=rng, median_impressions=impressions)
    tables = [table.select(_COLUMNS).unify_dictionaries() for table in drawn_traffic.events(world, days, rng=rng)]
    whole = pa.concat_tables([pa.table([_plain(column) for column in t.columns], t.column_names) for t in tables])
    connection = logs.connect(threads=1)
    events = connection.create_table("events", whole)
    found = set(improbable_clickers(events, false_alarms=0.01).to_pyarrow()["user_key"].to_pylist())
    users = set(pc.unique(whole["user_key"]).to_pylist())
    known = pa.table({"creative_id": [ad.creative_id for ad in ads], "product_id": [ad.product_id for ad in ads]})
    truth = dict(
        zip(known["creative_id"].to_pylist(), np.log(np.exp(log_ctr) @ [*world.segments.values()]), strict=True)
    )
    sides = {}
    for side, config in SIDES.items():
        log = logs.read(events, creatives=known, config=config, by=("day",), connection=connection, now=NOW)
        estimates, model = ctr.estimate_ctr(log.counts, config=config)
        look = np.array(world.structure.examination)[[place - 1 for place in model.examination.positions]]
        away = np.abs(np.log(model.examination.probability) - np.log(look / look[0]))[1:]
        sides[side] = {
            **_agreement(estimates, truth),
            "examination_error": float(away.max()),
            "examination_covered": float(np.mean(away <= 1.96 * np.array(model.examination.log_se)[1:])),
        }
    return {
        "world": number,
        "bots": len(BOTS & users),
        "found": len(found & BOTS),
        "people": len(users - BOTS),
        "lost": len(found - BOTS),
        "sides": sides,
    }


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _agreement(estimates: pa.Table, truth: dict[str, float]) -> dict[str, float]:
    """Correlation and slope of clicks per expected examination (log) on the true log CTR, within products."""
    product = np.unique(estimates["product_id"].to_pylist(), return_inverse=True)[1]

    def within(values: np.ndarray) -> np.ndarray:
        return values - (np.bincount(product, values) / np.bincount(product))[product]

    true = within(np.array([truth[name] for name in estimates["creative_id"].to_pylist()]))
    rate = (estimates["clicks"].to_numpy() + 0.5) / estimates["examinations"].to_numpy()
    seen = within(np.log(rate))
    return {"correlation": float(np.corrcoef(true, seen)[0, 1]), "slope": float((true @ seen) / (true @ true))}


def _table(rows: Sequence[dict], size: dict[str, int]) -> str:
    lines = [
        f"Worlds {rows[0]['world']:,} to {rows[-1]['world']:,}, {size['products']} products × {size['creatives']}",
        f"creatives, {size['impressions']:,} impressions (median); medians over worlds, in brackets least and most.",
        "",
        "| worlds | who counts | correlation | slope | largest log error of an examination | intervals that cover |",
        "| --- " * 6 + "|",
    ]
    for name, some in (("with bots", True), ("without bots", False)):
        chosen = [row for row in rows if bool(row["bots"]) is some]
        for side in SIDES if chosen else ():
            figures = [
                np.array([row["sides"][side][key] for row in chosen])
                for key in ("correlation", "slope", "examination_error", "examination_covered")
            ]
            lines.append(f"| {len(chosen)} {name} | {side} | {' | '.join(map(_cell, figures))} |")
    bots, found, people, lost = (sum(row[key] for row in rows) for key in ("bots", "found", "people", "lost"))
    alone = [row for row in rows if not row["bots"]]
    without = f"{sum(row['lost'] for row in alone)} of {sum(row['people'] for row in alone):,}"
    lines += ["", f"Found: {found} of {bots} bots. Taken for bots: {lost} of {people:,} people."]
    lines.append(f"In the {len(alone)} worlds without bots: {without}.")
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} [{values.min():.2f}, {values.max():.2f}]"


if __name__ == "__main__":
    main()
