from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clickscape.errors import ModelError
from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm.batch import IGNORED, Sample, collate
from clickscape.vlm.prompts import instruction


@pytest.fixture(scope="module")
def samples(products, noise):
    return [
        Sample(instruction("describe", products[0], variant=0), (noise(1),), "oak table, soft light"),
        Sample(instruction("caption", variant=3), (noise(2),), "x"),
        Sample(instruction("rewrite", "lemons marble", variant=1), (), " white marble podium,  fresh lemons \n"),
        Sample(instruction("describe", products[3], variant=2), (noise(3), noise(4)), "sand floor at the beach"),
    ]


@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_a_batch_gives_what_single_samples_give(small, samples, side):
    together = batches.answer_log_probs(small, collate(small, samples, side=side, answers=True))
    alone = [
        batches.answer_log_probs(small, collate(small, [sample], side="right", answers=True)) for sample in samples
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_log_probs_are_those_of_plain_transformers(small, samples):
    batch = collate(small, samples[:2], side="right", answers=True)
    logits = small.model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, pixel_values=batch.pixel_values
    ).logits
    log_probs = logits[:, :-1].log_softmax(-1)
    expected = [
        sum(
            float(log_probs[row, place - 1, batch.input_ids[row, place]])
            for place in range(1, batch.labels.shape[1])
            if batch.labels[row, place] != IGNORED
        )
        for row in range(2)
    ]
    torch.testing.assert_close(batches.answer_log_probs(small, batch), torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_the_answer_is_trained_exactly_as_it_stands_and_ends(small, samples):
    batch = collate(small, samples, side="right", answers=True)
    for row, sample in enumerate(samples):
        labels = batch.labels[row][batch.labels[row] != IGNORED].tolist()
        assert labels[-1] == small.tokenizer.eos_token_id
        assert small.tokenizer.decode(labels[:-1]) == sample.answer
        question = batch.input_ids[row][: int((batch.labels[row] != IGNORED).int().argmax())]
        assert small.tokenizer.decode(question).endswith(f"{sample.instruction}\nASSISTANT:\n")


def test_questions_are_those_of_the_chat_template(small, samples):
    sample = samples[0]
    batch = collate(small, [sample], side="right", answers=False)
    made = small.processor.apply_chat_template(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": Image.fromarray(sample.images[0])},
                    {"type": "text", "text": sample.instruction},
                ],
            }
        ],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )
    assert batch.input_ids.tolist() == made["input_ids"].tolist()
    torch.testing.assert_close(batch.pixel_values, made["pixel_values"], atol=1e-5, rtol=0)


def test_pixels_are_those_of_the_image_processor_at_any_size(small, noise):
    picture = noise(7, height=130, width=130)
    made = small.processor.image_processor(images=[Image.fromarray(picture)], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batches.pixel_values(small, [picture]), made, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_cached_features_change_nothing(small, samples):
    batch = collate(small, samples, side="right", answers=True)
    features = batches.image_features(small, [picture for sample in samples for picture in sample.images])
    assert features.shape == (4, 9, small.hidden_size)
    blind = collate(small, samples, side="right", answers=True, pixels=False)
    assert blind.pixel_values is None
    torch.testing.assert_close(
        batches.answer_log_probs(small, blind, features=features), batches.answer_log_probs(small, batch)
    )


@torch.inference_mode()
def test_two_squares_side_by_side_take_twice_the_tokens(small, noise):
    wide = np.concatenate([noise(1), noise(2)], axis=1)
    features = batches.image_features(small, [wide])
    assert features.shape == (1, 18, small.hidden_size)
    batch = collate(small, [Sample("Which is better?", (wide,))], side="right", answers=False)
    assert int((batch.input_ids == small.image_token_id).sum()) == 18
    states = batches.forward(small, batch)
    torch.testing.assert_close(states, batches.forward(small, batch, features=features))
    swapped = collate(small, [Sample("Which is better?", (wide[:, ::-1].copy(),))], side="right", answers=False)
    assert not torch.allclose(batches.forward(small, swapped)[:, -1], states[:, -1], atol=1e-3)


def test_square_and_wide_pictures_do_not_mix(small, noise):
    with pytest.raises(ValueError, match="all square or all"):
        batches.image_features(small, [noise(1), noise(1, width=192)])


def test_pictures_must_be_rgb_bytes(small):
    with pytest.raises(ValueError, match="uint8"):
        batches.pixel_values(small, [np.zeros((96, 96, 4), np.uint8)])


def test_image_tokens_in_text_are_refused(small, samples):
    with pytest.raises(ValueError, match="image token"):
        collate(small, [replace(samples[0], instruction="<image>")], side="right", answers=False)
    with pytest.raises(ValueError, match="image token"):
        collate(small, [replace(samples[0], answer="<image>")], side="right", answers=True)


def test_a_sample_that_does_not_fit_is_refused(small):
    with pytest.raises(ModelError, match="too long"):
        collate(small, [Sample("word " * 800)], side="right", answers=False)


@pytest.mark.parametrize(
    "letter", ["\u0e01\u0e34", "\u5317", "\u0b95", "\U0001f375"], ids=["thai", "chinese", "tamil", "emoji"]
)
def test_a_product_in_letters_of_many_tokens_is_shortened_and_fits(small, noise, letter) -> None:
    product = Product("1", letter * 75, (letter * 30,), {letter * n: letter * 30 for n in range(1, 7)})
    asked = Sample(instruction("describe", product, variant=0), (noise(0),))
    limit = small.core.config.get_text_config().max_position_embeddings
    assert len(small.tokenizer(asked.instruction)["input_ids"]) > limit  # as it stands it would not fit
    (row,) = collate(small, [asked], side="right", answers=False).input_ids
    assert limit // 2 < len(row) <= limit - limit // 8
    said = small.tokenizer.decode(row, skip_special_tokens=True)
    assert f"Title: {letter * 10}" in said
    assert "\ufffd" not in said
