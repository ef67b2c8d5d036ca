"""Jobs are done once, in order, and done again when their worker was killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW

from clickscape.service import jobs

MINUTE = 60_000_000


def add(engine: Engine, payload: dict[str, object], *, now: int = NOW) -> str:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        return jobs.enqueue(connection, "draw", payload, now=now)


def test_the_oldest_job_is_claimed_first_and_once(engine: Engine) -> None:
    first, second = add(engine, {"n": 1}), add(engine, {"n": 2}, now=NOW + 1)
    claimed = [jobs.claim(engine, now=NOW + 2) for _ in range(3)]
    assert [one and one.job_id for one in claimed] == [first, second, None]


def test_an_equal_job_that_waits_is_not_added_twice(engine: Engine) -> None:
    first = add(engine, {"n": 1})
    assert add(engine, {"n": 1}) == first
    jobs.claim(engine, now=NOW)
    assert add(engine, {"n": 1}) != first


def test_progress_and_result_are_noted(engine: Engine) -> None:
    name = add(engine, {"n": 1})
    jobs.claim(engine, now=NOW)
    jobs.tell(engine, name, now=NOW, done=3, total=4, message="a mug")
    found = jobs.find(engine, name)
    assert found is not None
    assert (found.status, found.done, found.total, found.message) == ("running", 3, 4, "a mug")
    jobs.tell(engine, name, now=NOW, status="done", result={"creatives": ["a"]})
    found = jobs.find(engine, name)
    assert found is not None
    assert (found.status, found.result) == ("done", {"creatives": ["a"]})
    assert jobs.find(engine, "0" * 32) is None


def test_a_job_whose_worker_is_silent_is_done_again_and_given_up_the_third_time(engine: Engine) -> None:
    name, now = add(engine, {"n": 1}), NOW
    for attempt in (1, 2, 3):
        claimed = jobs.claim(engine, now=now)
        assert claimed is not None
        assert claimed.attempts == attempt - 1
        assert jobs.claim(engine, now=now + MINUTE // 2) is None
        now += MINUTE + 1
    assert jobs.claim(engine, now=now) is None
    found = jobs.find(engine, name)
    assert found is not None
    assert found.status == "failed"
    assert found.message.startswith("its worker ended three times")


def test_a_sign_of_life_keeps_a_job(engine: Engine) -> None:
    name = add(engine, {"n": 1})
    jobs.claim(engine, now=NOW)
    jobs.tell(engine, name, now=NOW + MINUTE)
    assert jobs.claim(engine, now=NOW + MINUTE + MINUTE // 2) is None


def test_a_clock_that_was_set_back_keeps_no_job_waiting(engine: Engine) -> None:
    name = add(engine, {"n": 1})
    assert jobs.claim(engine, now=NOW) is not None
    claimed = jobs.claim(engine, now=NOW - 60 * MINUTE)
    assert claimed is not None
    assert claimed.job_id == name


def test_who_asks_for_too_many_jobs_is_told_to_wait(
    client: TestClient, key: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_MOST_WAITING", 2)
    headers = key("approve")
    answers = [client.post("/v1/products/mug/creatives", json={"seed": seed}, headers=headers) for seed in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert answers[2].headers["retry-after"] == "60"
    assert client.post("/v1/products/mug/creatives", json={"seed": 0}, headers=headers).status_code == 202  # it waits
