"""The API as a shop's page uses it: choose, show, tell what came of it; and what happens to those who may not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from tests.service.conftest import KEY, NOW, Clock, counted, rows

from clickscape.experiment.assign import is_held_back
from clickscape.service import decisions, schema
from clickscape.service.app import Service, create
from clickscape.service.keys import revoke_key
from clickscape.service.limits import LOG, JsonLines
from clickscape.service.selector import Selector

Headers = Callable[..., dict[str, str]]
HOUR = 3_600_000_000


def chosen(client: TestClient, headers: dict[str, str], user: str = "ann", **query: str) -> dict[str, object]:
    answer = client.get("/v1/choose", params={"product_id": "mug", "user_key": user, **query}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def told(
    client: TestClient, headers: dict[str, str], *events: tuple[str, str, object], **more: object
) -> dict[str, int]:
    """Send events, each an id, a kind and a decision."""
    batch = [{"event_id": name, "kind": kind, "decision_id": decision, **more} for name, kind, decision in events]
    answer = client.post("/v1/events", json={"events": batch}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, int] = answer.json()
    return found


def test_what_is_chosen_is_told_and_counted(client: TestClient, service: Service, key: Headers) -> None:
    headers = key("serve")
    one = chosen(client, headers, placement="feed")
    assert one["creative_id"] in ("a", "b", "c")
    assert one["propensity"] in (0.5, 0.25, pytest.approx(1 / 3))
    assert one["image"] == f"/v1/images/{one['creative_id']}"
    receipt = told(client, headers, ("e1", "impression", one["decision_id"]), ("e2", "click", one["decision_id"]))
    assert receipt == {"stored": 2, "repeated": 0, "attributed": 2, "late": 0, "unknown": 0}
    (row,) = rows(service.engine, schema.counts)
    assert (row.creative_id, row.placement, row.impressions, row.clicks) == (one["creative_id"], "feed", 1, 1)
    event = rows(service.engine, schema.events)[0]
    assert event.policy_id == one["policy_id"]
    assert event.user_key == decisions.hashed_user("ann", KEY)


def test_where_an_ad_stands_comes_with_its_events(client: TestClient, service: Service, key: Headers) -> None:
    headers = key("serve")
    told(client, headers, ("e1", "impression", chosen(client, headers, position="3")["decision_id"]))
    told(client, headers, ("e2", "impression", chosen(client, headers)["decision_id"]))
    assert {row.event_id: row.position for row in rows(service.engine, schema.events)} == {"e1": 3, "e2": None}
    for wrong in ("0", "64", "first"):
        query = {"product_id": "mug", "user_key": "ann", "position": wrong}
        answer = client.get("/v1/choose", params=query, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("position: ")


def test_a_user_keeps_seeing_the_same_creative(client: TestClient, key: Headers) -> None:
    headers = key("serve")
    for user in ("ann", "bob", "eve"):
        assert len({chosen(client, headers, user)["creative_id"] for _ in range(5)}) == 1


def test_held_back_users_choose_evenly_and_are_those_of_the_experiments(
    client: TestClient, service: Service, key: Headers
) -> None:
    headers, groups = key("serve"), {}
    for user in map(str, range(120)):
        groups[user] = chosen(client, headers, user)
    for user, one in groups.items():
        unit = decisions.hashed_user(user, KEY)
        expected = is_held_back(unit, share=service.config.holdback, key=KEY)
        assert one["group"] == ("holdback" if expected else "bandit")
        assert one["propensity"] == pytest.approx(1 / 3) or not expected
    assert {one["group"] for one in groups.values()} == {"bandit", "holdback"}


def test_the_users_own_key_is_kept_nowhere(client: TestClient, service: Service, key: Headers, tmp_path: Path) -> None:
    headers = key("serve")
    one = chosen(client, headers, "ann@example.com")
    told(client, headers, ("e1", "click", one["decision_id"]))
    with service.engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            assert "ann@example.com" not in str(connection.execute(sa.select(table)).all())
    held = {file for file in tmp_path.rglob("*") if file.is_file() and b"ann@example.com" in file.read_bytes()}
    assert not held


@pytest.mark.parametrize(
    ("hours_later", "happened_after", "attribution"),
    [(0, None, "attributed"), (23, None, "attributed"), (25, None, "late"), (-1, None, "attributed"),
     (48, 1, "attributed"), (200, 1, "late"), (1, 30, "late")],
)  # fmt: skip
def test_events_count_within_the_window_after_their_decision(
    client: TestClient, key: Headers, clock: Clock, hours_later: int, happened_after: int | None, attribution: str
) -> None:
    headers = key("serve")
    one = chosen(client, headers)
    clock.now = NOW + hours_later * HOUR  # -1: a server's clock that was set back an hour
    ts = {} if happened_after is None else {
        "ts": datetime.fromtimestamp((NOW + happened_after * HOUR) / 1e6, UTC).isoformat()}  # fmt: skip
    receipt = told(client, headers, ("e1", "click", one["decision_id"]), **ts)
    assert receipt[attribution] == receipt["stored"] == 1


@pytest.mark.parametrize(
    ("ts", "attribution"),
    [("1970-01-01T00:00:00Z", "attributed"), ("0001-01-01T00:00:00+14:00", "attributed"),
     ("2025-01-01T00:00:00Z", "attributed"), ("9999-12-31T23:59:59Z", "late")],
)  # fmt: skip
def test_a_wrong_clock_keeps_its_event_and_spoils_no_log(
    client: TestClient, service: Service, key: Headers, tmp_path: Path, ts: str, attribution: str
) -> None:
    """`clicks` refuses a whole file for one time before 2000, and leaves out clicks before their impression."""
    one = chosen(client, key("serve"))
    receipt = told(client, key("serve"), ("e1", "click", one["decision_id"]), ts=ts)
    assert receipt[attribution] == receipt["stored"] == 1
    (row,) = rows(service.engine, schema.events)
    assert row.ts == (NOW if attribution == "attributed" else NOW + 48 * HOUR)


def test_events_of_decisions_that_nobody_made_are_kept_and_count_for_nothing(
    client: TestClient, service: Service, key: Headers
) -> None:
    headers = key("serve")
    text = str(chosen(client, headers)["decision_id"])
    forged = text[:-3] + ("AAA" if text[-3:] != "AAA" else "BBB")
    receipt = told(client, headers, ("e1", "click", forged), ("e2", "click", "made-up"))
    assert receipt["unknown"] == receipt["stored"] == 2
    assert counted(service.engine) == (0, 0, 0)
    assert [row.decision_id for row in rows(service.engine, schema.events)] == [f"?{forged}", "?made-up"]


def test_a_batch_that_is_sent_again_is_counted_once(client: TestClient, service: Service, key: Headers) -> None:
    headers = key("serve")
    one = chosen(client, headers)
    for turn in range(3):
        receipt = told(client, headers, ("e1", "click", one["decision_id"]))
        assert (receipt["stored"], receipt["repeated"]) == ((1, 0) if turn == 0 else (0, 1))
    assert counted(service.engine) == (1, 1, 0)


def test_nothing_to_serve_is_said(client: TestClient, key: Headers) -> None:
    answer = client.get("/v1/choose", params={"product_id": "sofa", "user_key": "ann"}, headers=key("serve"))
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("no approved creative")


def test_a_creative_is_served_once_it_is_approved_and_no_longer_once_retired(client: TestClient, key: Headers) -> None:
    serve, approve = key("serve"), key("approve")
    for name in ("a", "b", "c"):
        answer = client.post(
            f"/v1/creatives/{name}/review", json={"decision": "retire", "reason": "old"}, headers=approve
        )
        assert answer.json()["status"] == "retired"
    approved = client.post("/v1/creatives/d/review", json={"decision": "approve"}, headers=approve)
    assert approved.json()["status"] == "approved"
    assert {chosen(client, serve, user)["creative_id"] for user in "uvwxyz"} == {"d"}
    wrong = client.post("/v1/creatives/a/review", json={"decision": "approve"}, headers=approve)
    assert wrong.status_code == 409
    assert wrong.json()["detail"] == "a creative that is retired cannot be approved."


def test_a_review_is_kept_with_its_reason_and_reviewer(client: TestClient, service: Service, key: Headers) -> None:
    client.post("/v1/creatives/d/review", json={"decision": "reject", "reason": "cut off"}, headers=key("approve"))
    (row,) = rows(service.engine, schema.reviews)
    assert (row.creative_id, row.decision, row.reason) == ("d", "reject", "cut off")


def test_pictures_of_drafts_are_not_published(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "creatives" / "images"
    folder.mkdir(parents=True)
    for name in ("a", "d"):
        (folder / f"{name}.webp").write_bytes(b"picture of " + name.encode())
    answer = client.get("/v1/images/a")
    assert answer.content == b"picture of a"
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("/v1/images/d").status_code == 404
    assert client.get("/v1/images/..%2F..%2Fclickscape.toml").status_code == 404


def test_a_picture_outside_of_the_workspace_is_never_sent(client: TestClient, service: Service, tmp_path: Path) -> None:
    (tmp_path.parent / "secret.webp").write_bytes(b"secret")
    for path in ("../secret.webp", str(tmp_path.parent / "secret.webp")):
        with service.engine.begin() as connection:
            connection.execute(
                sa.update(schema.creatives).where(schema.creatives.c.creative_id == "a").values(image=path)
            )
        answer = client.get("/v1/images/a")
        assert answer.status_code == 400
        assert b"secret\n" not in answer.content


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [("GET", "/v1/choose?product_id=mug&user_key=ann", "serve"), ("POST", "/v1/events", "serve"),
     ("GET", "/v1/products", "read"), ("GET", "/v1/products/mug/creatives", "read"),
     ("POST", "/v1/creatives/d/review", "approve")],
)  # fmt: skip
def test_every_route_needs_its_role(client: TestClient, key: Headers, method: str, path: str, role: str) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Bearer csk_0123456789abcdef_x"}).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Basic YTpi"}).status_code == 401
    others = [one for one in ("read", "serve", "approve") if one != role]
    assert client.request(method, path, headers=key(*others)).status_code == 403
    assert client.request(method, path, headers=key(role)).status_code in (200, 422)  # 422: a body is missing here
    assert client.request(method, path, headers=key("admin")).status_code in (200, 422)


def test_a_revoked_key_ends_and_the_store_holds_no_secret(client: TestClient, service: Service, key: Headers) -> None:
    headers = key("read")
    assert client.get("/v1/products", headers=headers).status_code == 200
    (row,) = rows(service.engine, schema.api_keys)
    secret = headers["Authorization"].split("_", 2)[2]
    assert secret not in str(row)
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        revoke_key(connection, row.key_id, now=NOW)
    service.keys._known.clear()  # as ten seconds later
    assert client.get("/v1/products", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"events": []}', b'{"events": [{"event_id": "e", "kind": "view", "decision_id": "d"}]}',
     b'{"events": [{"event_id": "", "kind": "click", "decision_id": "d"}]}',
     b'{"events": [{"event_id": "e", "kind": "click", "decision_id": "d", "user": "x"}]}',
     b'{"events": [{"event_id": "e", "kind": "click", "decision_id": "d", "ts": "2026-01-01T00:00:00"}]}',
     b'{"events": [{"event_id": "e\\u0000", "kind": "click", "decision_id": "d"}]}'],
)  # fmt: skip
def test_what_is_no_batch_is_one_line_and_stores_nothing(
    client: TestClient, service: Service, key: Headers, body: bytes
) -> None:
    answer = client.post("/v1/events", content=body, headers={**key("serve"), "content-type": "application/json"})
    assert answer.status_code == 422
    assert "\n" not in answer.json()["detail"]
    assert rows(service.engine, schema.events) == []


def test_a_batch_of_more_than_a_thousand_is_refused(client: TestClient, key: Headers) -> None:
    batch = [{"event_id": str(number), "kind": "click", "decision_id": "d"} for number in range(1_001)]
    assert client.post("/v1/events", json={"events": batch}, headers=key("serve")).status_code == 422


def test_bodies_above_the_limit_are_refused_whether_or_not_they_say_their_length(
    client: TestClient, service: Service, key: Headers
) -> None:
    large = int(service.config.largest_body_mb * 1e6) + 1
    assert client.post("/v1/events", content=b" " * large, headers=key("serve")).status_code == 413

    def pieces() -> object:
        for _ in range(large // 100_000 + 1):
            yield b" " * 100_000

    assert client.post("/v1/events", content=pieces(), headers=key("serve")).status_code == 413  # type: ignore[arg-type]


def test_every_answer_carries_the_headers_that_browsers_obey(client: TestClient) -> None:
    for path in ("/healthz", "/v1/products", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_a_key_that_asks_too_often_is_told_to_wait(client: TestClient, service: Service, key: Headers) -> None:
    service.config = service.config.changed(requests_per_second=5)
    headers, other = key("read"), key("read")
    codes = [client.get("/v1/products", headers=headers).status_code for _ in range(25)]
    assert 429 in codes
    assert codes[0] == 200
    assert client.get("/v1/products", headers=other).status_code == 200


def test_a_store_that_is_gone_is_503_and_what_is_known_is_still_served(
    client: TestClient, service: Service, key: Headers
) -> None:
    headers = key("serve")
    one = chosen(client, headers)
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE events RENAME TO gone"))
        connection.execute(sa.text("ALTER TABLE jobs RENAME TO gone_jobs"))
    batch = {"events": [{"event_id": "e1", "kind": "click", "decision_id": one["decision_id"]}]}
    answer = client.post("/v1/events", json=batch, headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert chosen(client, headers)["creative_id"] == one["creative_id"]
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO events"))
        connection.execute(sa.text("ALTER TABLE gone_jobs RENAME TO jobs"))
    assert client.post("/v1/events", json=batch, headers=headers).json()["stored"] == 1
    assert client.get("/readyz").status_code == 200


def test_metrics_count_choices_and_events(client: TestClient, key: Headers) -> None:
    headers = key("serve")
    one = chosen(client, headers)
    told(client, headers, ("e1", "click", one["decision_id"]), ("e2", "click", "made-up"))
    text = client.get("/metrics").text
    assert f'clickscape_choices_total{{by="{one["group"]}"}} 1.0' in text
    assert 'clickscape_events_total{attribution="attributed",kind="click"} 1.0' in text
    assert 'clickscape_events_total{attribution="unknown",kind="click"} 1.0' in text


def test_choices_from_the_last_known_policy_are_marked_and_counted(
    client: TestClient, service: Service, key: Headers
) -> None:
    service.selector.close()
    service.selector = Selector(
        service.engine, propensities=service.propensities, refresh=0.01, now=service.now, key=KEY
    )
    headers = key("serve")
    before = chosen(client, headers)
    assert before["stale"] is False
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE creatives RENAME TO gone"))
    end = time.monotonic() + 30
    while not (one := chosen(client, headers))["stale"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert {name: one[name] for name in ("creative_id", "policy_id")} == {
        name: before[name] for name in ("creative_id", "policy_id")
    }
    assert "clickscape_stale_choices_total 1.0" in client.get("/metrics").text
    unknown = client.get("/v1/choose", params={"product_id": "pot", "user_key": "ann"}, headers=headers)
    assert (unknown.status_code, unknown.headers["retry-after"]) == (503, "2")


def test_two_instances_on_one_store_choose_alike_and_take_each_others_events(
    client: TestClient, service: Service, key: Headers
) -> None:
    other = Service(
        service.workspace, service.engine, service.config.changed(refresh_seconds=0.01), service.clicks, KEY,
        propensities=service.propensities, now=service.now,
    )  # fmt: skip
    beside, serve, approve = TestClient(create(other)), key("serve"), key("approve")
    for user in "abcdefgh":
        here, there = chosen(client, serve, user), chosen(beside, serve, user)
        assert (here["creative_id"], here["policy_id"]) == (there["creative_id"], there["policy_id"])
        assert told(beside, serve, (f"of-here-{user}", "click", here["decision_id"]))["attributed"] == 1
        assert told(client, serve, (f"of-there-{user}", "click", there["decision_id"]))["attributed"] == 1
        assert told(client, serve, (f"of-here-{user}", "click", here["decision_id"]))["repeated"] == 1
    assert counted(service.engine) == (16, 16, 0)
    for name in ("a", "b"):
        client.post(f"/v1/creatives/{name}/review", json={"decision": "retire"}, headers=approve)
    end = time.monotonic() + 30
    while {chosen(beside, serve, user)["creative_id"] for user in "abcdefgh"} != {"c"}:
        assert time.monotonic() < end
        time.sleep(0.01)
    other.writer.close()
    other.selector.close()


def test_no_line_of_the_log_has_a_users_key_or_an_api_key(
    client: TestClient, service: Service, key: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    headers, user = key("serve"), "ann@example.com"
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level("INFO", logger=LOG.name)
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE policies RENAME TO gone"))
    query = {"product_id": "mug", "user_key": user}
    assert client.get("/v1/choose", params=query, headers=headers).status_code == 503
    client.get("/v1/products", params=query, headers=headers)
    service.selector.load = None  # type: ignore[assignment]  (a fault of ours: its trace is logged)
    assert client.get("/v1/choose", params=query, headers=headers).status_code == 500
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert {(line["path"], line.get("status")) for line in lines} >= {
        ("/v1/choose", 503), ("/v1/products", 403), ("/v1/choose", 500)
    }  # fmt: skip
    assert any("TypeError" in line.get("error", "") for line in lines)
    for secret in (user, "ann", headers["Authorization"].split()[1]):
        assert secret not in caplog.text


def test_the_schema_of_the_api_describes_every_route_and_what_it_answers(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/choose", "/v1/events", "/v1/products", "/v1/experiments", "/v1/score", "/v1/jobs/{job_id}"} <= set(
        paths
    )
    for path, methods in paths.items():
        for method, one in methods.items():
            assert one["summary"] or one["description"], path
            answer = next(answer for status, answer in one["responses"].items() if status.startswith("2"))
            if path.startswith("/v1/") and "images" not in path:
                schema_of = answer["content"]["application/json"]["schema"]
                assert schema_of.get("$ref") or schema_of["items"]["$ref"], (method, path)
    asked = {one["name"] for one in paths["/v1/choose"]["get"]["parameters"]}
    assert asked == {"product_id", "user_key", "placement", "position"}
    assert "events" in str(paths["/v1/events"]["post"]["requestBody"])
