from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.experiment.conftest import KEY

from clickscape.errors import ExperimentError
from clickscape.experiment import definition as definitions
from clickscape.experiment.assign import assign, assign_many, key_id
from clickscape.experiment.definition import ExperimentDefinition

Make = Callable[..., ExperimentDefinition]
UNITS = pa.array([f"user-{number}" for number in range(60_000)])
UNLIKELY = 1e-6
"""A test of chance fails for one key in a million; the key is fixed."""


def counts(variants: pa.DictionaryArray) -> dict[str | None, int]:
    return {one["values"]: one["counts"] for one in variants.cast(pa.string()).value_counts().to_pylist()}


def test_users_are_split_as_the_shares_say(experiment: Make) -> None:
    shares = {"control": 0.5, "new": 0.3, "other": 0.2}
    found = counts(assign_many(UNITS, definition=experiment(shares=shares), key=KEY))
    expected = [share * len(UNITS) for share in shares.values()]
    assert stats.chisquare([found[name] for name in shares], expected).pvalue > UNLIKELY


def test_variants_layers_and_the_holdback_are_independent_of_each_other(experiment: Make) -> None:
    def codes(**values: object) -> np.ndarray:
        found = assign_many(UNITS, definition=experiment(**values), key=KEY)
        return found.indices.fill_null(3).to_numpy()

    variant = codes()
    other_variant = codes(salt="winter")
    in_layer, in_text = (codes(traffic=0.5, layer=layer) == 3 for layer in ("default", "text"))
    held_back = codes(holdback=0.5) == 2
    for one, other in combinations((variant, other_variant, in_layer, in_text, held_back), 2):
        table = np.array([[np.sum((one == a) & (other == b)) for b in (0, 1)] for a in (0, 1)])
        assert table.sum() == len(UNITS)
        assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_more_traffic_moves_nobody_who_is_in(experiment: Make) -> None:
    few, more, all_ = (
        assign_many(UNITS, definition=experiment(traffic=traffic, holdback=0.1), key=KEY).to_pylist()
        for traffic in (0.1, 0.4, 1.0)
    )
    assert 0.08 < sum(name in ("control", "new") for name in few) / len(few) < 0.1
    for small, large in ((few, more), (more, all_)):
        assert all(before in (None, after) for before, after in zip(small, large, strict=True))
    assert None not in all_


def test_another_experiment_in_another_layer_moves_nobody(experiment: Make) -> None:
    """Nothing of one experiment enters the numbers of another: its answer is a function of its own definition."""
    before = assign_many(UNITS, definition=experiment(), key=KEY)
    assign_many(UNITS, definition=experiment(name="text", salt="text", layer="text", traffic=0.3), key=KEY)
    after = assign_many(UNITS, definition=experiment(name="renamed"), key=KEY)
    assert before == after


def test_parts_of_a_layer_share_no_user_and_leave_none(experiment: Make) -> None:
    parts = [
        np.array(assign_many(UNITS, definition=experiment(**part, salt=f"s{part['layer_from']}"), key=KEY).is_valid())
        for part in ({"layer_from": 0.0, "traffic": 0.3}, {"layer_from": 0.3, "traffic": 0.7})
    ]
    assert np.all(parts[0] ^ parts[1])


def test_the_holdback_is_the_same_in_every_experiment_and_grows_without_moving(experiment: Make) -> None:
    def held(**values: object) -> np.ndarray:
        found = assign_many(UNITS, definition=experiment(**values), key=KEY).to_pylist()
        return np.array([name == "holdback" for name in found])

    one = held(holdback=0.1)
    assert stats.binomtest(int(one.sum()), len(one), 0.1).pvalue > UNLIKELY
    assert np.array_equal(one, held(holdback=0.1, salt="winter", layer="text", traffic=0.2))
    assert np.all(held(holdback=0.2)[one])


@settings(max_examples=60, deadline=None)
@given(
    units=st.lists(st.one_of(st.none(), st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable()))),
    shares=st.sampled_from([{"control": 0.5, "new": 0.5}, {"control": 0.2, "new": 0.7, "other": 0.1}]),
    holdback=st.sampled_from([0.0, 0.3]),
    traffic=st.sampled_from([0.4, 1.0]),
)
def test_many_at_once_are_assigned_as_one_by_one(
    experiment: Make, units: list[str | None], shares: dict[str, float], holdback: float, traffic: float
) -> None:
    made = experiment(shares=shares, holdback=holdback, traffic=traffic)
    one_by_one = [unit and assign(unit, definition=made, key=KEY) for unit in units]
    texts = pa.array(units, pa.string())
    for given_as in (texts, texts.dictionary_encode(), pa.chunked_array([texts, texts.slice(0, 0)])):
        assert assign_many(given_as, definition=made, key=KEY).to_pylist() == one_by_one


