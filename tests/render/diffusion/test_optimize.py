"""Preference optimization takes whatever renderer it is given: a real round with a tiny Stable Diffusion pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.factory import Brightness

from clickscape import render, vlm
from clickscape.config import OptimizeConfig, Settings
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.rounds import RoundReport, open_policy, optimize
from clickscape.types import Product

from .conftest import config


@pytest.mark.slow
def test_a_round_is_optimized_on_images_of_a_diffusion_renderer(
    pipelines: Path, products: list[Product], tmp_path: Path
) -> None:
    settings = Settings(diffusion=config(pipelines, "sd15", safety_model=""))
    renderer = render.load("diffusion", settings=settings)
    shelf = [
        replace(product, product_id=f"{product.product_id}-{number}", category=(department,))
        for number, department in enumerate(("Toys", "Kitchen"))
        for product in products
    ]
    small = OptimizeConfig(
        renderer="diffusion", rounds=1, products_per_round=6, candidates=3, max_new_tokens=40, min_margin=0.0,
        epochs=1, batch_size=4, render_size=64, pairs_per_product=1, unparsed_share=1.0,
    )  # fmt: skip
    writer = vlm.load("tiny")
    events = list(optimize(writer, AdPipeline(renderer, Brightness()), shelf, folder=tmp_path / "run", config=small))
    report = events[-1]
    assert isinstance(report, RoundReport)
    assert report.pairs > 0
    lines = (tmp_path / "run" / "round-1" / "candidates.jsonl").read_text().splitlines()
    candidates = [json.loads(line) for line in lines]
    assert len(candidates) == 18
    assert {one["scene"] for one in candidates} == {one["text"] for one in candidates}  # it draws words, not scenes
    assert len({one["score"] for one in candidates}) > 1
    before, after = (dict(policy.vlm.model.state_dict()) for policy in (writer, open_policy(tmp_path / "run")))
    assert any(not torch.equal(before[name], after[name]) for name in after)


def test_an_unknown_renderer_is_refused_by_the_settings() -> None:
    with pytest.raises(ValueError, match="studio"):
        OptimizeConfig(renderer="easel")  # type: ignore[arg-type]
