from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clickscape import report as reports
from clickscape.report import html, records
from clickscape.types import Estimate

Whole = Callable[..., records.Report]
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> javascript:alert(1)'
BADGE = "simulated clicks · world harmony"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Every start tag with its attributes, and whether the tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_whole_page_is_self_contained(workspace: Path, whole_report: Whole) -> None:
    text = reports.render(whole_report(), workspace=workspace)
    page = Page(text)
    assert not page.open
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        assert "style" not in attributes  # the policy would block it
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"url\(|@import", text)


def test_policy_allows_exactly_the_style_sheet_of_the_page(workspace: Path, whole_report: Whole) -> None:
    text = reports.render(whole_report(), workspace=workspace)
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    policy = next(
        m["content"] or "" for m in Page(text).named("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_hostile_texts_stay_texts(workspace: Path, whole_report: Whole) -> None:
    hostile, tame = (
        Page(reports.render(whole_report(title=title), workspace=workspace)) for title in (HOSTILE, "tame")
    )
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in tame.tags]
    assert [list(attributes) for _, attributes in hostile.tags] == [list(attributes) for _, attributes in tame.tags]
    assert [a.get("href") for a in hostile.named("a")] == [a.get("href") for a in tame.named("a")]


def test_every_figure_and_table_says_that_clicks_are_simulated(workspace: Path, whole_report: Whole) -> None:
    text = reports.render(whole_report(), workspace=workspace)
    captions = re.findall(r"<(caption|figcaption)>(.*?)</\1>", text, re.DOTALL)
    assert len(captions) == len(re.findall(r"<(?:table|figure)\b", text))
    assert all(BADGE in caption for _, caption in captions)


def test_pictures_have_alternative_texts_and_tables_have_headers(workspace: Path, whole_report: Whole) -> None:
    text = reports.render(whole_report(), workspace=workspace)
    page = Page(text)
    assert len(page.named("img")) == 4
    assert all(
        image["alt"] and (image["src"] or "").startswith("data:image/webp;base64,") for image in page.named("img")
    )
    drawings = [drawing for drawing in page.named("svg") if drawing.get("class")]
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") == "true" for drawing in drawings)
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        body = re.search(r"<tbody.*?</tbody>", table, re.DOTALL)
        assert body
        assert body.group().count('scope="row"') == body.group().count("<tr")
        assert 'scope="col"' in table


def test_the_page_speaks_to_a_marketer(workspace: Path, whole_report: Whole) -> None:
    """Words of the laboratory stay in the documentation."""
    page = reports.render(whole_report(), workspace=workspace)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert not re.findall(r"\bnats?\b|\boracle\b|\bparse rate\b", text, re.IGNORECASE)
    assert "Show setting: Night cream (+18%, +15 to +21%)" in re.sub(r"\s+", " ", text)
    assert "Leave out light: neon" in re.sub(r"\s+", " ", text)


def test_same_report_same_bytes_also_after_a_round_trip(workspace: Path, tmp_path: Path, whole_report: Whole) -> None:
    report = whole_report(title=HOSTILE)
    reports.save(report, tmp_path / "runs" / "report.json")
    again = reports.load(tmp_path / "runs" / "report.json")
    assert again == report
    assert reports.render(again, workspace=workspace) == reports.render(report, workspace=workspace)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "name", ["next_steps", "gallery", "accuracy", "learning", "comparison", "clicks", "timing", "provenance", "notes"]
)
def test_a_missing_part_is_left_out(name: str, workspace: Path, whole_report: Whole) -> None:
    empty: object = () if name in {"learning", "timing", "notes"} else None
    report = whole_report()
    text = reports.render(report.model_copy(update={name: empty}), workspace=workspace)
    anchors = {
        "next_steps": "next",
        "accuracy": "reward",
        "timing": "making",
        "provenance": "making",
        "notes": "limits",
    }
    kept = name in {"timing", "provenance", "notes"}  # they share a section with others
    anchor = anchors.get(name, name)
    assert (f'id="{anchor}"' in text) == kept
    assert (f'href="#{anchor}"' in text) == kept
    assert "None" not in text


def test_curves_run_on_when_steps_are_numbered_anew_in_each_round() -> None:
    def page(numbers: list[int]) -> str:
        steps = [records.TrainingStep(number=n, round=1 + k // 3, loss=1 / (k + 1)) for k, n in enumerate(numbers)]
        curve = records.LearningCurve(role="product_centric", steps=tuple(steps))
        return reports.render(records.Report(title="x", simulated=False, learning=(curve,)))

    anew = page([1, 2, 3, 1, 2, 3])
    assert anew == page([1, 2, 3, 4, 5, 6])
    points = re.search(r'points="([^"]+)" class="curve"', anew)
    assert points
    across = [float(point.split(",")[0]) for point in points.group(1).split()]
    assert across == sorted(set(across))
    assert len(across) == 6
    assert "round 2</text>" in anew


def test_a_real_shop_shows_no_truth_and_no_simulation(whole_report: Whole) -> None:
    report = records.Report(
        title="Corner shop",
        simulated=False,
        accuracy=records.RewardAccuracy(observed=Estimate(0.63, 0.6, 0.66), pairs=90, products=9, objects=3),
        learning=whole_report().learning,
        clicks=whole_report().clicks.model_copy(update={"positions": ()}),
    )
    text = reports.render(report)
    assert "simulated" not in text
    assert "true CTR" not in text
    assert "True CTR" not in text
    assert "orders 63% of held-out pairs" in text


def test_a_picture_that_is_no_data_uri_is_refused(whole_report: Whole) -> None:
    with pytest.raises(ValueError, match="data:image"):
        html.compose(whole_report(), pictures={"before.webp": "https://example.org/x.png"})


CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_a_browser_applies_the_style_sheet_and_no_page_is_wider_than_a_phone(
    workspace: Path, tmp_path: Path, whole_report: Whole
) -> None:
    text = reports.render(whole_report(title="Long" * 30), workspace=workspace)
    # the page measures itself: for this test its policy also lets one known script in
    script = 'document.title = [document.documentElement.scrollWidth, getComputedStyle(document.body).margin].join(" ")'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    measured = text.replace("base-uri 'none'", f"script-src 'sha256-{digest}'; base-uri 'none'", 1)
    measured = measured.replace("</body>", f"<script>{script}</script></body>")
    frame = tmp_path / "phone.html"
    inside = measured.replace("&", "&amp;").replace('"', "&quot;")
    frame.write_text(
        f'<!doctype html><iframe width="360" height="800" srcdoc="{inside}"></iframe><script>onload = () => {{'
        "document.title = frames[0].document.title }</script>",
        encoding="utf-8",
    )
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(CHROMIUM), *quiet, profile, "--virtual-time-budget=2000", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(\d+) (\S+)</title>", done.stdout)
    assert title, done.stdout[:300]
    assert int(title.group(1)) <= 360
    assert title.group(2) == "0px"  # the style sheet was let in by its hash


def test_a_share_that_cannot_be_measured_is_called_so_with_the_reason(workspace: Path, whole_report: Whole) -> None:
    whole = whole_report()
    assert whole.accuracy is not None
    accuracy = whole.accuracy.model_copy(update={"normalized": None, "ceiling": Estimate(0.52, 0.49, 0.55)})
    text = reports.render(whole.model_copy(update={"accuracy": accuracy}), workspace=workspace)
    assert "not measurable: the noise ceiling, 0.520 [0.490, 0.550], is too near" in text
    assert "not measurable" not in reports.render(whole, workspace=workspace)
