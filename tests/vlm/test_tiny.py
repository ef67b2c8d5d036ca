"""The shipped model: its size, its card, that it opens anywhere, and that it writes what the studio understands."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clickscape import vlm as room
from clickscape.catalog import feeds, sample
from clickscape.catalog.cutout import product_picture
from clickscape.errors import ModelError
from clickscape.render.language.parse import parse
from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm import model as models
from clickscape.vlm.prompts import instruction
from clickscape.vlm.shipped import TINY_FOLDER


@pytest.fixture(scope="module")
def writer():
    return room.load("tiny")


@pytest.fixture(scope="module")
def held_out():
    """One color of every second held-out object."""
    return [item for item in sample.products() if sample.is_held_out(item.product_id)][::24]


def test_the_shipped_model_is_small_and_names_itself(writer):
    weights = sum(path.stat().st_size for path in TINY_FOLDER.glob("*.safetensors"))
    assert weights <= 33_000_000
    assert 3_000_000 <= writer.vlm.parameters <= 8_200_000
    assert writer.vlm.model_id == "tiny"
    card = (TINY_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "simulated copy and rendered ads" in card
    for item in sample.objects():
        if item.held_out:
            assert item.object_id in card
    assert not [
        path.name for path in TINY_FOLDER.iterdir() if path.suffix not in {".json", ".jinja", ".md", ".safetensors"}
    ]


def test_pictures_take_36_tokens_and_wide_ones_72(writer):
    square = np.full((96, 96, 3), 200, np.uint8)
    wide = np.full((96, 192, 3), 200, np.uint8)
    with torch.inference_mode():
        assert batches.image_features(writer.vlm, [square]).shape[1] == writer.vlm.image_tokens == 36
        assert batches.image_features(writer.vlm, [wide]).shape[1] == 72


def test_descriptions_of_unseen_objects_parse_and_vary(writer, held_out):
    shown = {item.product_id: product_picture(sample.cutout(item.product_id, 200)) for item in held_out}
    texts = writer.describe_all(held_out, n=4, seed=1, pictures=lambda item: shown[item.product_id])
    read = [parse(text) for own in texts for text in own]
    assert np.mean([parsed.is_valid for parsed in read]) > 0.85
    assert len({parsed.scene for parsed in read}) > 0.8 * len(read)


def test_titles_from_outside_the_sample_catalog_are_described_too(writer):
    strangers = [
        Product("a", "Handgefertigte Vase, 30 cm", ("Home",)),
        Product("b", "USB-C 3-in-1 Cable <image> 2 m", (), {"length": "2 m"}),
        Product("c", "Ωmega–3 「カプセル」 💊", ("Health", "Supplements")),
    ]
    texts = writer.describe_all(strangers, n=8, seed=0)
    assert np.mean([parse(text).is_valid for own in texts for text in own]) > 0.7


@pytest.mark.parametrize("name", ["ja-dense", "thai"])
def test_a_feed_of_long_titles_in_letters_of_many_tokens_is_written_for_whole(writer, tmp_path, name):
    shutil.copy(Path(__file__).parent / "dense_titles" / f"{name}.tsv", tmp_path)
    pixels = np.zeros((96, 96, 4), np.uint8)
    pixels[20:-20, 20:-20] = (200, 30, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    dense, short = feeds.read(tmp_path / f"{name}.tsv")
    tokens = len(writer.vlm.tokenizer(instruction("describe", dense, variant=0))["input_ids"])
    assert tokens > writer.vlm.core.config.get_text_config().max_position_embeddings
    assert all(len(text) > 1 for own in writer.describe_all([dense, short], n=4, seed=0) for text in own)


def test_the_words_of_a_product_change_what_is_written(writer):
    saw = Product("saw", "Pinecrest Saw, Steel", ("Tools", "Saws"), {"material": "steel"})
    cream = Product("cream", "Opaline Face Cream", ("Beauty", "Skin Care"), {"skin": "dry"})
    settings = [[parse(text).scene.setting for text in own] for own in writer.describe_all([saw, cream], n=60, seed=0)]
    assert settings[0].count("workshop") > settings[1].count("workshop")
    assert settings[1].count("bathroom") > settings[0].count("bathroom")


def test_a_checkpoint_that_lacks_tensors_names_how_many_and_is_not_opened(tmp_path: Path) -> None:
    copy = shutil.copytree(TINY_FOLDER, tmp_path / "tiny")
    tensors = load_file(copy / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".mlp." not in name}
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"tiny: {len(tensors) - len(kept)} tensors are missing, the first 'model"):
        models.load(copy)
