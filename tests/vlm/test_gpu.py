"""On a GPU the shipped model writes, and says of descriptions what it says on a CPU."""

from __future__ import annotations

import pytest
import torch

from clickscape.catalog import sample
from clickscape.catalog.cutout import product_picture
from clickscape.vlm import load
from clickscape.vlm.answers import log_probs
from clickscape.vlm.batch import Sample
from clickscape.vlm.prompts import instruction

pytestmark = pytest.mark.gpu


@torch.inference_mode()
def test_log_probs_on_the_gpu_equal_those_on_the_cpu() -> None:
    products = sample.products()[:4]
    pictures = [product_picture(sample.cutout(product.product_id, 256), size=96) for product in products]
    asked = [
        Sample(instruction("describe", product, variant=0), (picture,))
        for product, picture in zip(products, pictures, strict=True)
    ]
    answers = [(number, "white marble podium, soft light, pink wall") for number in range(len(asked))]
    said = {
        device: log_probs(load(device=device, dtype="float32").vlm, asked, answers)[0] for device in ("cpu", "cuda")
    }
    torch.testing.assert_close(said["cuda"].cpu(), said["cpu"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["auto", "float32", "float16"])
def test_the_shipped_model_generates_on_the_gpu(dtype: str) -> None:
    writer = load(device="cuda", dtype=dtype)
    product = sample.products()[0]
    picture = product_picture(sample.cutout(product.product_id, 256), size=96)
    texts = writer.describe_all([product], n=8, seed=3, pictures=lambda _: picture)[0]
    assert texts == writer.describe_all([product], n=8, seed=3, pictures=lambda _: picture)[0]
    assert len(set(texts)) > 4
    assert sum("," in text for text in texts) > 4
