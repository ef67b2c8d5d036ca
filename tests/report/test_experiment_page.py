"""The experiment page: its words follow the decision, texts are escaped, and files stand alone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest

from clickscape.experiment.reading import DayReading, Decision, ExperimentReading, VariantReading
from clickscape.report.experiment_figures import Course, clear_since, shares_plot
from clickscape.report.experiment_page import compose_experiment, headline
from clickscape.types import ClickCounts, Estimate

DAYS = [date(2026, 3, 2) + timedelta(days=place) for place in range(10)]
EVIL = '<script>alert(1)</script> & "co"'


def variant(name: str, share: float, *, lift: float = 0.2, decision: Decision | None = None) -> VariantReading:
    def day(place: int) -> DayReading:
        wide = 0.6 / (place + 1) + 0.05
        estimate = Estimate(lift, lift - wide, lift + wide) if decision and place else None
        units = round(1_000 * share) * (place + 1)
        return DayReading(DAYS[place], units, ClickCounts(5 * units, units // 5), estimate)

    days = tuple(day(place) for place in range(10))
    last = days[-1]
    return VariantReading(name, share, last.units, last.counts, 7, Estimate(0.04, 0.03, 0.05), days, None, decision)


def reading(name: str = "new", decision: Decision = "better", **changed: object) -> ExperimentReading:
    known = ExperimentReading(
        name="autumn", allocation="randomized with shares", unit="user", control="control", level=0.95, adjusted=False,
        variants=(variant("control", 0.6), variant(name, 0.4, decision=decision)), sample_ratio=None,
        notes=(f"a note of {name}",),
    )  # fmt: skip
    return replace(known, **changed)  # type: ignore[arg-type]


def test_a_course_is_clear_since_the_day_from_which_zero_stays_outside() -> None:
    inside, outside = Estimate(0.1, -0.1, 0.3), Estimate(0.1, 0.05, 0.15)
    course = Course("new", tuple(DAYS[:4]), (outside, inside, outside, outside))
    assert clear_since(course) == DAYS[2]
    assert clear_since(replace(course, estimates=(outside, outside, outside, None))) is None
    assert clear_since(replace(course, estimates=(inside,) * 4)) is None


def test_the_page_says_what_was_decided_and_shows_every_day_as_a_table_too() -> None:
    page = compose_experiment(reading(), simulated=False)
    told = page.html.replace("\N{NO-BREAK SPACE}", " ")
    assert "<h1>new is clicked 20.0% more than control (95% interval +9.0 to +31.0%).</h1>" in told
    assert "clear since 6 Mar" in told  # .6 / 5 + .05 is the first width below .2
    for day in DAYS:
        assert page.html.count(f'<th scope="row">{day}</th>') == 2, "both plots have their table"
    assert "simulated users" not in page.html
    assert "simulated users" in compose_experiment(reading(), simulated=True).html
    assert set(page.drawings) == {"over-time-1.svg", "shares.svg", "lifts.svg"}


def test_a_lift_drawn_towards_earlier_experiments_stands_beside_its_own() -> None:
    plain = reading()
    control, new = plain.variants
    drawn = replace(plain, variants=(control, replace(new, shrunk=Estimate(0.12, 0.04, 0.2))))
    assert "drawn towards earlier experiments" not in compose_experiment(plain, simulated=False).html
    page = compose_experiment(drawn, simulated=False).html
    assert "drawn towards earlier experiments" in page
    assert "expect +12.0%" in page


def test_without_known_allocation_nothing_is_a_lift() -> None:
    unknown = reading(decision="association", allocation="unknown")
    page = compose_experiment(unknown, simulated=False)
    body = page.html.partition("</head>")[2].lower()
    assert "association" in body
    assert not re.search(r"\blift|caused", body)
    assert "differences.svg" in page.drawings
    assert not any("lift" in drawing.lower() for drawing in page.drawings.values())


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("worse", "new is clicked 20.0% less than control"),
        ("not enough evidence yet", "new: not enough evidence yet"),
        ("sample ratio mismatch", "nothing can be concluded"),
        ("no difference of the size planned", "new and control differ by less than was planned for"),
    ],
)
def test_headlines_follow_the_decision(decision: Decision, said: str) -> None:
    one = variant("new", 0.4, lift=-0.2, decision=decision)
    assert said in headline(one, reading())


def test_names_and_notes_are_escaped_everywhere() -> None:
    page = compose_experiment(reading(EVIL), simulated=False)
    for text in (page.html, *page.drawings.values()):
        assert "<script" not in text
    assert "&lt;script&gt;" in page.html
    assert "default-src 'none'" in page.html
    assert " style=" not in page.html, "the policy would refuse it"


def test_each_drawing_is_whole_xml_with_title_description_and_its_own_style() -> None:
    for called, text in compose_experiment(reading(EVIL), simulated=False).drawings.items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", called
        found = {child.tag.rpartition("}")[2] for child in root}
        assert {"title", "desc", "style"} <= found
        ids = [one.get("id") for one in root.iter() if one.get("id")]
        assert len(ids) == len(set(ids))
        assert set(str(root.get("aria-labelledby")).split()) <= set(ids)


def test_bars_are_as_high_as_the_shares_of_the_day() -> None:
    drawing = shares_plot(["a", "b"], [[30, 0], [10, 0]], DAYS[:2], planned=[0.5, 0.5], key="k", title="t", width=400,
                          height=248)  # fmt: skip
    bars = re.findall(r'<rect fill="url\(#k-(\w+)\)" class="share"[^>]* height="([\d.]+)"', drawing)
    assert bars == [("solid", "150"), ("rising", "50")], "of 200 pixels; a day without users has no bar"
