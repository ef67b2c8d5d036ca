"""Experiments of a service: who may start and end them, what users then see, and that store and workspace agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.engine import Engine
from tests.service.conftest import KEY, NOW, Clock, creative, fill, rows
from tests.service.test_event_writer import event
from tests.service.test_serving import chosen, told

from clickscape.errors import ExperimentError
from clickscape.experiment.assign import assign, key_id
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.service import decisions, experiments, schema, workspace_sync
from clickscape.service.app import Service
from clickscape.service.event_writer import write_events
from clickscape.service.run import open_service
from clickscape.stages import experiment as stage
from clickscape.workspace import Workspace

Headers = Callable[..., dict[str, str]]
MOMENT = datetime.fromtimestamp(NOW / 1e6, UTC)
BODY = {
    "name": "autumn",
    "variants": [{"name": "control", "creatives": {"mug": "a"}}, {"name": "new", "creatives": {"mug": "b"}}],
}


def started(client: TestClient, headers: dict[str, str], **changes: object) -> dict[str, Any]:
    answer = client.post("/v1/experiments", json=BODY | changes, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def statuses(engine: Engine) -> dict[str, str]:
    return {row.creative_id: row.status for row in rows(engine, schema.creatives)}


def test_users_of_an_experiment_see_their_variant_and_the_others_what_the_bandit_chooses(
    client: TestClient, service: Service, key: Headers
) -> None:
    serve = key("serve")
    assert chosen(client, serve)["group"] != "experiment"
    assert started(client, key("approve"), traffic=0.6)["shares"] == {"control": 0.5, "new": 0.5}
    (held,) = experiments.list_experiments(service.engine)
    groups = set()
    for user in map(str, range(80)):
        one = chosen(client, serve, user)
        expected = assign(decisions.hashed_user(user, KEY), definition=held.definition, key=KEY)
        groups.add(one["group"])
        if expected in ("control", "new"):
            assert (one["group"], one["variant"]) == ("experiment", expected)
            assert (one["creative_id"], one["propensity"]) == ({"control": "a", "new": "b"}[expected], 0.5)
        else:
            assert (one["group"], one["variant"]) == ("holdback" if expected == "holdback" else "bandit", None)
        told(client, serve, (f"e{user}", "click", one["decision_id"]))
    assert groups == {"bandit", "holdback", "experiment"}
    seen = {row.user_key: (row.variant, row.experiment) for row in rows(service.engine, schema.events)}
    for user in map(str, range(80)):
        unit = decisions.hashed_user(user, KEY)
        variant = assign(unit, definition=held.definition, key=KEY) or "bandit"
        assert seen[unit] == (variant, "autumn" if variant in ("control", "new") else None)


def test_an_experiment_is_listed_stopped_and_never_started_again(
    client: TestClient, service: Service, key: Headers, clock: Clock
) -> None:
    read, approve, serve = key("read"), key("approve"), key("serve")
    assert client.get("/v1/experiments", headers=read).json() == []
    one = started(client, approve, layer="autumn-layer")
    assert started(client, approve, layer="autumn-layer") == one
    assert client.get("/v1/experiments", headers=read).json() == [one]
    assert (one["status"], one["products"], one["holdback"]) == ("running", 1, service.config.holdback)
    clock.now += 3_600_000_000
    ended = client.post("/v1/experiments/autumn/stop", headers=approve).json()
    assert ended == one | {"status": "stopped", "end": (MOMENT + timedelta(hours=1)).isoformat().replace("+00:00", "Z")}
    assert client.post("/v1/experiments/autumn/stop", headers=approve).json() == ended
    assert {chosen(client, serve, str(user))["group"] for user in range(60)} == {"bandit", "holdback"}
    assert client.post("/v1/experiments", json=BODY, headers=approve).status_code == 409
    found = client.get("/v1/experiments/autumn", headers=read).json()
    assert found["creatives"] == {"control": {"mug": "a"}, "new": {"mug": "b"}}
    assert found["reading"] is None
    assert {row.kind for row in rows(service.engine, schema.jobs)} == {"experiments", "read"}
    for path in ("/v1/experiments/none", "/v1/experiments/none/stop"):
        assert client.request("GET" if path.endswith("none") else "POST", path, headers=key("admin")).status_code == 404


def test_without_variants_the_most_shown_ad_is_compared_with_the_newest(
    client: TestClient, service: Service, key: Headers
) -> None:
    approve = key("admin")
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        made = [event(number, creative_id="c" if number else "b") for number in range(3)]
        write_events(connection, made)
        table = schema.creatives
        connection.execute(sa.update(table).where(table.c.creative_id == "a").values(created_at=NOW + 1))
    started(client, approve, variants=None)
    found = client.get("/v1/experiments/autumn", headers=approve).json()
    assert found["creatives"] == {"control": {"mug": "c"}, "new": {"mug": "a"}}
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        write_events(connection, [event(number, creative_id="b") for number in range(3, 9)])
    again = client.post("/v1/experiments", json={"name": "autumn"}, headers=approve)
    assert (again.status_code, again.json()["name"]) == (201, "autumn"), "the same start again changes nothing"
    refused = client.post("/v1/experiments", json={"name": "x", "products": ["sofa"]}, headers=approve)
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("product 'sofa' has no approved creative to compare")


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [({"control": "old"}, 400, "no variant 'old'"), ({"name": "../x"}, 400, "expected a name"),
     ({"variants": BODY["variants"][:1]}, 422, "variants"), ({"level": 2}, 422, "level"),
     ({"traffic": 0.5, "layer_from": 0.8}, 400, "takes 0.5 of its layer"),
     ({"variants": [{"name": "control", "creatives": {"mug": "a"}},
                    {"name": "new", "share": 0.4, "creatives": {"mug": "b"}}]}, 422, "give a share to all"),
     ({"variants": [{"name": "control", "creatives": {"mug": "a"}}, {"name": "new", "creatives": {"mug": "x"}}]},
      409, "product 'mug' has no creative 'x'"),
     ({"variants": [{"name": "control", "creatives": {"mug": "a"}}, {"name": "new", "creatives": {"mug": "d"}}]},
      409, "creative 'd' of variant 'new' is draft")],
)  # fmt: skip
def test_what_cannot_be_an_experiment_is_refused_in_one_line(
    client: TestClient, service: Service, key: Headers, changes: dict[str, object], status: int, said: str
) -> None:
    answer = client.post("/v1/experiments", json=BODY | changes, headers=key("approve"))
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]
    assert rows(service.engine, schema.experiments) == []


def test_two_experiments_never_share_users_of_a_product(client: TestClient, key: Headers) -> None:
    approve = key("approve")
    started(client, approve, traffic=0.5)
    refused = client.post("/v1/experiments", json=BODY | {"name": "winter"}, headers=approve)
    assert (refused.status_code, "takes the layer 'default' from 0 to 0.5" in refused.json()["detail"]) == (400, True)
    started(client, approve, name="winter", layer_from=0.5, traffic=0.5)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [("GET", "/v1/experiments", "read"), ("GET", "/v1/experiments/autumn", "read"),
     ("POST", "/v1/experiments", "approve"), ("POST", "/v1/experiments/autumn/stop", "approve"),
     ("POST", "/v1/experiments/autumn/ship", "approve")],
)  # fmt: skip
def test_every_route_needs_its_role(client: TestClient, key: Headers, method: str, path: str, role: str) -> None:
    started(client, key("approve"))
    assert client.request(method, path).status_code == 401
    others = [one for one in ("read", "serve", "approve") if one != role]
    assert client.request(method, path, headers=key(*others)).status_code == 403
    assert client.request(method, path, headers=key(role)).status_code in (200, 422)  # 422: a body is missing here


def test_shipping_gives_all_traffic_to_a_variant_at_once(
    client: TestClient, service: Service, key: Headers, clock: Clock
) -> None:
    approve, serve = key("approve"), key("serve")
    started(client, approve)
    shipping = {"variant": "new"}
    assert client.post("/v1/experiments/autumn/ship", json={"variant": "x"}, headers=approve).status_code == 409
    assert statuses(service.engine) == {"a": "approved", "b": "approved", "c": "approved", "d": "draft"}
    (held,) = experiments.list_experiments(service.engine)
    assert held.status == "running"  # what is refused changes nothing
    found = client.post("/v1/experiments/autumn/ship", json=shipping, headers=approve).json()
    assert (found["status"], found["shipped"]) == ("shipped", "new")
    assert statuses(service.engine) == {"a": "retired", "b": "live", "c": "retired", "d": "draft"}
    assert {chosen(client, serve, str(user))["creative_id"] for user in range(20)} == {"b"}
    kept = {(row.creative_id, row.decision, row.reason) for row in rows(service.engine, schema.reviews)}
    reason = "shipped new of autumn"
    assert kept == {("a", "retire", reason), ("b", "ship", reason), ("c", "retire", reason)}
    assert client.post("/v1/experiments/autumn/ship", json=shipping, headers=approve).status_code == 409


def test_a_failure_in_the_middle_of_shipping_changes_nothing(
    client: TestClient, service: Service, key: Headers
) -> None:
    approve = key("approve")
    started(client, approve)
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE reviews RENAME TO gone"))
    answer = client.post("/v1/experiments/autumn/ship", json={"variant": "new"}, headers=approve)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert statuses(service.engine) == {"a": "approved", "b": "approved", "c": "approved", "d": "draft"}
    (held,) = experiments.list_experiments(service.engine)
    assert (held.status, held.definition.end) == ("running", None)


def test_a_retired_creative_is_shown_by_no_experiment(client: TestClient, service: Service, key: Headers) -> None:
    approve, serve = key("approve"), key("serve")
    started(client, approve)
    assert "experiment" in {chosen(client, serve, str(user))["group"] for user in range(20)}
    client.post("/v1/creatives/b/review", json={"decision": "retire"}, headers=approve)
    seen = [chosen(client, serve, str(user)) for user in range(40)]
    assert {one["creative_id"] for one in seen} <= {"a", "c"}
    assert {one["group"] for one in seen} == {"bandit", "holdback"}
    gone = client.post("/v1/experiments/autumn/ship", json={"variant": "new"}, headers=approve)
    assert (gone.status_code, "served any more" in gone.json()["detail"]) == (409, True)


def test_an_experiment_begins_at_its_start(client: TestClient, service: Service, key: Headers, clock: Clock) -> None:
    made = ExperimentDefinition(
        "winter", (Variant("control", 0.5, {"mug": "a"}), Variant("new", 0.5, {"mug": "b"})), "control",
        MOMENT + timedelta(hours=2), key_id(KEY), "winter",
    )  # fmt: skip
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        assert experiments.exchange(connection, [made], now=NOW) == []
    serve = key("serve")
    for hours, expected in ((0, set()), (3, {"experiment"})):
        clock.now = NOW + hours * 3_600_000_000
        service.selector.forget("mug")
        assert {chosen(client, serve, str(user))["group"] for user in range(40)} - {"bandit", "holdback"} == expected


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


def test_store_and_workspace_agree_on_experiments(shop: Workspace) -> None:
    _, engine, _, key = open_service(shop.path)
    fill(engine, [creative("a"), creative("b"), creative("x", "pot"), creative("y", "pot")])

    def variants(first: str, second: str, product: str) -> tuple[Variant, ...]:
        return Variant("control", 0.5, {product: first}), Variant("new", 0.5, {product: second})

    by_command = stage.start(
        shop, "by-command", variants("a", "b", "mug"), design=stage.Design(layer="one"), now=MOMENT
    )
    by_service = ExperimentDefinition(
        "by-service", variants("x", "y", "pot"), "control", MOMENT, key_id(key), "by-service", layer="two"
    )
    experiments.start_experiment(engine, by_service, now=NOW)
    for _ in range(2):
        workspace_sync.exchange_experiments(engine, shop, now=NOW)
        assert stage.all_experiments(shop) == [by_command, by_service]
        with engine.connect() as connection:
            assert experiments.running_experiments(connection) == (by_command, by_service)
    experiments.stop_experiment(engine, "by-service", now=NOW + 1_000_000)
    ended = stage.stop(shop, "by-command", now=MOMENT + timedelta(seconds=2))
    workspace_sync.exchange_experiments(engine, shop, now=NOW + 3_000_000)
    theirs = replace(by_service, end=MOMENT + timedelta(seconds=1))
    assert stage.all_experiments(shop) == [ended, theirs]
    assert [(one.definition, one.status) for one in experiments.list_experiments(engine)] == [
        (ended, "stopped"), (theirs, "stopped")
    ]  # fmt: skip
    stage.start(shop, "clash", variants("a", "b", "mug"), now=MOMENT + timedelta(seconds=3))
    experiments.start_experiment(engine, replace(by_service, name="taken", variants=variants("a", "b", "mug")), now=NOW)
    with pytest.raises(ExperimentError, match="decides what product 'mug' shows"):
        workspace_sync.exchange_experiments(engine, shop, now=NOW)
    engine.dispose()
