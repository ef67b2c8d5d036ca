from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from clickscape.clicks.ctr import ESTIMATES
from clickscape.errors import ExperimentError, WorkspaceError
from clickscape.experiment.assign import assign, key_id
from clickscape.experiment.default_variants import Ad, default_variants
from clickscape.experiment.definition import Variant
from clickscape.stages import experiment as stage
from clickscape.stages.clicks import estimates_path
from clickscape.stages.experiment import Design
from clickscape.stages.experiment_tables import assign_file, rows
from clickscape.stages.progress import run
from clickscape.types import Creative
from clickscape.workspace import Workspace

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MUG = (Variant("control", 0.5, {"mug": "mug-a"}), Variant("new", 0.5, {"mug": "mug-b"}))
SHOE = (Variant("control", 0.5, {"shoe": "shoe-a"}), Variant("new", 0.5, {"shoe": "shoe-b"}))


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


def creative(creative_id: str, status: str) -> Creative:
    return Creative(creative_id, creative_id.split("-")[0], "", "", {}, "own", "own", 0, status=status)  # type: ignore[arg-type]


def test_a_start_makes_a_key_that_only_its_owner_reads(shop: Workspace) -> None:
    made = stage.start(shop, "autumn", MUG, now=NOW)
    path = shop.path / "experiments" / "assignment.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.key_id == key_id(stage.read_key(shop))
    assert made == stage.read_experiment(shop, "autumn")
    assert stage.start(shop, "winter", SHOE, design=Design(layer="shoes"), now=NOW).key_id == made.key_id


def test_the_same_start_again_changes_nothing_and_another_is_refused(shop: Workspace) -> None:
    made = stage.start(shop, "autumn", MUG, now=NOW)
    assert stage.start(shop, "autumn", MUG, now=NOW + timedelta(hours=1)) == made
    with pytest.raises(ExperimentError, match="not changed after its start"):
        stage.start(shop, "autumn", MUG, design=Design(traffic=0.5), now=NOW)
    stage.stop(shop, "autumn", now=NOW + timedelta(days=1))
    with pytest.raises(ExperimentError, match="not changed after its start"):
        stage.start(shop, "autumn", SHOE, now=NOW + timedelta(days=2))


def test_experiments_beside_each_other_share_no_user_of_a_layer_and_no_product_between_layers(shop: Workspace) -> None:
    stage.start(shop, "autumn", MUG, design=Design(traffic=0.5, holdback=0.1), now=NOW)
    for design, variants, message in (
        (Design(holdback=0.1), SHOE, "takes the layer 'default' from 0 to 0.5, so the same users would be in both"),
        (Design(holdback=0.1, layer="text"), MUG, "decides what product 'mug' shows"),
        (Design(holdback=0.2, layer="text"), SHOE, "pass --holdback 0.1"),
    ):
        with pytest.raises(ExperimentError, match=message):
            stage.start(shop, "winter", variants, design=design, now=NOW)
    beside = Design(holdback=0.1, layer_from=0.5, traffic=0.5)
    stage.start(shop, "winter", MUG, design=beside, now=NOW)
    later = NOW + timedelta(days=1)
    stage.stop(shop, "autumn", now=later)
    stage.start(shop, "spring", MUG, design=Design(holdback=0.1, traffic=0.5), now=later)
    assert [one.name for one in stage.running(shop, now=later)] == ["spring", "winter"]


