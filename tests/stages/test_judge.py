"""A judge beside the reward model: products of its own, watched on by `optimize`, gone when nobody asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.factory import copy_of, rows_of

from clickscape.config import ClicksConfig
from clickscape.errors import ConfigError, ModelError
from clickscape.reward.neighbor_judge import NeighborJudge
from clickscape.stages import split
from clickscape.stages.clicks import clicks, estimates_path, pairs_path, read_log
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import run
from clickscape.stages.reward import load_judge, reward
from clickscape.workspace import Manifest, Workspace

from .conftest import SMALL_OPTIMIZE, SMALL_REWARD

WITH_JUDGE = SMALL_REWARD.model_copy(update={"judge": "neighbors", "judge_share": 0.4})
QUICK = SMALL_OPTIMIZE.model_copy(update={"rounds": 1, "products_per_round": 4})


@pytest.fixture(scope="module")
def copy(logged_shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workspace]:
    """A function that copies the shop with its clicks: what is trained here is nobody else's."""

    def make() -> Workspace:
        return copy_of(logged_shop, tmp_path_factory.mktemp("judged") / "shop", "reward", "judge", "prompt")

    return make


@pytest.fixture(scope="module")
def judged(copy: Callable[[], Workspace]) -> tuple[Workspace, Manifest]:
    workspace = copy()
    return workspace, run(reward(workspace, WITH_JUDGE))


@pytest.mark.slow
def test_the_judge_is_evaluated_on_the_same_held_out_pairs(judged: tuple[Workspace, Manifest]) -> None:
    workspace, manifest = judged
    assert manifest.result["judge"]["pairs"] == manifest.result["pairs"]
    assert any(line.startswith("judge, pair accuracy") for line in manifest.result["summary"])
    found, groups = load_judge(workspace) or (None, frozenset())
    assert isinstance(found, NeighborJudge)
    held = split.read(workspace, workspace.products())
    assert groups == held.reserved_groups(workspace.products(), share=0.4)
    assert not groups & held.held_out


def _turn(workspace: Workspace, concerns: Callable[[str], bool]) -> None:
    """Turn the clicks of some products (id → bool) around: the creative with the most gets what the worst had."""
    path = pairs_path(workspace)
    table = pq.read_table(path)
    rows = [concerns(name) for name in table["product_id"].to_pylist()]
    assert any(rows)
    assert not all(rows)
    turned = [1 - p if mine else p for p, mine in zip(table["preference"].to_pylist(), rows, strict=True)]
    column = table.schema.get_field_index("preference")
    pq.write_table(table.set_column(column, "preference", pa.array(turned)), path)
    path = estimates_path(workspace)
    table = pq.read_table(path)
    clicks, places = table["clicks"].to_pylist(), {}
    for row, name in enumerate(table["product_id"].to_pylist()):
        places.setdefault(name, []).append(row)
    for name, own in places.items():
        if concerns(name):
            order = sorted(own, key=lambda row: clicks[row])
            swapped = [clicks[row] for row in reversed(order)]
            for row, value in zip(order, swapped, strict=True):
                clicks[row] = value + 3  # what all have gained tells them apart from before, too
    column = table.schema.get_field_index("clicks")
    pq.write_table(table.set_column(column, "clicks", pa.array(clicks)), path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whose", "reward_model_changes", "judge_changes"),
    [("held out", False, False), ("the judge's", False, True), ("the reward model's", True, False)],
)
def test_reward_model_and_judge_learn_from_their_own_products_alone(
    judged: tuple[Workspace, Manifest],
    copy: Callable[[], Workspace],
    whose: str,
    reward_model_changes: bool,
    judge_changes: bool,
) -> None:
    """Turn every click of some products around: who must not learn from them stays the same to the bit."""
    workspace, _ = judged
    other = copy()
    products = other.products()
    held, apart = split.read(other, products), split.read(other, products).reserved_groups(products, share=0.4)

    def concerns(product_id: str) -> bool:
        if held.is_held_out(product_id):
            return whose == "held out"
        return (whose == "the judge's") == (held.groups[product_id] in apart) and whose != "held out"

    _turn(other, concerns)
    run(reward(other, WITH_JUDGE))

    def changed(name: str, file: str) -> bool:
        return (workspace.models / name / file).read_bytes() != (other.models / name / file).read_bytes()

    assert changed("reward", "effects.safetensors") == reward_model_changes
    assert changed("judge", "neighbors.safetensors") == judge_changes


