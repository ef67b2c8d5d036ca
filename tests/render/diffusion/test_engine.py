"""The whole renderer on tiny pipelines of the real classes: exact product, batches that change nothing, no black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clickscape.render
from clickscape.config import DiffusionConfig, Settings
from clickscape.errors import RenderError
from clickscape.render.diffusion import frame as frames
from clickscape.render.diffusion import weights
from clickscape.render.diffusion.engine import DiffusionRenderer
from clickscape.render.diffusion.weights import Weights
from clickscape.types import Product

from .conftest import config

LONG = ", ".join(["warm oak table", "soft light", "lemons", "mint wall"] * 12)


@pytest.fixture(scope="module", params=["sd15", pytest.param("sdxl", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, pipelines: Path) -> tuple[DiffusionConfig, Weights]:
    settings = config(pipelines, request.param, negative="text, blurred", batch_size=3)
    return settings, weights.load(settings)


@pytest.fixture
def renderer(opened: tuple[DiffusionConfig, Weights]) -> DiffusionRenderer:
    """Fresh: nothing kept from another test."""
    settings, models = opened
    return DiffusionRenderer(settings, opened=models)


def changed(renderer: DiffusionRenderer, **values: object) -> DiffusionRenderer:
    """The same models under other settings."""
    return DiffusionRenderer(renderer.config.model_copy(update=values), opened=renderer.weights)


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_the_diffusion_renderer_is_loaded_by_name_with_its_settings(pipelines: Path, products: list[Product]) -> None:
    settings = Settings(diffusion=config(pipelines, "sd15"))
    renderer = clickscape.render.load("diffusion", settings=settings)
    assert isinstance(renderer, clickscape.render.BatchRenderer)
    assert (renderer.name, renderer.digital_source) == ("diffusion", "trainedAlgorithmicMedia")
    studio = clickscape.render.load("studio")
    assert not isinstance(studio, clickscape.render.BatchRenderer)
    assert studio.digital_source == "compositeSynthetic"
    drawn = clickscape.render.render_all(renderer, products[:2], ["oak table"] * 2, size=(40, 40), seeds=[1, 2])
    assert [one.image.shape for one in drawn] == [(40, 40, 3)] * 2


@pytest.mark.parametrize("size", [(64, 64), (97, 51), (33, 120), (160, 32)])
def test_the_products_pixels_are_exact_at_any_size(
    renderer: DiffusionRenderer, products: list[Product], size: tuple[int, int]
) -> None:
    from clickscape.catalog.cutout import open_cutout

    for product in products[:2]:
        made = renderer.render(product, "oak table, soft light", size=size, seed=1)
        canvas = frames.placed(open_cutout(product.image), size=size)
        assert made.image.shape == (size[1], size[0], 3)
        assert np.array_equal(made.product, canvas)
        solid = canvas[..., 3] == 255
        assert solid.any()
        assert np.array_equal(made.image[solid], canvas[..., :3][solid])
        assert made.image[canvas[..., 3] == 0].std() > 5, "a background was drawn"
        assert (made.scene, made.unknown, made.content) == (None, (), "")


def test_a_batch_equals_its_pictures_one_by_one(
    opened: tuple[DiffusionConfig, Weights], products: list[Product]
) -> None:
    """Mixed sizes, seeds and prompt lengths: what is drawn beside a picture does not show in it."""
    settings, models = opened
    asked = [
        (products[0], "oak table", (48, 48), 1),
        (products[1], LONG, (48, 48), 2),
        (products[2], "mint wall", (48, 48), 3),
        (products[0], "mint wall", (64, 40), 1),
        (products[1], "lemons", (48, 48), 1),
        (products[2], "soft light", (48, 48), 9),
    ]
    together = DiffusionRenderer(settings, opened=models).render_many(
        [one[0] for one in asked],
        [one[1] for one in asked],
        sizes=[one[2] for one in asked],
        seeds=[o[3] for o in asked],
    )
    alone = DiffusionRenderer(settings, opened=models)
    for made, (product, text, size, seed) in zip(together, asked, strict=True):
        assert difference(made.image, alone.render(product, text, size=size, seed=seed).image) <= 1
    few = DiffusionRenderer(settings, opened=models).render_many(
        [products[2], products[0]], ["soft light", "oak table"], sizes=[(48, 48)] * 2, seeds=[9, 1]
    )
    assert difference(few[0].image, together[5].image) <= 1
    assert difference(few[1].image, together[0].image) <= 1


def test_pictures_of_equal_shape_share_a_call(
    renderer: DiffusionRenderer, products: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    kind = type(renderer.weights.pipeline)
    original = kind.__call__

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(kwargs["generator"]))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__call__", counted)
    sizes = [(48, 48)] * 4 + [(64, 32)]
    renderer.render_many([products[0]] * 5, ["lemons"] * 5, sizes=sizes, seeds=[0, 1, 2, 3, 4])
    assert calls == [3, 1, 1]
    renderer.render_many([products[0]] * 2, ["lemons"] * 2, sizes=[(96, 96), (32, 32)], seeds=[0, 1])
    assert calls == [3, 1, 1], "another size of a known picture is not drawn again"


def test_seed_words_edges_and_product_all_change_the_background(
    renderer: DiffusionRenderer, products: list[Product]
) -> None:
    def background(product: Product, text: str, seed: int, by: DiffusionRenderer = renderer) -> np.ndarray:
        made = by.render(product, text, size=(64, 64), seed=seed)
        return made.image[made.product_mask == 0]

    plain = background(products[0], "oak table", 1)
    assert np.array_equal(plain, background(products[0], "oak table", 1, changed(renderer)))
    for other in (
        background(products[0], "oak table", 2),
        background(products[0], "mint wall", 1),
        background(products[1], "oak table", 1),
        background(products[0], "oak table", 1, changed(renderer, control_scale=0.0)),
        background(products[0], "oak table", 1, changed(renderer, negative="lemons")),
        background(products[0], "oak table", 1, changed(renderer, guidance=1.0)),
    ):
        assert difference(plain, other) > 1


def test_the_last_word_of_a_long_prompt_counts(renderer: DiffusionRenderer, products: list[Product]) -> None:
    one, other = (
        renderer.render(products[0], f"{LONG}, {word}", size=(48, 48), seed=1).image for word in ("marble", "kitchen")
    )
    assert difference(one, other) > 0


def test_a_preview_shows_the_finished_picture(renderer: DiffusionRenderer, products: list[Product]) -> None:
    """Away from the product the small picture is the large one made smaller."""
    import cv2

    large = renderer.render(products[0], "oak table", size=(128, 128), seed=4).image
    small = changed(renderer).render(products[0], "oak table", size=(32, 32), seed=4).image
    shrunk = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk[:4].astype(int) - small[:4]).mean() < 8


@pytest.mark.slow
def test_half_precision_draws_nearly_the_same(opened: tuple[DiffusionConfig, Weights], products: list[Product]) -> None:
    settings, models = opened
    half = DiffusionRenderer(settings.model_copy(update={"dtype": "float16"}))
    assert half.weights.pipeline.unet.dtype == torch.float16
    one, other = (
        by.render(products[0], "oak table", size=(48, 48), seed=1).image
        for by in (half, DiffusionRenderer(settings, opened=models))
    )
    assert difference(one, other) <= 16


def test_numbers_that_overflow_are_an_error_and_never_a_picture(pipelines: Path, products: list[Product]) -> None:
    renderer = DiffusionRenderer(config(pipelines, "sd15", safety_checker=False))
    with torch.no_grad():
        renderer.weights.pipeline.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(RenderError, match=r"'Red Ball'.*diffusion.dtype"):
        renderer.render(products[0], "oak table", size=(48, 48), seed=1)


def _strictness(renderer: DiffusionRenderer, threshold: float) -> None:
    """Set the cosine from which the checker flags a picture: −1 flags every one, 2 none."""
    checker = renderer.weights.checker
    assert checker is not None
    with torch.no_grad():
        checker.model.concept_embeds_weights.fill_(threshold)
        checker.model.special_care_embeds_weights.fill_(2)


def test_a_flagged_picture_is_an_error_with_its_reason(renderer: DiffusionRenderer, products: list[Product]) -> None:
    _strictness(renderer, -2.0)
    try:
        with pytest.raises(RenderError, match=r"'Red Ball', 'oak table', seed 7.*flagged 2 of 2.*safety_tries"):
            changed(renderer, safety_tries=2).render(products[0], "oak table", size=(48, 48), seed=7)
    finally:
        _strictness(renderer, 2.0)
    assert renderer.render(products[0], "oak table", size=(48, 48), seed=7).image.any()


def test_a_flagged_picture_is_drawn_again_from_a_seed_that_follows(
    renderer: DiffusionRenderer, products: list[Product]
) -> None:
    """The checker's concept is what tells the first try from the second: it flags one and lets the other pass."""

    def draw(by: DiffusionRenderer) -> np.ndarray:
        return by.render(products[0], "oak table", size=(48, 48), seed=7).image

    checker = renderer.weights.checker
    assert checker is not None
    passed = draw(renderer)
    seen: list[torch.Tensor] = []
    hook = checker.model.visual_projection.register_forward_hook(lambda _, __, made: seen.append(made[0]))
    concepts = checker.model.concept_embeds.clone()
    try:
        _strictness(renderer, -2.0)
        with pytest.raises(RenderError, match="flagged 2 of 2"):
            draw(changed(renderer, safety_tries=2))
        first, second = seen
        with torch.no_grad():
            checker.model.concept_embeds.copy_((first - second).expand_as(concepts))
        near, far = (float(torch.cosine_similarity(one, first - second, dim=0)) for one in (first, second))
        _strictness(renderer, (near + far) / 2)
        redrawn = draw(changed(renderer))
        assert len(seen) == 4
        assert difference(redrawn, passed) > 1
        assert np.array_equal(redrawn, draw(changed(renderer)))
    finally:
        hook.remove()
        with torch.no_grad():
            checker.model.concept_embeds.copy_(concepts)
        _strictness(renderer, 2.0)


