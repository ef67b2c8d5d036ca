"""Converted checkpoints compute what the original computes; its arithmetic is written out here, in plain torch.

Follows LLaVA 1.6 (CLIP tower, second-to-last layer without the class token; two linear maps around an exact GELU; tiles
with a newline after every row; Llama) and the paper's repository (words of the questions, last hidden state → heads).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.damaged_weights import damage_file, every_damage
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor

from clickscape import reward, vlm
from clickscape.errors import ModelError
from clickscape.preference import train as preference
from clickscape.reward.caig import CaigRewardModel
from clickscape.stages.checkpoints import convert
from clickscape.stages.progress import run
from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm import model as models
from clickscape.vlm.convert.instructions import CAIG_INSTRUCTIONS
from clickscape.vlm.prompts import writing_instruction

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. USER: "
)
TOWER = "model.vision_tower.vision_tower.vision_model."


def picture(width: int, height: int, *, seed: int) -> np.ndarray:
    """Broad patches of color, so that resizing leaves something to see."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def tiles(image: np.ndarray, settings: Mapping[str, Any], *, side: int) -> tuple[Tensor, tuple[int, int]]:
    """The whole picture and its tiles, (1 + tile, 3, side, side), and the grid (across, down)."""
    source = Image.fromarray(image)
    width, height = source.size
    best, most, least = (0, 0), 0, math.inf
    for wide, high in settings["image_grid_pinpoints"]:
        scale = min(wide / width, high / height)
        useful = min(int(width * scale) * int(height * scale), width * height)
        wasted = wide * high - useful
        if useful > most or (useful == most and wasted < least):
            best, most, least = (wide, high), useful, wasted
    wide, high = best
    if wide / width < high / height:
        size = (wide, min(math.ceil(height * wide / width), high))
    else:
        size = (min(math.ceil(width * high / height), wide), high)
    canvas = Image.new("RGB", best)
    canvas.paste(source.resize(size), ((wide - size[0]) // 2, (high - size[1]) // 2))
    cut = [source.resize((side, side))]
    cut += [canvas.crop((x, y, x + side, y + side)) for y in range(0, high, side) for x in range(0, wide, side)]
    mean, spread = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.3, 0.2, 0.25], np.float32)
    pixels = np.stack([(np.asarray(tile, np.float32) / 255 - mean) / spread for tile in cut])
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), (wide // side, high // side)


def padded(image: np.ndarray, *, side: int) -> Tensor:
    """The picture in the middle of a square of the mean color, (1, 3, side, side)."""
    source = Image.fromarray(image)
    width, height = source.size
    longest = max(width, height)
    square = Image.new("RGB", (longest, longest), (int(0.4 * 255), int(0.5 * 255), int(0.6 * 255)))
    square.paste(source, ((longest - width) // 2, (longest - height) // 2))
    mean, spread = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.3, 0.2, 0.25], np.float32)
    seen_square = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return torch.from_numpy(((seen_square / 255 - mean) / spread).transpose(2, 0, 1)[None].copy())


def clip(state: Mapping[str, Tensor], pixels: Tensor, *, layers: int, heads: int, prefix: str = TOWER) -> Tensor:
    """Hidden states after all layers but the last, without the class token: (tile, patch, width)."""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    kernel = own["embeddings.patch_embedding.weight"]
    patches = functional.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    first = own["embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], 1) + own["embeddings.position_embedding.weight"]

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], 1e-5)

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, own[f"{name}.weight"], own[f"{name}.bias"])

    x = norm("pre_layrnorm", x)
    for number in range(layers - 1):
        at = f"encoder.layers.{number}"
        y = norm(f"{at}.layer_norm1", x)
        q, k, v = (
            linear(f"{at}.self_attn.{name}_proj", y).unflatten(-1, (heads, -1)).transpose(1, 2) for name in "qkv"
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + linear(f"{at}.self_attn.out_proj", (weights @ v).transpose(1, 2).flatten(2))
        y = linear(f"{at}.mlp.fc1", norm(f"{at}.layer_norm2", x))
        x = x + linear(f"{at}.mlp.fc2", y * torch.sigmoid(1.702 * y))
    return x[:, 1:]


def seen(original: Any, image: np.ndarray, *, tower: Mapping[str, Tensor] | None = None) -> Tensor:
    """What the language model is given of a picture, (token, width)."""
    state, side = original.state, 28
    pads = original.settings["image_aspect_ratio"] == "pad"
    pixels, (across, down) = (padded(image, side=side), (0, 0)) if pads else tiles(image, original.settings, side=side)
    looked = clip(tower or state, pixels, layers=3, heads=2, prefix="vision_model." if tower else TOWER)
    looked = functional.linear(looked, state["model.mm_projector.0.weight"], state["model.mm_projector.0.bias"])
    looked = functional.linear(
        functional.gelu(looked), state["model.mm_projector.2.weight"], state["model.mm_projector.2.bias"]
    )
    whole, parts = looked[0], looked[1:]
    if pads:
        return whole  # of one square nothing is merged, whatever the merge type, and no row ends
    patches = math.isqrt(len(whole))
    grid = parts.reshape(down, across, patches, patches, -1).permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3)
    high, wide = grid.shape[1:]
    height, width = image.shape[:2]
    if width / height > wide / high:
        gone = (high - int(height * (wide / width))) // 2
        grid = grid[:, gone : high - gone]
    else:
        gone = (wide - int(width * (high / height))) // 2
        grid = grid[:, :, gone : wide - gone]
    newline = state["model.image_newline"][:, None, None].expand(-1, grid.shape[1], 1)
    rows = torch.cat([grid, newline], -1).flatten(1, 2).T
    return torch.cat([whole, rows])