def _files(folder: Path) -> dict[str, bytes]:
    """Every file of a model but its card."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whose", "positions", "changed"),
    [
        ("held out", True, set()),  # neither through positions, nor through the prior of CTRs
        ("the reward model's", False, {"reward"}),
    ],
)
def test_every_click_flipped_in_the_log_reaches_only_who_may_learn_from_it(
    copy: Callable[[], Workspace], whose: str, positions: bool, changed: set[str]
) -> None:
    """From the log on: a click becomes none and none becomes a click; every file of the models is compared.

    But for their cards, which tell what was measured on held-out products.
    """
    made = {}
    for flip in (False, True):
        shop = copy()
        products = shop.products()
        held = split.read(shop, products)
        apart = held.reserved_groups(products, share=0.4)
        counts = read_log(shop, by=()).counts.to_pyarrow()
        chosen = {
            product.product_id
            for product in products
            if held.is_held_out(product.product_id) == (whose == "held out")
            and held.groups[product.product_id] not in apart
        }
        turned = pa.array([flip and name in chosen for name in counts["product_id"].to_pylist()])
        assert len(set(turned.to_pylist())) == 1 + flip
        clicked = pc.if_else(turned, pc.subtract(counts["impressions"], counts["clicks"]), counts["clicks"])
        counts = counts.set_column(counts.column_names.index("clicks"), "clicks", clicked)
        shutil.rmtree(shop.events_folder)
        kept = ["creative_id", "product_id", "impressions", "clicks", *(["position"] if positions else [])]
        grouped = counts.select(kept).group_by([name for name in kept if name not in ("impressions", "clicks")])
        table = grouped.aggregate([("impressions", "sum"), ("clicks", "sum")])
        shop.write_counts(table.rename_columns([name.removesuffix("_sum") for name in table.column_names]))
        run(clicks(shop, ClicksConfig()))
        run(reward(shop, WITH_JUDGE))
        made[flip] = {name: _files(shop.models / name) for name in ("reward", "judge")}
    assert {name for name in ("reward", "judge") if made[False][name] != made[True][name]} == changed


@pytest.mark.slow
def test_optimize_excludes_the_judges_products_and_monitors_on_them(
    judged: tuple[Workspace, Manifest],
) -> None:
    workspace, _ = judged
    held = split.read(workspace, workspace.products())
    manifest = run(optimize(workspace, QUICK))
    (report,) = manifest.result["rounds"]
    assert 0 <= report["monitor"]["judge"]["win_rate"]["value"] <= 1
    assert manifest.result["summary"][0].startswith("round 1: win rate over the start by the reward model ")
    *_, folder = sorted(path.parent for path in workspace.runs_folder.glob("*-optimize*/rounds"))

    def groups(file: str) -> set[str]:
        return {held.groups[row["product_id"]] for row in rows_of(folder / "rounds" / file)}

    apart = held.reserved_groups(workspace.products(), share=0.4)
    assert groups("round-1/monitor.jsonl") == apart
    assert not groups("round-1/candidates.jsonl") & (apart | held.held_out)


def test_a_judge_of_the_same_form_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop")
    with pytest.raises(ConfigError, match=r"'effects' is the form of the reward model itself"):
        next(reward(workspace, SMALL_REWARD.model_copy(update={"judge": "effects"})))
    assert not (workspace.models / "reward").exists()


def test_a_damaged_judge_is_refused(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop")
    (workspace.models / "judge").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"groups.json: damaged .*--judge"):
        load_judge(workspace)


@pytest.mark.slow
def test_a_new_reward_model_removes_the_old_judge_and_diversity_is_monitored_without_one(
    judged: tuple[Workspace, Manifest], tmp_path: Path
) -> None:
    workspace = copy_of(judged[0], tmp_path / "shop")
    assert load_judge(workspace) is not None
    run(reward(workspace, SMALL_REWARD))
    assert load_judge(workspace) is None
    assert not [path for path in workspace.models.iterdir() if path.name.startswith(".judge")]
    settings = "[monitor]\nwithout_judge = true\nshare = 0.4\nproducts = 4\ndescriptions = 2\ndiversity = 0.0\n"
    (workspace.path / "clickscape.toml").write_text(f'{settings}[relevance]\nuse = "refuse"\nothers = 4\n')
    (report,) = run(optimize(workspace, QUICK)).result["rounds"]
    assert report["monitor"]["judge"] is None
    assert 0 <= report["relevant_rate"] < 1
