from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment import definition as definitions
from clickscape.experiment.definition import ExperimentDefinition, PlannedSample, Variant

Make = Callable[..., ExperimentDefinition]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shares": {"control": 0.5, "new": 0.4}}, "shares that add up to 0.9, expected 1: control 0.5, new 0.4"),
        ({"control": "old"}, "no variant 'old', which shall be its control; it has control, new"),
        ({"holdback": 1.0}, "holds back 1.0, expected a share from 0 to below 1"),
        ({"holdback": float("nan")}, "holds back nan"),
        ({"layer_from": 0.6, "traffic": 0.5}, "takes 0.5 of its layer from 0.6 on"),
        ({"traffic": 0.0}, "takes 0.0 of its layer"),
        ({"level": 1.0}, "the level 1.0"),
        ({"start": datetime(2026, 3, 2)}, "a time without its zone"),
        ({"end": datetime(2026, 3, 1, tzinfo=UTC)}, "before its start"),
        ({"name": "../up"}, "experiment '../up': expected a name"),
        ({"layer": ""}, "layer '': expected a name"),
    ],
)
def test_a_contradiction_is_one_line_that_says_what_came(
    experiment: Make, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExperimentError) as caught:
        experiment(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variants_have_different_names_a_share_each_and_a_creative_of_every_product(experiment: Make) -> None:
    control, new = experiment().variants
    with pytest.raises(ExperimentError, match="two variants 'control'"):
        experiment(variants=(control, replace(new, name="control")))
    with pytest.raises(ExperimentError, match="no creative of product 'shoe' in variant 'new'"):
        experiment(variants=(control, replace(new, creatives={"mug": "x"})))
    with pytest.raises(ExperimentError, match="has 1 variants"):
        experiment(variants=(control,))
    with pytest.raises(ExperimentError, match="may not be called 'holdback'"):
        replace(new, name="holdback")
    for share in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ExperimentError, match="expected a number between 0 and 1"):
            replace(new, share=share)


def test_thirds_that_were_written_with_few_digits_are_shares(experiment: Make) -> None:
    third = 0.333333333
    assert experiment(shares={"control": third, "new": third, "other": third}).treatments == ("new", "other")


def test_several_comparisons_share_the_level(experiment: Make) -> None:
    assert experiment().comparison_level == pytest.approx(0.95)
    three = experiment(shares={"control": 0.4, "new": 0.3, "other": 0.3})
    assert three.comparison_level == pytest.approx(0.975)


def test_an_experiment_is_read_back_as_it_was_written(experiment: Make, tmp_path: Path) -> None:
    planned = PlannedSample(baseline_ctr=0.02, lift=0.1, users=1_000, days=14, reading="always-valid")
    berlin = timezone(timedelta(hours=1))
    made = experiment(planned=planned, holdback=0.05, start=datetime(2026, 3, 2, 1, tzinfo=berlin))
    path = tmp_path / "autumn" / "experiment.json"
    definitions.write(path, made)
    read = definitions.read(path)
    assert read == made
    assert read.start == datetime(2026, 3, 2, tzinfo=UTC)
    assert read.creative("new", "mug") == "mug-new"
    with pytest.raises(ExperimentError, match="no product 'hat'"):
        read.creative("new", "hat")


def test_the_file_holds_no_secret(experiment: Make, tmp_path: Path) -> None:
    from tests.experiment.conftest import KEY

    definitions.write(tmp_path / "experiment.json", experiment())
    assert KEY.hex() not in (tmp_path / "experiment.json").read_text(encoding="utf-8")


def test_a_damaged_file_is_told_by_its_path_and_part(experiment: Make, tmp_path: Path) -> None:
    path = tmp_path / "experiment.json"
    for change, message in (
        ({"start": "soon"}, "start: "),
        ({"holdback": 2}, "holds back 2"),
        ({"variants": [{"name": "a", "share": 0.5, "creatives": {"p": 7}}]}, "variants.0.creatives.p"),
    ):
        path.write_text(json.dumps(definitions.as_record(experiment()) | change), encoding="utf-8")
        with pytest.raises(ExperimentError) as caught:
            definitions.read(path)
        assert str(caught.value).startswith(str(path))
        assert message in str(caught.value)


def test_a_variant_keeps_its_creatives_for_itself() -> None:
    creatives = {"mug": "a"}
    variant = Variant("new", 0.5, creatives)
    creatives["mug"] = "b"
    assert variant.creatives["mug"] == "a"
