"""The page Live beside experiments: what choosing earns, what an experiment shows, what wears out, stop and ship."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi.testclient import TestClient
from tests.service.conftest import KEY, NOW, rows, sign_in
from tests.service.test_read_events import AUTUMN, choosing

from clickscape.experiment.assign import key_id
from clickscape.service import experiments, read_events, readings, schema
from clickscape.service.app import Service
from clickscape.service.page import words

LIVE = {"product": "mug"}
PAGE = {"name": "autumn"}


BOTS = {"users": 1, "counts": {"a": [7, 5]}}


def visited(service: Service, *, holdback: float = 0.3) -> None:
    """The conftest's mug with an experiment on half of its users, its visitors, and what the worker reads of them."""
    service.config = service.config.changed(holdback=holdback)
    assert AUTUMN.start == datetime.fromtimestamp(NOW / 1e6, UTC)
    assert AUTUMN.key_id == key_id(KEY)
    experiments.start_experiment(service.engine, AUTUMN, now=NOW)
    choosing(service.engine, users=2_000, holdback=0.3, experiment=True)
    with service.engine.connect() as connection:
        made = read_events.of_experiment(connection, AUTUMN)
        earned = read_events.of_choosing(connection, "mug", holdback=holdback)
    readings.keep(service.engine, "experiment", "autumn", readings.as_content(made), now=NOW)
    readings.keep(service.engine, "product", "mug", readings.as_content(earned, bots=BOTS), now=NOW)
    worn = {"reason": "worn out", "probability": 0.91, "by": "2026-10-01", "left": 0.7, "low": 0.6, "high": 0.8}
    readings.keep(service.engine, "fatigue", "", {"worn": {"a": worn}, "note": ""}, now=NOW)


def test_live_shows_lifts_users_shares_and_fatigue_and_ends_the_experiment(
    client: TestClient, service: Service
) -> None:
    visited(service)
    headers = {"x-csrf-token": sign_in(client, service, "approve")}
    text = client.get("/live", params=LIVE).text.replace("\u00a0", " ")  # where a line may not break
    earned = readings.newest(service.engine, "product", "mug")
    assert earned is not None
    assert earned.experiment is not None
    bandit, even = earned.experiment.variants
    assert f"{bandit.units} users see what the bandit chooses; {even.units} held-back users" in text
    assert bandit.latest.always_valid is not None
    assert f"<strong>+{100 * bandit.latest.always_valid.value:.1f} %</strong>" in text
    assert "Sample ratio mismatch" not in text
    assert '<svg class="plot"' in text
    assert ("worn out" in text, "70 % of its first" in text, "91 % sure" in text) == (True, True, True)
    assert "/live/experiment?name=autumn" in text
    assert "7 impressions of users who are too busy, or click too often, to be people are left out" in text
    shown = sum(row.impressions for row in rows(service.engine, schema.counts) if row.creative_id == "a")
    assert f"<dd>{words.count(shown - 7)}</dd>" in text
    assert [row.kind for row in rows(service.engine, schema.jobs)] == ["experiments"]  # all readings are fresh

    text = client.get("/live/experiment", params=PAGE).text.replace("\u00a0", " ")
    held = readings.newest(service.engine, "experiment", "autumn")
    assert held is not None
    assert held.experiment is not None
    for one in held.experiment.variants:
        assert f"<dd>{one.units} " in text
        assert one.ctr is not None
        assert f"{100 * one.ctr.value:.2f} %" in text
    assert text.count('<svg class="plot"') == 4  # the course and the shares, each for wide and narrow pages
    assert "not enough evidence yet" in text
    assert " style=" not in text  # which the content security policy forbids
    for name in ("stop", "ship"):
        assert f"/page/experiment/{name}" in text
    part = client.get("/live/experiment", params=PAGE, headers={"hx-request": "true"}).text
    assert part.lstrip().startswith('<div id="figures"')

    assert client.post("/page/experiment/stop", data=PAGE).status_code == 403  # without the session's token
    assert "stopped" in client.post("/page/experiment/stop", data=PAGE, headers=headers).text
    answer = client.post("/page/experiment/ship", data=PAGE | {"variant": "new"}, headers=headers)
    assert "All traffic went to <strong>new</strong>" in answer.text
    statuses = {row.creative_id: row.status for row in rows(service.engine, schema.creatives)}
    assert statuses == {"a": "retired", "b": "live", "c": "retired", "d": "draft"}
    assert client.post("/page/experiment/ship", data=PAGE | {"variant": "new"}, headers=headers).status_code == 409
    assert "new has all traffic" in client.get("/live", params=LIVE).text


def test_a_split_that_chance_does_not_make_is_shown_as_a_mismatch(client: TestClient, service: Service) -> None:
    visited(service, holdback=0.2)
    sign_in(client, service, "read")
    assert "Sample ratio mismatch" in client.get("/live", params=LIVE).text


def test_who_may_only_read_sees_no_buttons_and_changes_nothing(client: TestClient, service: Service) -> None:
    experiments.start_experiment(service.engine, AUTUMN, now=NOW)
    headers = {"x-csrf-token": sign_in(client, service, "read")}
    text = client.get("/live/experiment", params=PAGE).text
    assert "Being read from the events" in text
    assert "/page/experiment/" not in text
    for name in ("stop", "ship"):
        answer = client.post(f"/page/experiment/{name}", data=PAGE | {"variant": "new"}, headers=headers)
        assert answer.status_code == 403
    assert experiments.list_experiments(service.engine)[0].status == "running"
    assert client.get("/live/experiment", params={"name": "<b>"}).status_code == 404
