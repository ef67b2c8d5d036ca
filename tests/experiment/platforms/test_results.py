"""Result tables of platforms: read rightly or refused with their line, and called randomized only where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms.account import Platform
from clickscape.experiment.platforms.numbers import NumberStyle, number_style, read_amount, read_count
from clickscape.experiment.platforms.results import DayCounts, PlatformResults, read_results

Make = Callable[..., ExperimentDefinition]
FIRST, SECOND = date(2026, 12, 7), date(2026, 12, 8)


def read(definition: ExperimentDefinition, platform: Platform, text: str | bytes, **options: Any) -> PlatformResults:
    data = text.encode() if isinstance(text, str) else text
    return read_results(data, platform, definition, where="results.csv", **options)


META = """Day,Ad set name,Ad name,Impressions,Link clicks,Results,CTR (all)
,,,"4,600",92,7,2.00
2026-12-07,Base [autumn/control],mug,"1,000",10,1,1.00
2026-12-07,Base [autumn/control],shoe,"1,200",30,2,2.50
2026-12-07,Base [autumn/new],mug,"1,100",22,,2.00
2026-12-08,Base [autumn/new],mug,"1,300",30,4,2.31
"""


def test_ads_of_a_cell_add_up_by_variant_and_day(experiment: Make) -> None:
    found = read(experiment(), "meta", META)
    assert found.counts == (
        DayCounts("control", FIRST, 2200, 40, 3.0),
        DayCounts("new", FIRST, 1100, 22, 0.0),
        DayCounts("new", SECOND, 1300, 30, 4.0),
    )
    assert found.allocation == "randomized with shares"
    assert found.notes == ()


def test_a_total_that_the_rows_do_not_reach_is_refused(experiment: Make) -> None:
    """A row was left out by a filter, or another campaign is in the total."""
    with pytest.raises(ExperimentError, match=r"results\.csv, line 2: 4,600 impressions in all, the rows have 3,300"):
        read(experiment(), "meta", "\n".join(META.splitlines()[:-1]) + "\n")


def test_metas_empty_cell_of_clicks_is_zero_and_said(experiment: Make) -> None:
    found = read(experiment(), "meta", META.replace('"1,100",22,,2.00', '"1,100",,,').replace("92", "70"))
    assert found.counts[1] == DayCounts("new", FIRST, 1100, 0, 0.0)
    assert "1 rows without a number of clicks" in found.notes[0]


def test_a_german_table_reads_as_the_english_one(experiment: Make) -> None:
    german = """Day;Ad set name;Ad name;Impressions;Link clicks;Results;CTR (all)