def test_without_a_safety_checker_no_picture_is_flagged(pipelines: Path, products: list[Product]) -> None:
    renderer = DiffusionRenderer(config(pipelines, "sd15", safety_checker=False))
    assert renderer.weights.checker is None
    assert renderer.render(products[0], "oak table", size=(48, 48), seed=1).image.any()


def test_the_mask_reaches_the_model_soft(renderer: DiffusionRenderer, products: list[Product]) -> None:
    seen: list[torch.Tensor] = []
    pipeline = renderer.weights.pipeline
    original = pipeline.prepare_mask_latents

    def looked_at(mask: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(mask)
        return original(mask, *args, **kwargs)

    pipeline.prepare_mask_latents = looked_at
    try:
        changed(renderer, mask_blur=0.05).render(products[0], "oak table", size=(64, 64), seed=1)
    finally:
        del pipeline.prepare_mask_latents
    (mask,) = seen
    assert float(mask.min()) < 0.05
    assert float(mask.max()) == 1.0
    assert ((mask > 0.1) & (mask < 0.9)).sum() > 10


def test_a_size_out_of_bounds_is_refused(renderer: DiffusionRenderer, products: list[Product]) -> None:
    with pytest.raises(ValueError, match="32 to 4096"):
        renderer.render(products[0], "oak table", size=(16, 64), seed=1)
