from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clickscape.vlm import batch as batches
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.generate import Writer, sample_ids
from clickscape.vlm.prompts import instruction


@pytest.fixture(scope="module")
def questions(products, noise):
    return [
        Sample(instruction("describe", product, variant=number), (noise(number),))
        for number, product in enumerate(products)
    ]


@torch.inference_mode()
def test_words_come_with_the_probability_that_training_gives_them(small, questions):
    n = 4_000
    first = [ids[:1] for ids in sample_ids(small, questions[:1], n=n, seeds=[1], max_new_tokens=1)]
    states = batches.forward(small, collate(small, questions[:1], side="right", answers=False))
    expected = small.model.get_output_embeddings()(states[0, -1]).softmax(-1)
    token = int(expected.argmax())
    share, probability = first.count([token]) / n, float(expected[token])
    assert abs(share - probability) < 5 * (probability * (1 - probability) / n) ** 0.5


def test_products_that_read_the_same_get_texts_of_their_own(small, products):
    """Same words, same picture, one seed: only the id differs, as with eight white plates of a catalog."""
    twins = [replace(products[0], product_id=f"plate-{number}") for number in range(6)]
    texts = Writer(small).describe_all(twins, n=2, seed=0)
    assert len({text for own in texts for text in own}) == 12


def test_candidates_that_end_early_leave_and_change_nothing(small, questions):
    """The end token, made likely, ends candidates at different steps; each is as if it were written alone."""
    long = sample_ids(small, questions, n=1, seeds=range(len(questions)), temperature=0, max_new_tokens=24)
    ends = sorted({ids[5] for ids in long} | {long[0][2]})
    before = small.model.generation_config.eos_token_id
    small.model.generation_config.eos_token_id = ends
    try:
        cut = sample_ids(small, questions, n=1, seeds=range(len(questions)), temperature=0, max_new_tokens=24)
    finally:
        small.model.generation_config.eos_token_id = before
    expected = [ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))] for ids in long]
    assert cut == expected
    assert len({len(ids) for ids in cut}) > 1


def test_what_is_written_depends_on_the_picture(small, products, noise):
    writer = Writer(small)
    shown = {product.product_id: noise(number) for number, product in enumerate(products)}
    by_picture = writer.describe_all(products, n=2, seed=3, pictures=lambda product: shown[product.product_id])
    assert by_picture != writer.describe_all(products, n=2, seed=3)


def test_the_picture_is_the_cut_out(small, products, tmp_path):
    from PIL import Image

    from clickscape.catalog.cutout import open_cutout, product_picture

    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (200, 30, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    product = replace(products[0], image=str(tmp_path / "cut.png"))
    expected = product_picture(open_cutout(product.image), size=small.image_size)
    writer = Writer(small)
    assert (
        writer.describe(product, n=2, seed=1)
        == writer.describe_all([product], n=2, seed=1, pictures=lambda _: expected)[0]
    )


def test_invalid_generation_arguments_are_refused(small, products):
    with pytest.raises(ValueError, match="n=0"):
        Writer(small).describe(products[0], n=0)
    with pytest.raises(ValueError, match="temperature"):
        Writer(small).describe(products[0], temperature=-1)