def llama(state: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Hidden states after the last norm, (token, width), of embedded tokens (token, width)."""
    heads, narrow = settings["num_attention_heads"], settings["num_key_value_heads"]
    size = settings["hidden_size"] // heads

    def norm(name: str, x: Tensor) -> Tensor:
        return state[name] * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + settings["rms_norm_eps"])

    angles = torch.arange(len(x))[:, None] * settings["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    cosine, sine = angles.repeat(1, 2).cos(), angles.repeat(1, 2).sin()

    def turned(x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        return x * cosine + torch.cat([-right, left], -1) * sine

    later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    for number in range(settings["num_hidden_layers"]):
        at = f"model.layers.{number}."
        y = norm(f"{at}input_layernorm.weight", x)
        q, k, v = (
            (y @ state[f"{at}self_attn.{name}_proj.weight"].T).unflatten(-1, (count, size)).transpose(0, 1)
            for name, count in (("q", heads), ("k", narrow), ("v", narrow))
        )
        k, v = (value.repeat_interleave(heads // narrow, 0) for value in (turned(k), v))
        weights = (turned(q) @ k.transpose(-1, -2) / math.sqrt(size)).masked_fill(later, -math.inf).softmax(-1)
        x = x + (weights @ v).transpose(0, 1).flatten(1) @ state[f"{at}self_attn.o_proj.weight"].T
        y = norm(f"{at}post_attention_layernorm.weight", x)
        gate, up = (y @ state[f"{at}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (functional.silu(gate) * up) @ state[f"{at}mlp.down_proj.weight"].T
    return norm("model.norm.weight", x)


def states(original: Any, before: str, image: np.ndarray, after: str, **asked: Any) -> Tensor:
    """Hidden states of a question; the words before and after the picture are tokenized on their own."""
    tokenizer, embeddings = original.tokenizer, original.state["model.embed_tokens.weight"]
    opening, closing = tokenizer(before)["input_ids"], tokenizer(after)["input_ids"][1:]
    parts = [embeddings[opening], seen(original, image, **asked), embeddings[closing]]
    return llama(original.state, torch.cat(parts), original.settings)


def plain_logits(model: Any, processor: Any, image: np.ndarray) -> Tensor:
    """What transformers alone answers to a question about a picture, (token, word)."""
    content = [{"type": "image"}, {"type": "text", "text": "Which part?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return model(**processor(text=text, images=Image.fromarray(image), return_tensors="pt")).logits[0]


SHAPES = [(120, 60), (60, 60), (50, 130), (64, 40)]


@pytest.mark.parametrize("legacy", [False, True])
@torch.inference_mode()
def test_prompt_model_gives_the_originals_logits(original, tmp_path: Path, legacy: bool) -> None:
    made = original(reward=False, legacy=legacy)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "hf")
    assert type(model).__name__ == "LlavaNextForConditionalGeneration"
    words = len(made.tokenizer)
    for width, height in SHAPES:
        image = picture(width, height, seed=width)
        logits = plain_logits(model, processor, image)
        hidden = states(made, SYSTEM, image, "\nWhich part? ASSISTANT:")
        wanted = hidden @ made.state["lm_head.weight"].T
        assert float(wanted.std()) > 0.5, "random weights must say something"
        torch.testing.assert_close(logits[:, :words], wanted, atol=1e-4, rtol=0)
        assert (logits[:, words:].logsumexp(-1) < logits.logsumexp(-1) - math.log(words)).all(), "<image> is not drawn"


@pytest.mark.parametrize("merge", ["spatial_unpad", "flat", None])
@torch.inference_mode()
def test_prompt_model_that_sees_padded_squares_gives_the_originals_logits(
    original, tmp_path: Path, merge: str | None
) -> None:
    """As the paper's PCPO script writes it; through plain transformers, and through this package, of any shape."""
    made = original(reward=False, aspect="pad", merge=merge)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "hf")
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    loaded, words = vlm.load(tmp_path / "hf").vlm, len(made.tokenizer)
    for width, height in SHAPES:
        image = picture(width, height, seed=width)
        logits = plain_logits(model, processor, image)
        hidden = states(made, SYSTEM, image, "\nWhich part? ASSISTANT:")
        wanted = hidden @ made.state["lm_head.weight"].T
        assert float(wanted.std()) > 0.5, "random weights must say something"
        torch.testing.assert_close(logits[:, :words], wanted, atol=1e-4, rtol=0)
        batch = batches.collate(loaded, [batches.Sample("Which part?", (image,))], side="left", answers=False)
        torch.testing.assert_close(batches.forward(loaded, batch)[0], hidden, atol=1e-4, rtol=1e-4)
    pair = [batches.Sample("a", (picture(*shape, seed=1),)) for shape in SHAPES[:3]]
    together = batches.collate(loaded, pair, side="left", answers=False)
    assert together.pixel_values is not None
    assert together.pixel_values.shape == (3, 3, 28, 28), "pictures of all shapes in one batch"