def test_accents_count_as_the_same_whichever_way_unicode_encodes_them(experiment: Make) -> None:
    assert assign("é", definition=experiment(), key=KEY) == assign("e\u0301", definition=experiment(), key=KEY)
    for number in range(20):
        pair = [f"é{number}", f"e\u0301{number}"]
        assert len(set(assign_many(pair, definition=experiment(), key=KEY).to_pylist())) == 1


def test_a_limit_is_a_whole_number_of_the_hash(experiment: Make) -> None:
    """Who has a number just below a share's limit is in, and at the limit out: found by placing limits at a number."""
    from hashlib import blake2b

    own = blake2b(b"clickscape/experiment/autumn", key=KEY, digest_size=32).digest()
    number = int.from_bytes(blake2b(b"user-1", key=own, digest_size=16).digest()[:8], "big")
    share = number / 2**64
    below, above = np.nextafter(share, 0), np.nextafter(share, 1)
    assert assign("user-1", definition=experiment(shares={"control": below, "new": 1 - below}), key=KEY) == "new"
    assert assign("user-1", definition=experiment(shares={"control": above, "new": 1 - above}), key=KEY) == "control"


def test_another_process_with_another_hash_seed_agrees(experiment: Make, tmp_path: Path) -> None:
    made = experiment(holdback=0.1, traffic=0.5)
    definitions.write(tmp_path / "experiment.json", made)
    code = (
        "import json, pathlib, sys\n"
        "from clickscape.experiment import definition\n"
        "from clickscape.experiment.assign import assign_many\n"
        "made = definition.read(pathlib.Path(sys.argv[1]))\n"
        "units = [f'user-{number}' for number in range(500)]\n"
        "print(json.dumps(assign_many(units, definition=made, key=bytes(range(32))).to_pylist()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "experiment.json")], check=True, text=True,
                          capture_output=True, env={**os.environ, "PYTHONHASHSEED": "77"})  # fmt: skip
    assert json.loads(done.stdout) == assign_many(UNITS[:500], definition=made, key=KEY).to_pylist()


def test_the_wrong_key_is_refused_instead_of_moving_everybody(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match="every unit would move"):
        assign_many(UNITS, definition=experiment(), key=bytes(32))
    with pytest.raises(ExperimentError, match="5 bytes, expected 32"):
        assign("user", definition=experiment(), key=b"short")
    assert key_id(KEY) not in KEY.hex()


def test_a_unit_without_a_key_is_refused_and_an_unknown_one_has_no_variant(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match="a unit without a key"):
        assign_many(["", "user"], definition=experiment(), key=KEY)
    with pytest.raises(ExperimentError, match="a unit without a key"):
        assign("", definition=experiment(), key=KEY)
    assert assign_many([None, "user-1"], definition=experiment(), key=KEY).to_pylist()[0] is None
    with pytest.raises(ExperimentError, match="units are no texts"):
        assign_many(pa.array([{"a": 1}]), definition=experiment(), key=KEY)


def test_the_vectors_of_the_docs_hold(experiment: Make) -> None:
    page = (Path(__file__).parents[2] / "docs/howto/experiment.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (\d\.\d{6}) \| (\w+) \| (\d\.\d{6}) \| (\d\.\d{6}) \|$", page, flags=re.M)
    assert len(rows) >= 6
    made = experiment(name="vectors", salt="vectors", holdback=0.1, layer="default", traffic=0.5,
                      shares={"control": 0.6, "new": 0.4})  # fmt: skip
    from tests.experiment.vectors import place

    for unit, variant_place, variant, layer_place, holdback_place in rows:
        assert (assign(unit, definition=made, key=KEY) or "none") == variant
        assert place(unit, "clickscape/experiment/vectors") == float(variant_place)
        assert place(unit, "clickscape/layer/default") == float(layer_place)
        assert place(unit, "clickscape/holdback") == float(holdback_place)
