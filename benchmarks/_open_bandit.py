"""The Open Bandit sample as decisions, read out of obp's source distribution as data; nothing is unpacked or run.

Two policies showed items of one shop in three positions: `random`, all with the same probability, and `bts`, a
Thompson sampler that was updated by batches. Of `bts` the log says how likely the shown item was, not how likely the
others were.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from clickscape.experiment.decisions import Decisions
from clickscape.experiment.target_policy import TargetPolicy

CAMPAIGNS = ("all", "men", "women")
POLICIES = ("random", "bts")
_COLUMNS = ["item_id", "position", "click", "propensity_score"]
_MOST_BYTES = 1 << 26  # of one table


@dataclass(frozen=True)
class BanditLog:
    """One policy's traffic of one campaign. shares: (position, item) how often it showed each item."""

    decisions: Decisions
    shares: NDArray[np.float64]

    def policy(self, log: Decisions, *, name: str) -> TargetPolicy:
        """Return this log's policy, on average over its week, on the decisions of another log."""
        items = np.array([int(one) if one.isdigit() else -1 for one in log.creatives])[log.creative]
        positions = log.places[0][log.set_of_entry]
        named = np.where(items >= 0, self.shares[positions, np.maximum(items, 0)], 0.0)
        left = 1 - np.bincount(log.set_of_entry, named)  # goes to "the others" where a log has them
        chance = np.where(items >= 0, named, np.maximum(left, 0)[log.set_of_entry])
        whole = np.bincount(log.set_of_entry, chance)
        return TargetPolicy(name, log.creatives, log.set_of_entry, log.creative, chance / whole[log.set_of_entry])


def read_logs(path: Path) -> dict[tuple[str, str], BanditLog]:
    """Return (policy, campaign) → its log."""
    logs = {}
    with tarfile.open(path, "r:gz") as archive:
        folder = f"{path.name.removesuffix('.tar.gz')}/obp/dataset/obd"
        for policy in POLICIES:
            for campaign in CAMPAIGNS:
                member = archive.getmember(f"{folder}/{policy}/{campaign}/{campaign}.csv")
                stream = archive.extractfile(member)
                assert stream is not None, member.name
                assert member.size < _MOST_BYTES, member.name
                options = csv.ConvertOptions(include_columns=_COLUMNS)
                table = csv.read_csv(pa.BufferReader(stream.read()), convert_options=options)
                logs[policy, campaign] = _log(table, campaign, even=policy == "random")
    return logs


def _log(table: pa.Table, campaign: str, *, even: bool) -> BanditLog:
    item, position, click, chance = (table[name].to_numpy() for name in _COLUMNS)
    items, place = int(item.max()) + 1, position - position.min()
    shares = np.zeros((int(place.max()) + 1, items))
    np.add.at(shares, (place, item), 1.0)
    shares /= shares.sum(axis=1, keepdims=True)
    names = tuple(f"{number:03}" for number in range(items))
    if even:
        sets = len(shares)
        return BanditLog(
            Decisions(
                creatives=names, products=(campaign,), product=np.zeros(sets, np.int64), places=(np.arange(sets),),
                start=np.arange(sets + 1) * items, creative=np.tile(np.arange(items), sets),
                propensity=np.full(sets * items, 1 / items), shown=place * items + item, clicked=click.astype(float),
                ordered=True,
            ),
            np.full(shares.shape, 1 / items),
        )  # fmt: skip
    count = len(item)
    return BanditLog(
        Decisions(
            creatives=(*names, "the others"), products=(campaign,), product=np.zeros(count, np.int64), places=(place,),
            start=2 * np.arange(count + 1), creative=np.stack([item, np.full(count, items)], axis=1).ravel(),
            propensity=np.stack([chance, 1 - chance], axis=1).ravel(), shown=2 * np.arange(count),
            clicked=click.astype(float), ordered=True,
        ),
        shares,
    )  # fmt: skip
