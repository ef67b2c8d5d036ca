"""Stage `evaluate-policy` on a small simulated shop: every policy that it knows, and every refusal in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.factory import clickscape

from clickscape.errors import ExperimentError
from clickscape.render.scene import LIGHTS, SETTINGS
from clickscape.stages.evaluate_policy import PolicyReport, evaluate_policies
from clickscape.stages.progress import run
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

PRODUCTS = 9
SCENE = {"setting": "studio", "surface": "oak", "light": "soft", "stand": "podium", "palette": "mint", "props": ["ice"]}


def creative(product: int, place: int, *, light: str, status: str) -> Creative:
    name = f"p{product}-{place}"
    scene = {**SCENE, "light": light, "setting": SETTINGS[0]}
    return Creative(name, f"p{product}", "", "", scene, "studio", "tiny", 0, status=status)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Nine products with three live creatives and a draft; the second light is clicked half as often again."""
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path_factory.mktemp("shops") / "shop")
    made.write_products([Product(f"p{number}", f"Thing {number}", ("Toys",)) for number in range(PRODUCTS)])
    lights = [[LIGHTS[(number + place) % 3] for place in range(3)] for number in range(PRODUCTS)]
    live = [creative(n, k, light=lights[n][k], status="live") for n in range(PRODUCTS) for k in range(3)]
    made.write_creatives(live + [creative(n, 3, light=LIGHTS[1], status="draft") for n in range(PRODUCTS)])
    chances = np.array([0.6, 0.3, 0.1])
    rows = 9_000
    product, place = rng.integers(PRODUCTS, size=rows), rng.choice(3, size=rows, p=chances)
    rate = np.where(np.array(lights)[product, place] == LIGHTS[1], 0.3, 0.2)
    clicked = np.flatnonzero(rng.random(rows) < rate)
    shown = {
        "event_id": [f"e{number}" for number in range(rows)],
        "kind": ["impression"] * rows,
        "decision_id": [f"d{number}" for number in range(rows)],
        "creative_id": [f"p{n}-{k}" for n, k in zip(product, place, strict=True)],
        "product_id": [f"p{n}" for n in product],
        "user_key": [f"u{number % 900}" for number in range(rows)],
        "candidates": [[f"p{n}-{k}" for k in range(3)] for n in product],
        "propensities": [chances.tolist()] * rows,
    }
    events = pa.table(shown)
    clicks = events.take(pa.array(clicked))
    clicks = clicks.set_column(0, "event_id", pa.array([f"c{n}" for n in clicked]))
    clicks = clicks.set_column(1, "kind", pa.array(["click"] * len(clicked)))
    made.events_folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables([events, clicks]), made.events_folder / "all.parquet")
    return made


def report(shop: Workspace, *policies: str, **other: object) -> PolicyReport:
    return run(evaluate_policies(shop, policies, **other))  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_policy_is_compared_with_what_was_logged(shop: Workspace, tmp_path: Path) -> None:
    """Known: 0.2 and 0.3 by light. Even shares earn 0.233; the second light alone 0.3; and so do the unseen drafts."""
    second = {f"p{n}-{(1 - n) % 3}": 1.0 for n in range(PRODUCTS)}
    (tmp_path / "second.json").write_text(json.dumps(second), encoding="utf-8")
    (tmp_path / "table.csv").write_text(
        "creative_id,probability\n" + "".join(f"{name},{share}\n" for name, share in second.items()), encoding="utf-8"
    )
    found = report(shop, "uniform", str(tmp_path / "second.json"), str(tmp_path / "table.csv"), "draft")
    known = {"uniform": 0.7 / 3, "second": 0.3, "table": 0.3, "draft": 0.3}
    assert [value.policy for value in found.values] == list(known)
    for value in found.values:
        assert value.ctr is not None, value.reason
        sigma = (value.ctr.high - value.ctr.low) / 3.92
        assert value.ctr.value == pytest.approx(known[value.policy], abs=4 * sigma), value
        assert value.decisions == 9_000
    assert found.shares == (1.0, 1.0, 1.0, 1.0)
    assert found.values[1].ctr == found.values[2].ctr, "the same shares, written in two ways"
    assert [value.estimator for value in found.values] == ["dr", "dr", "dr", "mips"]
    assert found.new["draft"].support["light"] == 1.0
    lines = found.lines()
    assert lines[0].startswith("policy         estimator")
    assert any("draft: judged by scenes; share of its traffic whose element the log shows: setting 100%" in line
               for line in lines)  # fmt: skip


@pytest.mark.slow
def test_the_command_prints_a_table_or_json(shop: Workspace) -> None:
    done = clickscape("experiment", "evaluate-policy", str(shop.path), "--policy", "uniform", "--json")
    assert done.code == 0, done.err
    (value,) = json.loads(done.out)["policies"]
    assert (value["policy"], value["estimator"], value["without_overlap"]) == ("uniform", "dr", 0.0)
    done = clickscape("experiment", "evaluate-policy", str(shop.path))
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:4]] == ["(logged)", "uniform", "draft"]


@pytest.mark.slow
def test_what_cannot_be_asked_is_refused_in_one_line(shop: Workspace, tmp_path: Path) -> None:
    for name, message in (
        ("magic", "no policy 'magic': expected uniform, best, draft, approved, live, or a file of shares"),
        ("approved", "has no approved creative"),
    ):
        with pytest.raises(ExperimentError, match=message):
            report(shop, name)
    table = tmp_path / "odd.csv"
    for text, message in (
        ("p0-0,1.5", r"creative 'p0-0' has the probability '1\.5', expected each once, with a number from 0 to 1"),
        ("p0-0,0.5\np0-0,0.5", "creative 'p0-0' is there twice"),
        ("nobody,1", "creative 'nobody' is neither in the log nor in the workspace"),
        ("p0-0,0.5", r"the shares of product 'p0' sum to 0\.5"),
    ):
        table.write_text(f"creative_id,probability\n{text}\n", encoding="utf-8")
        with pytest.raises(ExperimentError, match=message):
            report(shop, str(table))
    table.write_text("creative_id,probability\np0-3,1\n", encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"no policy can be measured.*'odd' is not measurable: 1 products"):
        report(shop, str(table))