def test_an_environment_variable_goes_before_the_file(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.start(shop, "autumn", MUG, now=NOW)
    monkeypatch.setenv(stage.KEY_VARIABLE, "ab" * 32)
    assert stage.read_key(shop) == b"\xab" * 32
    with pytest.raises(ExperimentError, match="every unit would move"):
        assign("user", definition=stage.read_experiment(shop, "autumn"), key=stage.read_key(shop))
    monkeypatch.setenv(stage.KEY_VARIABLE, "secret")
    with pytest.raises(ExperimentError, match=f"{stage.KEY_VARIABLE}: expected a key of 64 hexadecimal digits") as told:
        stage.read_key(shop)
    assert "secret" not in str(told.value)


def test_a_lost_key_is_not_replaced_by_a_new_one(shop: Workspace) -> None:
    stage.start(shop, "autumn", MUG, now=NOW)
    (shop.path / "experiments" / "assignment.key").unlink()
    for once_more in (lambda: stage.read_key(shop), lambda: stage.start(shop, "winter", SHOE, now=NOW)):
        with pytest.raises(ExperimentError, match="Restore it from a copy"):
            once_more()


def test_a_start_that_another_process_would_disturb_is_refused(shop: Workspace) -> None:
    other = Workspace.open(shop.path)
    with other.lock(), pytest.raises(WorkspaceError, match="is being written by another process"):
        stage.start(shop, "autumn", MUG, now=NOW)


def test_an_unknown_experiment_is_told_with_those_that_there_are(shop: Workspace) -> None:
    with pytest.raises(ExperimentError, match="has no experiment 'autumn'"):
        stage.read_experiment(shop, "autumn")
    stage.start(shop, "autumn", MUG, now=NOW)
    with pytest.raises(ExperimentError, match="no experiment 'winter', only autumn"):
        stage.read_experiment(shop, "winter")


def by_status(*ads: Creative, shown: dict[str, int] | None = None, **asked: object) -> list[Variant]:
    rows = [Ad(one.creative_id, one.product_id, one.status, (shown or {}).get(one.creative_id, 0)) for one in ads]
    return default_variants(rows, **asked)  # type: ignore[arg-type]


def test_by_status_the_live_creative_is_compared_with_the_approved_one() -> None:
    ads = [
        creative("mug-a", "live"),
        creative("mug-b", "approved"),
        creative("shoe-a", "live"),
        creative("hat-a", "draft"),
    ]
    control, new = by_status(*ads, share=0.1)
    assert (control.name, control.share, dict(control.creatives)) == ("control", 0.9, {"mug": "mug-a"})
    assert (new.name, new.share, dict(new.creatives)) == ("new", 0.1, {"mug": "mug-b"})
    with pytest.raises(ExperimentError, match="product 'shoe' has no approved creative"):
        by_status(*ads, product_ids=["shoe"])
    with pytest.raises(ExperimentError, match="no product has a live creative and an approved one, or two that are"):
        by_status(*ads[2:])
    with pytest.raises(ExperimentError, match="several approved creatives, 'mug-b' and 'mug-c'"):
        by_status(*ads, creative("mug-c", "approved"))


def test_where_nothing_is_live_the_most_shown_creative_is_compared_with_the_newest() -> None:
    ads = [creative(f"mug-{name}", "approved") for name in "abc"] + [creative("hat-a", "approved")]
    control, new = by_status(*ads)
    assert (dict(control.creatives), dict(new.creatives)) == ({"mug": "mug-a"}, {"mug": "mug-c"})
    control, new = by_status(*ads, shown={"mug-b": 5, "mug-c": 9})
    assert (dict(control.creatives), dict(new.creatives)) == ({"mug": "mug-c"}, {"mug": "mug-b"})
    with pytest.raises(ExperimentError, match="product 'hat' has no live creative to compare"):
        by_status(*ads, product_ids=["hat"])


def test_a_workspaces_default_is_by_what_clicks_counted_and_by_age(shop: Workspace) -> None:
    shop.write_creatives([creative(f"mug-{name}", "approved") for name in "bca"])
    control, new = stage.variants_by_status(shop)
    assert (dict(control.creatives), dict(new.creatives)) == ({"mug": "mug-b"}, {"mug": "mug-a"})
    row = dict.fromkeys(ESTIMATES.names, 0) | {
        "creative_id": "mug-c",
        "product_id": "mug",
        "impressions": 7,
        "shared": [],
    }
    shop.write_table(estimates_path(shop), pa.Table.from_pylist([row], schema=ESTIMATES))
    assert dict(stage.variants_by_status(shop)[0].creatives) == {"mug": "mug-c"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,mug-a\na,mug-b\n", "shows 'mug-a' and 'mug-b' of product 'mug'"),
        ("a,mug-x\n", "no creative 'mug-x' in the workspace"),
        ("a,\n", "row 1|line 2.*no creative_id"),
        ("", "no row"),
    ],
)
def test_a_bad_row_of_the_table_of_variants_is_told(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "arms.csv").write_text("variant,creative_id\n" + table, encoding="utf-8")
    ads = [creative("mug-a", "live"), creative("mug-b", "draft")]
    with pytest.raises(ExperimentError, match=message):
        stage.variants_of_rows(
            list(rows(tmp_path / "arms.csv", needed=["variant", "creative_id"], optional=["share"])),
            creatives=ads, where="arms.csv",
        )  # fmt: skip


