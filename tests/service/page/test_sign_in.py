"""Signing in to the page: who gets a session, what it is, and when it ends."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import NOW, Clock, key_of, rows, sign_in

from clickscape.service import schema
from clickscape.service.app import Service
from clickscape.service.keys import revoke_key
from clickscape.service.page.sessions import WrongKeys


@pytest.mark.parametrize("asked", ["/create", "/review", "/live", "/catalog?show=stale"])
def test_a_stranger_is_led_to_sign_in_and_back(client: TestClient, asked: str) -> None:
    answer = client.get(asked, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in")
    part = client.get(asked, headers={"hx-request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/sign-in")


def test_who_signs_in_without_a_way_back_lands_where_they_work(client: TestClient, service: Service) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"
    for role, where in (("approve", "/create"), ("read", "/catalog")):
        answer = client.post("/sign-in", data={"key": key_of(service, role), "then": ""})
        assert (answer.status_code, answer.url.path) == (200, where)


def test_a_session_is_a_cookie_that_scripts_cannot_read_and_is_stored_hashed(
    client: TestClient, service: Service
) -> None:
    answer = client.post("/sign-in", data={"key": key_of(service, "read")}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    (held,) = rows(service.engine, schema.sessions)
    assert client.cookies["clickscape_session"] not in held
    again = client.post(
        "/sign-in",
        data={"key": key_of(service, "read")},
        headers={"x-forwarded-proto": "https"},
        follow_redirects=False,
    )
    assert "secure" in again.headers["set-cookie"].lower()


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_to_no_other_site(client: TestClient, service: Service, then: str) -> None:
    answer = client.post("/sign-in", data={"key": key_of(service, "read"), "then": then}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_a_wrong_key_is_one_line_and_many_have_to_wait(client: TestClient, service: Service) -> None:
    for _ in range(10):
        answer = client.post("/sign-in", data={"key": "csk_0_nonsense"})
        assert (answer.status_code, "unknown or revoked" in answer.text) == (403, True)
    answer = client.post("/sign-in", data={"key": key_of(service, "admin")})
    assert (answer.status_code, "Wait five minutes" in answer.text) == (429, True)
    counts = WrongKeys()
    counts.add("other")
    assert not counts.too_many("other")


def test_a_key_that_only_serves_does_not_open_the_page(client: TestClient, service: Service) -> None:
    answer = client.post("/sign-in", data={"key": key_of(service, "serve")})
    assert (answer.status_code, "lacks the role read" in answer.text) == (403, True)


def test_a_session_ends_with_time_with_its_key_and_by_signing_out(
    client: TestClient, service: Service, clock: Clock
) -> None:
    def is_in() -> bool:
        return client.get("/catalog", follow_redirects=False).status_code == 200

    sign_in(client, service, "read")
    clock.now = NOW + 12 * 3_600_000_000 - 1
    assert is_in()
    clock.now += 2
    assert not is_in()
    sign_in(client, service, "read")
    newest = max(rows(service.engine, schema.sessions), key=lambda row: row.expires_at).key_id
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        revoke_key(connection, newest, now=NOW)
    assert not is_in()
    csrf = sign_in(client, service, "read")
    kept = client.cookies["clickscape_session"]
    client.post("/sign-out", data={"csrf": csrf})
    client.cookies.set("clickscape_session", kept)
    assert not is_in()


def test_who_sends_wrong_keys_is_told_how_long_to_wait(client: TestClient, service: Service) -> None:
    answers = [client.post("/sign-in", data={"key": f"wrong{turn}"}) for turn in range(30)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "300"