Gesamt;;;4.600;92;7;2,00 %
2026-12-07;Base [autumn/control];mug;1.000;10;1;1,00 %
2026-12-07;Base [autumn/control];shoe;1.200;30;2;2,50 %
2026-12-07;Base [autumn/new];mug;1.100;22;;2,00 %
2026-12-08;Base [autumn/new];mug;1.300;30;4;2,31 %
"""
    assert read(experiment(), "meta", german).counts == read(experiment(), "meta", META).counts
    assert read(experiment(), "meta", german.encode("utf-16")).counts == read(experiment(), "meta", META).counts


def test_insights_as_json_read_as_the_table(experiment: Make) -> None:
    data = [
        {"date_start": day, "date_stop": day, "adset_name": f"Base [autumn/{arm}]", "adset_id": "12345678901234567890",
         "ad_name": ad, "impressions": shown, "inline_link_clicks": clicks}
        for day, arm, ad, shown, clicks in (
            ("2026-12-07", "control", "mug", "1000", "10"), ("2026-12-07", "control", "shoe", "1200", "30"),
            ("2026-12-07", "new", "mug", "1100", "22"), ("2026-12-08", "new", "mug", "1300", "30"))
    ]  # fmt: skip
    found = read(experiment(), "meta", json.dumps({"data": data, "paging": {"cursors": {"after": "x"}}}))
    expected = [(one.variant, one.day, one.impressions, one.clicks) for one in read(experiment(), "meta", META).counts]
    assert [(one.variant, one.day, one.impressions, one.clicks) for one in found.counts] == expected
    assert {one.conversions for one in found.counts} == {None}, "the answer does not say how many"
    with pytest.raises(ExperimentError, match="one page of several"):
        read(experiment(), "meta", json.dumps({"data": data, "paging": {"next": "https://graph.facebook.com/"}}))


GOOGLE = [
    {
        "experiment": {"name": "clickscape autumn", "resourceName": "customers/1/experiments/2"},
        "segments": {"date": day},
        "metrics": {"impressions": shown, "clicks": clicks, "controlImpressions": base, "controlClicks": base_clicks},
    }
    for day, shown, clicks, base, base_clicks in (
        ("2026-12-08", "1300", "30", "1250", "20"),
        ("2026-12-07", "1100", "22", "1000", "10"),
    )
]


def test_googles_experiment_rows_hold_both_arms(experiment: Make) -> None:
    wanted = (
        DayCounts("control", FIRST, 1000, 10, None),
        DayCounts("new", FIRST, 1100, 22, None),
        DayCounts("control", SECOND, 1250, 20, None),
        DayCounts("new", SECOND, 1300, 30, None),
    )
    for answer in ({"results": GOOGLE}, [{"results": GOOGLE[:1]}, {"results": GOOGLE[1:]}]):
        found = read(experiment(), "google-ads", json.dumps(answer))
        assert found.counts == wanted
        assert found.allocation == "randomized with shares"
    table = "segments.date,metrics.impressions,metrics.clicks,metrics.control_impressions,metrics.control_clicks\n"
    table += "2026-12-07,1100,22,1000,10\n2026-12-08,1300,30,1250,20\n"
    assert read(experiment(), "google-ads", table).counts == wanted


def test_another_experiments_rows_are_refused(experiment: Make) -> None:
    other = json.loads(json.dumps(GOOGLE))
    other[1]["experiment"]["name"] = "spring"
    with pytest.raises(ExperimentError, match="holds the experiment 'spring', expected 'clickscape autumn'"):
        read(experiment(), "google-ads", json.dumps({"results": other}))
    with pytest.raises(ExperimentError, match="2026-12-08 comes twice"):
        read(experiment(), "google-ads", json.dumps({"results": [GOOGLE[0], GOOGLE[0]]}))


REPORT = """Experiment report
"December 7, 2026 - December 8, 2026"
Day,Experiment arm,Impr.,Clicks,Conversions
"Dec 7, 2026",Base assets,"1,000",10,1.50
"Dec 7, 2026",autumn/new,"1,100",22,2.25
Total: Experiment, --,"2,100",32,3.75
"""


def test_a_downloaded_report_with_titles_and_totals_is_read(experiment: Make) -> None:
    found = read(experiment(), "google-ads", REPORT, names={"Base assets": "control"})
    assert found.counts == (DayCounts("control", FIRST, 1000, 10, 1.5), DayCounts("new", FIRST, 1100, 22, 2.25))


def test_one_of_several_totals_has_to_be_the_rows(experiment: Make) -> None:
    """A report ends with the total of the experiment and that of the account."""
    table = REPORT + 'Total: Account, --,"90,000",700,8.00\n'
    assert read(experiment(), "google-ads", table, names={"Base assets": "control"}).counts[0].clicks == 10


def test_an_arm_that_nobody_knows_is_named_with_its_line(experiment: Make) -> None:
    with pytest.raises(ExperimentError, match=r"results\.csv, line 4: 'Base assets' is none of control, new\. Say"):
        read(experiment(), "google-ads", REPORT)
    with pytest.raises(ExperimentError, match="has no variant 'old'"):
        read(experiment(), "google-ads", REPORT, names={"Base assets": "old"})


def test_metrics_of_assets_are_an_association(experiment: Make) -> None:
    table = "Day,Asset,Impressions,Clicks\n"
    table += "2026-12-07,mug-new@google-pmax-square 0123456789ab,900,9\n2026-12-07,mug-control,1000,8\n"
    table += "Total,,1200,12\n"  # does not add up, and need not
    found = read(experiment(), "google-ads", table)
    assert found.allocation == "unknown"
    assert "do not add up" in found.notes[0]
    assert [(one.variant, one.impressions) for one in found.counts] == [("control", 1000), ("new", 900)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2026-12-08", "12/08/2026", r"line 6: '12/08/2026' is no day"),
        ("2026-12-08", "2026-12-07", r"line 6: the same arm and day as in line 5"),
        ('"1,300",30', '"1,300",1400', r"line 6: 1,400 clicks of 1,300 impressions"),
        ('"1,300"', "-1300", r"line 6, impressions: '-1300', expected a whole number"),
        ('"1,300"', "1.3K", r"line 6, impressions: '1.3K', expected a whole number"),
        ('"1,300"', "<10", r"line 6, impressions: '<10', expected"),
        ('"1,300"', "9" * 5_000, r"line 6, impressions: '9{40}', expected a number of at most 12 digits"),
        ('"1,300"', "1.300", r"line 6, impressions: '1\.300', expected a whole number"),
        ('"1,300"', '"13,00"', r"'2\.00' and '13,00' mark the fraction in two ways"),
        ("Link clicks", "Clicks (all)", r"no column of clicks, one of inline_link_clicks, link clicks"),
        ("Day,", "Month,", r"no column of days"),
        ("Impressions", "Reach", r"no header with any of impressions"),
        ("Ad name", "Ad set name", r"two columns 'ad set name'"),
        (',mug,"1,300"', ',mug,and more,"1,300"', r"line 6: 8 cells, the header has 7"),
        (',mug,"1,300"', ',"mug,"1,300"', r"line 6: "),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(experiment: Make, old: str, new: str, said: str) -> None:
    assert old in META
    with pytest.raises(ExperimentError, match=said) as caught:
        read(experiment(), "meta", META.replace(old, new))
    assert str(caught.value).startswith("results.csv")


def test_a_missing_arm_is_refused(experiment: Make) -> None:
    rows = [line for line in META.splitlines()[:1] + META.splitlines()[2:] if "autumn/new" not in line]
    with pytest.raises(ExperimentError, match="no row of the variant 'new'"):
        read(experiment(), "meta", "\n".join(rows))


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00", b"\x00" * 40, b"{", b"[" * 10_000, b'{"data": 3}', b'{"data": [1]}', b"", b"\xc3\x28,b\n",
     b'{"data": [{"impressions": {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}}]}', b"PK\x03\x04\x00"],
)  # fmt: skip
def test_a_file_of_another_kind_is_one_line(experiment: Make, data: bytes) -> None:
    with pytest.raises(ExperimentError) as caught:
        read(experiment(), "meta", data)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    from clickscape.experiment.platforms.table import read_table

    try:
        read_table(data, where="x", needed=["impressions"])
    except ExperimentError:
        return


@pytest.mark.parametrize("group", [",", ".", " ", "\u00a0", "\u202f", "'", "\u2019"])
@given(number=st.integers(0, 10**12 - 1))
def test_a_grouped_count_is_read_back(group: str, number: int) -> None:
    assert read_count(f"{number:,}".replace(",", group), NumberStyle(), where="x") == number


@given(whole=st.integers(0, 10**9), cents=st.integers(0, 99))
def test_amounts_are_read_back_in_both_spellings(whole: int, cents: int) -> None:
    english, german = f"{whole:,}.{cents:02}", f"{whole:,}".replace(",", ".") + f",{cents:02}"
    for text in (english, german):
        style = number_style([text], where="x")
        assert read_amount(text, style, where="x") == pytest.approx(whole + cents / 100)


def test_an_amount_that_means_two_things_is_refused() -> None:
    with pytest.raises(ExperimentError, match="can be read in one way"):
        read_amount("1.234", NumberStyle(), where="x")
    assert read_amount("1.234", NumberStyle(fraction="."), where="x") == pytest.approx(1.234)
    assert read_amount("1.234", NumberStyle(fraction=","), where="x") == 1234


def test_ids_stay_texts(experiment: Make) -> None:
    """A creative is called 1.234, and one ad set has an id that no float holds."""
    table = META.replace(",mug,", ",1.234,").replace("Ad name", "Ad ID")
    assert read(experiment(), "meta", table).counts == read(experiment(), "meta", META).counts