def test_a_table_gives_shares_or_all_variants_are_equal(tmp_path: Path) -> None:
    ads = [creative("mug-a", "live"), creative("mug-b", "draft"), creative("mug-c", "draft")]
    path = tmp_path / "arms.csv"

    def shares(text: str) -> dict[str, float]:
        path.write_text(text, encoding="utf-8")
        table = list(rows(path, needed=["variant", "creative_id"], optional=["share"]))
        return {one.name: one.share for one in stage.variants_of_rows(table, creatives=ads, where="arms.csv")}

    assert shares("variant,creative_id\nx,mug-a\ny,mug-b\nz,mug-c\n") == {"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}
    assert shares("variant,creative_id,share\nx,mug-a,0.8\ny,mug-b,0.2\n") == {"x": 0.8, "y": 0.2}
    for text, message in (
        ("x,mug-a,0.8\nx,mug-a,0.7\n", "the shares 0.8 and 0.7"),
        ("x,mug-a,nan\ny,mug-b,0.5\n", "the share 'nan' is no number"),
        ("x,mug-a,0.8\ny,mug-b,\n", "variant 'y' has no share"),
        ("x,mug-a,half\n", "the share 'half' is no number"),
    ):
        with pytest.raises(ExperimentError, match=message):
            shares("variant,creative_id,share\n" + text)


def test_a_file_of_users_is_assigned_row_by_row(shop: Workspace, tmp_path: Path) -> None:
    made = stage.start(shop, "autumn", MUG, design=Design(traffic=0.5, holdback=0.2), now=NOW)
    key = stage.read_key(shop)
    users = [f"user {number}, of shop" for number in range(300)]
    path = tmp_path / "users.csv"
    path.write_text("name,user_key\n" + "".join(f'x,"{user}"\n' for user in users), encoding="utf-8")
    counts = run(assign_file(path, tmp_path / "out.csv", definition=made, key=key))
    found = list(rows(tmp_path / "out.csv", needed=["user_key"], optional=["variant"]))
    assert [row["user_key"] for row in found] == users
    assert [row["variant"] or None for row in found] == [assign(user, definition=made, key=key) for user in users]
    assert sum(counts.values()) == len(users)
    path.write_text("user_key\na\n\nb\n", encoding="utf-8")
    assert sum(run(assign_file(path, tmp_path / "out.csv", definition=made, key=key)).values()) == 2
    for empty in ("", "user_key\n"):
        path.write_text(empty, encoding="utf-8")
        with pytest.raises(ExperimentError, match=r"users\.csv: no user is in it"):
            run(assign_file(path, tmp_path / "none.csv", definition=made, key=key))
    assert not (tmp_path / "none.csv").exists()
    (tmp_path / "users.txt").write_text("a", encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"expected a file that ends in \.csv"):
        list(rows(tmp_path / "users.txt", needed=["user_key"]))