@torch.inference_mode()
def test_reward_model_that_sees_padded_squares_gives_the_originals_logits(original, tmp_path: Path) -> None:
    made = original(reward=True, aspect="pad", merge="flat")
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "reward"))
    model = reward.load(tmp_path / "reward")
    assert isinstance(model, CaigRewardModel)
    left, right = picture(80, 80, seed=1), picture(80, 80, seed=2)
    said, ctrs = model.outputs(["Which part?"], [(left, right)])
    logits, ctr = _told(made, "Which part?", left, right)
    np.testing.assert_allclose(said[0, 0], logits, atol=1e-4)
    np.testing.assert_allclose(ctrs[0, 0], ctr, atol=1e-4)


@torch.inference_mode()
def test_prompt_model_is_asked_with_the_papers_ten_instructions(original, tmp_path: Path) -> None:
    """Hidden states of the question as the paper's code writes it; they stay with a saved model."""
    made = original(reward=False)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    models.save(vlm.load(tmp_path / "hf").vlm, tmp_path / "again")
    writer = vlm.load(tmp_path / "again")
    assert writer.vlm.instructions == CAIG_INSTRUCTIONS
    products = [Product(f"p{number}", f'Red "Big" Mug {number}', ("Kitchen",)) for number in range(80)]
    asked = [writing_instruction(product, taught=writer.vlm.instructions) for product in products]
    wordings = {question.replace(f"Red Big Mug {number}", "{}") for number, question in enumerate(asked)}
    assert wordings == set(CAIG_INSTRUCTIONS)
    told = preference.question(products[1], taught=writer.vlm.instructions)
    assert told == asked[1], "what is sampled with is trained on"
    other = preference.question(products[2], taught=writer.vlm.instructions, worded_as=products[1])
    assert other == told.replace("Mug 1", "Mug 2"), "the caption alone differs"
    image, seen_questions = picture(90, 90, seed=3), []
    collate = batches.collate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            batches,
            "collate",
            lambda vlm, samples, **rest: (
                seen_questions.extend(sample.instruction for sample in samples),
                collate(vlm, samples, **rest),
            )[1],
        )
        writer.describe_all(products[:3], n=1, seed=0, max_new_tokens=2, pictures=lambda _: image)
    assert set(asked[:3]) <= set(seen_questions)
    batch = batches.collate(writer.vlm, [batches.Sample(asked[0], (image,))], side="left", answers=False)
    hidden = states(made, SYSTEM, image, f"\n{asked[0]} ASSISTANT:")
    torch.testing.assert_close(batches.forward(writer.vlm, batch)[0], hidden, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_prompt_model_writes_through_this_package(original, tmp_path: Path) -> None:
    made = original(reward=False)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    writer = vlm.load(tmp_path / "hf")
    image = picture(90, 90, seed=3)
    texts = writer.describe_all(
        [Product("A", "Red Mug")], n=2, seed=0, max_new_tokens=4, temperature=0, pictures=lambda _: image
    )[0]
    batch = batches.collate(writer.vlm, [batches.Sample("Which part?", (image,))], side="left", answers=False)
    hidden = states(made, SYSTEM, image, "\nWhich part? ASSISTANT:")
    torch.testing.assert_close(batches.forward(writer.vlm, batch)[0], hidden, atol=1e-4, rtol=1e-4)
    assert texts[0] == texts[1]
    assert "<image>" not in texts[0]


@torch.inference_mode()
def test_tower_of_the_other_folder_is_used_where_the_original_would(original, tmp_path: Path) -> None:
    made = original(reward=False, tower=False)
    run(convert(made.folder, vision_tower=made.tower, out=tmp_path / "hf"))
    loaded = vlm.load(tmp_path / "hf").vlm
    image = picture(120, 60, seed=1)
    batch = batches.collate(loaded, [batches.Sample("a", (image,))], side="right", answers=False)
    hidden = states(made, SYSTEM, image, "\na ASSISTANT:", tower=made.tower_state)
    torch.testing.assert_close(batches.forward(loaded, batch)[0], hidden, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def reward_model(reward_original, tmp_path_factory: pytest.TempPathFactory) -> CaigRewardModel:
    """The converted reward model, opened as any other."""
    out = tmp_path_factory.mktemp("converted") / "reward"
    run(convert(reward_original.folder, vision_tower=reward_original.tower, out=out))
    model = reward.load(out)
    assert isinstance(model, CaigRewardModel)
    return model


def _told(original: Any, question: str, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The original's two logits and two CTRs."""
    halves = [np.asarray(Image.fromarray(view).resize((512, 512))) for view in (left, right)]
    last = states(original, "", np.concatenate(halves, axis=1), f"\n{question} ASSISTANT:")[-1]
    return (last @ original.state["score.weight"].T).numpy(), (
        last @ original.state["sku_ctr_linear_fc.0.weight"].T
    ).numpy()


@torch.inference_mode()
def test_reward_model_gives_the_originals_logits_and_ctrs(reward_original, reward_model) -> None:
    pictures = [picture(80, 80, seed=seed) for seed in range(4)]
    pairs = [(pictures[0], pictures[1]), (pictures[2], pictures[3]), (pictures[1], pictures[0])]
    questions = ["Which part?", "Which part of this, a or A, is part of the party ?", "a"]
    said, ctrs = reward_model.outputs(questions, pairs)
    for row, (question, (left, right)) in enumerate(zip(questions, pairs, strict=True)):
        logits, ctr = _told(reward_original, question, left, right)
        np.testing.assert_allclose(said[0, row], logits, atol=1e-4)
        np.testing.assert_allclose(ctrs[0, row], ctr, atol=1e-4)
    assert np.abs(said[0, 0] - said[0, 2]).max() > 1e-2, "the sides are seen"


@torch.inference_mode()
def test_reward_model_ranks_by_the_originals_logits_in_both_orders(reward_original, reward_model) -> None:
    product, pictures = Product("A", "Red Mug"), [picture(80, 80, seed=seed) for seed in (5, 6, 7)]
    question = reward_model.instruction
    odds = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            if i != j:
                forward, backward = (
                    _told(reward_original, question, pictures[a], pictures[b])[0] for a, b in ((i, j), (j, i))
                )
                odds[i, j] = ((forward[0] - forward[1]) - (backward[0] - backward[1])) / 2
    ranking = reward_model.rank(product, pictures)
    expected = odds.sum(1) / 2
    assert [place.index for place in ranking] == np.argsort(-expected).tolist()
    np.testing.assert_allclose([place.score.value for place in ranking], np.sort(expected)[::-1], atol=1e-4)
    np.testing.assert_allclose(reward_model.score([product] * 3, pictures), expected, atol=1e-4)
    chance = reward_model.compare(product, pictures[0], pictures[1])
    assert chance == pytest.approx(1 / (1 + math.exp(-odds[0, 1])), abs=1e-5)
    assert chance == pytest.approx(1 - reward_model.compare(product, pictures[1], pictures[0]), abs=1e-12)


@torch.inference_mode()
def test_reward_model_is_the_same_after_saving_and_names_the_product_where_asked(reward_model, tmp_path: Path) -> None:
    left, right = (picture(80, 80, seed=seed) for seed in (8, 9))
    naming = CaigRewardModel(
        reward_model.backbone, reward_model.branches, instruction="Which part is a {product} ?", side=64
    )
    naming.save(tmp_path / "again")
    again = reward.load(tmp_path / "again")
    for title in ("apart", "Hat"):
        product = Product("A", title)
        expected = naming.outputs([f"Which part is a {title} ?"], [(left, right)])[0][0, 0]
        got = again.side_by_side([product], [(left, right)]).mean[0]
        assert got == pytest.approx(expected[0] - expected[1], abs=1e-6)
    assert naming.compare(Product("A", "apart"), left, right) != naming.compare(Product("A", "Hat"), left, right)


@every_damage
def test_heads_of_the_papers_form_that_are_damaged_are_refused(reward_model, damage: str, tmp_path: Path) -> None:
    reward_model.save(tmp_path / "reward")
    damage_file(tmp_path / "reward" / "heads.safetensors", damage)
    with pytest.raises(ModelError, match=r"heads\.safetensors"):
        reward.load(tmp_path / "reward")
