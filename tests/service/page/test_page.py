"""The page's routes: who may do what, what is escaped, and what the pages say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from tests.service.conftest import NOW, creative, fill, rows, sign_in

from clickscape.service import schema
from clickscape.service.app import Service
from clickscape.service.event_writer import Event
from clickscape.service.page import words

HOSTILE = "<img src=x onerror=alert(1)>\"'"


def decide(client: TestClient, csrf: str | None, **form: str) -> int:
    headers = {"hx-request": "true"} | ({"x-csrf-token": csrf} if csrf else {})
    return client.post("/page/decide", data={"creative": "d", **form}, headers=headers).status_code


def test_a_change_needs_the_token_and_the_role(client: TestClient, service: Service) -> None:
    csrf = sign_in(client, service, "approve")
    assert decide(client, None, decision="approve") == 403
    assert decide(client, "x" * 43, decision="approve") == 403
    for address in (
        "/page/ship",
        "/page/stop",
        "/page/add",
        "/page/generate",
        "/page/draw",
        "/page/correct",
        "/page/export",
        "/page/heat-map",
        "/page/labels/export",
        "/page/labels/import",
        "/sign-out",
    ):
        assert client.post(address, data={"creative": "a", "product": "mug"}).status_code == 403, address
    assert not rows(service.engine, schema.reviews)
    assert decide(client, csrf, decision="approve") == 200
    readers = sign_in(client, service, "read")
    assert decide(client, readers, decision="reject") == 403
    assert client.get("/create").status_code == 403
    page = client.get("/review", params={"product": "mug"}).text
    assert '<h2 class="says"' in page
    assert "data-send" not in page
    assert 'value="approve"' not in page
    assert 'value="reject"' not in page
    assert "/page/stop" not in client.get("/live", params={"product": "mug"}).text


@pytest.mark.parametrize("path", ["/review", "/live", "/create"])
@pytest.mark.parametrize("name", ["product", "product_id"])
def test_a_product_that_is_not_there_is_said_and_never_another_shown(
    client: TestClient, service: Service, path: str, name: str
) -> None:
    sign_in(client, service, "approve")
    lost = client.get(path, params={name: "<b>sofa"})
    assert lost.status_code == 404
    assert "There is no product “&lt;b&gt;sofa”. The catalog lists those that there are." in lost.text
    assert '<a href="/catalog">Catalog</a>' in lost.text
    assert "The mug" not in lost.text
    assert "The mug" in client.get(path, params={name: "mug"}).text


def test_a_decision_is_kept_with_its_reason_and_its_card_comes_back(client: TestClient, service: Service) -> None:
    csrf = sign_in(client, service, "approve")
    form = {"creative": "d", "decision": "reject", "reason": HOSTILE}
    answer = client.post("/page/decide", data=form, headers={"x-csrf-token": csrf, "hx-request": "true"})
    assert 'data-answer="rejected"' in answer.text
    assert "<img src=x" not in answer.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text
    (kept,) = rows(service.engine, schema.reviews)
    assert (kept.creative_id, kept.decision, kept.reason) == ("d", "reject", HOSTILE)
    assert decide(client, csrf, decision="retire") == 409
    assert decide(client, csrf, decision="eat") == 422
    assert decide(client, csrf, decision="approve", creative="nobody") == 404
    assert decide(client, csrf, decision="reject", reason="x" * 501) == 422


def test_hostile_titles_ids_and_descriptions_are_text_on_every_page(client: TestClient, service: Service) -> None:
    name = "\"><script>alert(1)</script>&'"
    fill(service.engine, [creative("evil", name), creative("evil-draft", name, "draft")])
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(
            schema.products.update().values(title=HOSTILE, flags=[HOSTILE], image="x.png", photo="y.png")
        )
        connection.execute(schema.creatives.update().values(description=HOSTILE, stale=True))
    sign_in(client, service, "approve")
    for address in ("/catalog", "/review", "/live", "/create"):
        text = client.get(address, params={"product": name}).text
        assert "onerror=alert" in text, address
        assert "<img src=x" not in text, address
        assert "<script>" not in text, address
        assert 'onerror=alert(1)>"' not in text, address


def test_no_page_needs_what_its_policy_forbids(client: TestClient, service: Service) -> None:
    sign_in(client, service, "approve")
    for address in ("/catalog", "/review?product=mug", "/live?product=mug", "/create", "/create?product=mug"):
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"\s(style|on\w+)=|<style|<script(?! src=)|https?://", answer.text), address


def test_the_catalog_searches_and_shows_what_needs_a_person(client: TestClient, service: Service) -> None:
    fill(service.engine, [creative("p", "100%_pot", "draft"), creative("v", "vase")])
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        table = schema.products
        connection.execute(table.update().where(table.c.product_id == "vase").values(flags=["doubtful"]))
        connection.execute(table.update().where(table.c.product_id == "mug").values(flags=[]))
        creatives = schema.creatives
        connection.execute(creatives.update().where(creatives.c.creative_id == "v").values(stale=True))
    sign_in(client, service, "read")

    def shown(**asked: str) -> list[str]:
        text = client.get("/catalog", params=asked, headers={"hx-request": "true"}).text
        return re.findall(r"<h2>The (.+?)</h2>", text)

    assert shown() == ["100%_pot", "mug", "vase"]
    assert shown(search="%") == ["100%_pot"]
    assert shown(search="THE as") == ["vase"]
    assert shown(show="unapproved") == ["100%_pot"]
    assert shown(show="stale") == shown(show="flagged") == ["vase"]
    assert shown(after="mug") == ["vase"]


def test_the_catalog_names_the_rows_of_the_feed_that_something_is_wrong_with(
    client: TestClient, service: Service
) -> None:
    from clickscape.catalog.feed_report import FeedReportBuilder, FeedWarning

    sign_in(client, service, "read")
    assert "Feed problems" not in client.get("/catalog").text
    assert "No feed was read yet" in client.get("/catalog", params={"show": "feed"}).text
    report = FeedReportBuilder()
    report.add_product(FeedWarning("no price", "line 14", HOSTILE, HOSTILE))
    report.add_skipped("line 15", f"product {HOSTILE} has no title.")
    for number in range(120):
        report.add_product(FeedWarning("no brand", f"line {20 + number}", f"p{number}"))
    kept = service.workspace / "feed-report.json"
    kept.write_text(json.dumps({"feed": f"{HOSTILE}.csv", **asdict(report.build())}))
    assert re.search(r'Feed problems <span class="number">122<', client.get("/catalog").text)
    text = client.get("/catalog", params={"show": "feed"}).text
    assert "line 14" in text
    assert re.search(r"line 15</strong> product &lt;img src=x", text)
    assert "And 20 more." in text
    assert "<img src=x" not in text
    kept.write_text('{"feed": 1')
    assert client.get("/catalog", params={"show": "feed"}).status_code == 200


def event(number: int, kind: str, name: str, variant: str = "bandit") -> Event:
    return Event(f"{kind}{number}", kind, "attributed", f"{number:016x}", name, "mug", "feed", f"{number:016x}", "p",  # type: ignore[arg-type]
                 variant, NOW, NOW, NOW)  # fmt: skip


@pytest.mark.parametrize(
    ("clicks", "ahead"),
    [({"a": 90, "b": 30, "c": 30}, True), ({"a": 33, "b": 30, "c": 30}, False), ({"a": 90, "b": 30}, False)],
)
def test_shipping_stands_out_only_for_an_ad_that_is_surely_ahead(
    client: TestClient, service: Service, clicks: dict[str, int], ahead: bool
) -> None:
    sign_in(client, service, "approve")
    counts = [{"product_id": "mug", "creative_id": name, "placement": "feed", "day": 20_000, "impressions": 1_000,
               "clicks": number, "conversions": 0} for name, number in clicks.items()]  # fmt: skip
    with service.engine.begin() as connection:
        connection.execute(sa.insert(schema.counts), counts)
    text = client.get("/live", params={"product": "mug"}).text
    assert ('id="ship-a" class="main"' in text) == ahead
    assert text.count('class="main" aria-label="Ship') == int(ahead)
    assert text.count("It may be chance that this ad is ahead") == 3 - int(ahead)


def plain(text: str) -> str:
    """The text with spaces where a line may not break."""
    return text.replace("\u00a0", " ")


def test_live_shows_counts_intervals_and_shares_and_stops_and_ships(client: TestClient, service: Service) -> None:
    events = [event(number, "impression", "a") for number in range(100)]
    service.writer.write([*events, *(event(number, "click", "a") for number in range(10))]).result()
    csrf = sign_in(client, service, "approve")
    text = plain(client.get("/live", params={"product": "mug"}).text)
    assert "10.00 %" in text
    assert "5.52 % to 17.44 %" in text  # Wilson's interval of 10 in 100
    assert text.count("25.0 %") == 2  # the conftest's shares: a half and two quarters
    asked = sorted(row.payload["about"] for row in rows(service.engine, schema.jobs) if row.kind == "read")
    assert asked == ["fatigue", "product"]
    headers = {"x-csrf-token": csrf}
    client.post("/page/stop", data={"creative": "c"}, headers=headers)
    assert client.post("/page/ship", data={"creative": "c", "product": "mug"}, headers=headers).status_code == 409
    answer = client.post("/page/ship", data={"creative": "a", "product": "mug"}, headers=headers)
    assert "100.0 %" in plain(answer.text)
    statuses = {row.creative_id: row.status for row in rows(service.engine, schema.creatives)}
    assert statuses == {"a": "live", "b": "retired", "c": "retired", "d": "draft"}
    assert {row.reason for row in rows(service.engine, schema.reviews)} == {"stopped", "shipped a"}


def test_what_the_worker_makes_is_for_those_who_may_have_it(client: TestClient, service: Service) -> None:
    csrf = sign_in(client, service, "approve")
    headers = {"x-csrf-token": csrf, "hx-request": "true"}

    def ask(address: str, **form: str) -> int:
        return client.post(address, data=form, headers=headers).status_code

    assert ask("/page/export", creative="d", group="meta") == 409  # a draft
    assert ask("/page/export", creative="x", group="meta") == 404
    assert ask("/page/export", creative="a", group="../..") == 422
    assert ask("/page/heat-map", creative="x") == 404
    assert not rows(service.engine, schema.jobs)
    assert ask("/page/export", creative="a", group="meta") == 200
    assert ask("/page/labels/export") == 200
    wrong = client.post("/page/labels/import", files={"file": ("x.json", b"<html>")}, headers=headers)
    assert (wrong.status_code, "no list in JSON" in wrong.text) == (422, True)
    assert not (service.workspace / "service" / "uploads").exists()
    asked = client.post("/page/labels/import", files={"file": ("../../x.json", b"[]")}, headers=headers)
    assert "waiting for the worker" in asked.text
    (file,) = (service.workspace / "service" / "uploads").iterdir()
    assert re.fullmatch(r"[0-9a-f]{32}\.json", file.name)
    jobs = {row.kind: row.job_id for row in rows(service.engine, schema.jobs)}
    assert client.get("/page/download", params={"job": jobs["export"]}).status_code == 404  # it is not done
    (service.workspace / "secret.zip").write_bytes(b"x")
    for file_name in ("secret.zip", "service/downloads/../../secret.zip", "/etc/passwd"):
        with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
            connection.execute(schema.jobs.update().values(status="done", result={"file": file_name, "bytes": 1}))
        assert client.get("/page/download", params={"job": jobs["export"]}).status_code == 404, file_name
        assert client.get("/page/download", params={"job": jobs["import_labels"]}).status_code == 404

    folder = "service/downloads"
    made = {
        "export": {"file": f"{folder}/a/meta.zip", "bytes": 2_000_000, "pictures": 1_234, "left_out": [HOSTILE]},
        "export_labels": {"file": f"{folder}/labels/label-studio.zip", "bytes": 9, "tasks": 3, "answered": 1},
        "import_labels": {"answers": 12},
    }
    for kind, result in made.items():
        with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
            table = schema.jobs
            connection.execute(table.update().where(table.c.kind == kind).values(status="done", result=result))
    said = {kind: client.get("/page/work", params={"job": jobs[kind]}).text for kind in made}
    assert "1\u202f234 pictures" in said["export"]
    assert "2.0 MB" in said["export"]
    assert "Left out: &lt;img src=x" in said["export"]
    assert "Save 3 pairs" in said["export_labels"]
    assert "12 answers are kept." in said["import_labels"]
    packed = service.workspace / "service" / "downloads" / "a" / "meta.zip"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(b"PK")
    got = client.get("/page/download", params={"job": jobs["export"]})
    assert (got.content, got.headers["content-disposition"]) == (b"PK", 'attachment; filename="a-meta.zip"')

    readers = sign_in(client, service, "read")
    headers["x-csrf-token"] = readers
    assert ask("/page/export", creative="a", group="meta") == 403
    assert client.get("/page/download", params={"job": jobs["export"]}).status_code == 403
    assert client.get("/page/work", params={"job": jobs["export"]}).status_code == 403
    assert ask("/page/heat-map", creative="d") == 200  # looking is for readers as well
    assert "Label Studio" not in client.get("/review", params={"product": "mug"}).text


def test_a_heat_map_in_words_names_what_is_no_chance() -> None:
    """Log-odds of 0.4 are odds of 1.49, so 60 of 100; a region that costs 0.8 loses 69 of 100."""
    from clickscape.service.page.heat_map import _Region, in_words

    regions = [_Region("top", 0.01, -0.2, 0.2), _Region("middle", 0.4, 0.2, 0.6), _Region("left", -0.8, -1.0, -0.6)]
    assert in_words(regions) == [
        "Hurts: left. With it the ad beats itself without it 31 of 100 times (95 %: 27 to 35).",
        "Helps: middle. With it the ad beats itself without it 60 of 100 times (95 %: 55 to 65).",
        "Elsewhere: not enough evidence.",
    ]
    assert in_words(regions[:1]) == ["Not enough evidence: no region stands out."]
    unsure = in_words([_Region("top", 0.4, None, None)])
    assert unsure == [
        "Helps: top. With it the ad beats itself without it 60 of 100 times.",
        "This reward model cannot say how sure it is.",
    ]


def test_a_photo_becomes_a_job_and_anything_else_one_line(client: TestClient, service: Service) -> None:
    csrf = sign_in(client, service, "approve")
    form = {"csrf": csrf, "title": "Red <b>Mug</b>", "category": "Home > Kitchen"}
    png = {"photo": ("<svg onload=alert(1)>.png", b"\x89PNG\r\n\x1a\n" + bytes(20))}
    answer = client.post("/page/add", data=form, files=png, follow_redirects=False)
    assert answer.status_code == 303
    (job,) = rows(service.engine, schema.jobs)
    assert (job.kind, job.payload["title"], job.payload["category"]) == (
        "add_product", "Red <b>Mug</b>", ["Home", "Kitchen"]
    )  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{32}\.png", job.payload["photo"])
    text = client.get(answer.headers["location"]).text
    assert "waiting for the worker" in text
    assert "onload" not in text
    wrong = client.post("/page/add", data=form, files={"photo": ("x.png", b"<html>")})
    assert (wrong.status_code, "no PNG, JPEG" in wrong.text) == (422, True)
    assert client.post("/page/add", data=form | {"title": " "}, files=png).status_code == 422
    assert client.post("/page/correct", data={"csrf": csrf, "product": "mug", "points": "{"}).status_code == 422
    points = '{"keep": [[1, 2]], "drop": []}'
    assert client.post("/page/correct", data={"csrf": csrf, "product": "mug", "points": points}).status_code == 409


def test_pictures_of_drafts_are_for_those_who_are_signed_in_and_never_outside(
    client: TestClient, service: Service
) -> None:
    file = service.workspace / "creatives" / "images" / "d.webp"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"RIFF")
    (service.workspace.parent / "secret").write_text("x")
    with service.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(schema.products.update().values(image="../secret"))
    assert client.get("/page/picture", params={"creative": "d"}, follow_redirects=False).status_code == 303
    sign_in(client, service, "read")
    assert client.get("/page/picture", params={"creative": "d"}).content == b"RIFF"
    for asked in ({"creative": "a"}, {"creative": "x"}, {"cutout": "mug"}, {"photo": "mug"}, {}):
        assert client.get("/page/picture", params=asked).status_code == 404, asked
    assert client.get("/page/static/..%2Fvisit.py").status_code == 404


def test_a_person_reads_a_page_when_the_store_is_gone_or_an_address_is_none(
    client: TestClient, service: Service
) -> None:
    sign_in(client, service, "read")
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE sessions RENAME TO gone"))
    answer = client.get("/live")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>Not now</h1>" in answer.text
    assert "The store does not answer. Try again." in answer.text
    part = client.get("/live", headers={"hx-request": "true"})
    assert (part.status_code, part.text) == (503, "The store does not answer. Try again.")
    lost = client.get("/nowhere")
    assert (lost.status_code, "<h1>Not found</h1>" in lost.text) == (404, True)
    assert client.get("/v1/nowhere").json() == {"detail": "Not Found."}
    with service.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO sessions"))
    assert client.get("/live").status_code == 200


def test_many_products_are_chosen_from_a_list(client: TestClient, service: Service) -> None:
    names = [f"product-{number}" for number in range(9)]
    fill(service.engine, [creative(f"{name}-ad", name) for name in names])
    sign_in(client, service, "read")
    text = client.get("/live?product=product-3").text
    assert re.findall(r'<option value="(product-\d)"', text) == names
    assert re.findall(r'<option value="([^"]+)" selected>', text) == ["product-3"]


def test_an_interval_from_a_quarter_to_four_times_the_clicks_is_no_prediction() -> None:
    told = words.predicted(0.1, 0.7)
    assert told is not None
    assert told.high + 1 == pytest.approx(4.36, abs=0.01)
    assert words.predicted(0.1, 0.71) is None
