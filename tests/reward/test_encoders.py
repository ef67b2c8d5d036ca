"""Vision encoders as backbones: every class, offline and random; what cannot see a square is refused with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.damaged_weights import damage_file, every_damage
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedModel,
    Siglip2Config,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
    SwinConfig,
    SwinModel,
)

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import effects_model, training, two_branch_training
from clickscape.reward.effects_model import EffectsModel
from clickscape.reward.encoders import VisionEncoder, open_backbone, patch_tokens, write_backbone
from clickscape.reward.evaluate import evaluate
from clickscape.vlm.model import VisionLanguageModel

SIDE, PATCH, WIDTH = 32, 8, 32
_SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
_TOWER = {**_SHAPE, "intermediate_size": 64, "image_size": SIDE, "patch_size": PATCH}
_PIXELS = {
    "size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "resample": 3, "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip
NAMES = ("clip", "clip-vision", "siglip", "siglip2", "dinov2", "dinov2-registers", "dinov3")
WORDED = ("clip", "siglip", "siglip2")


def _made(name: str, vocabulary: int) -> PreTrainedModel:
    text = {
        **_SHAPE,
        "hidden_size": 24,
        "intermediate_size": 48,
        "vocab_size": vocabulary + 8,
    }  # some classes of tokenizers add a few
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        match name:
            case "clip":
                return CLIPModel(CLIPConfig(vision_config=_TOWER, text_config=text, projection_dim=16))
            case "clip-vision":
                return CLIPVisionModel(CLIPVisionConfig(**_TOWER))
            case "siglip":
                return SiglipModel(SiglipConfig(vision_config=_TOWER, text_config=text))
            case "siglip2":
                patches = {**_TOWER, "num_patches": (SIDE // PATCH) ** 2}
                return Siglip2Model(Siglip2Config(vision_config=patches, text_config=text))
            case "dinov2":
                return Dinov2Model(Dinov2Config(**_TOWER))
            case "dinov2-registers":
                return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**_TOWER, num_register_tokens=4))
            case "dinov3":
                return DINOv3ViTModel(DINOv3ViTConfig(**_TOWER, num_register_tokens=4))
    raise ValueError(name)


@pytest.fixture(scope="module")
def folders(backbone: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint folder of every class, as the hub has them: two towers with a tokenizer, or one without."""
    found = {}
    for name in NAMES:
        folder = found[name] = tmp_path_factory.mktemp(name)
        _made(name, len(backbone.tokenizer)).save_pretrained(folder)
        pixels = {key: value for key, value in _PIXELS.items() if not (name == "siglip2" and key == "size")}
        (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
        if name == "siglip2":
            letters = "▁abcdefghijklmnopqrstuvwxyz0123456789.,:>-"
            words = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters)
            Siglip2Tokenizer({word: number for number, word in enumerate(words)}, []).save_pretrained(folder)
        elif name in WORDED:
            backbone.tokenizer.save_pretrained(folder)
    return found


def _trained(world: Any, encoder: Any, count: int = 30) -> EffectsModel:
    data = world.data(world.products(count))
    return training.run(effects_model.train(encoder, data, config=RewardConfig(), slots=world.slots))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_class_learns_and_is_the_same_after_saving(
    name: str, world: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = open_backbone(folders[name])
    assert isinstance(encoder, VisionEncoder)
    model = _trained(world, encoder)
    unseen = world.data(world.products(42)[30:])
    report = evaluate(model, unseen, rng=np.random.default_rng(0), training=unseen)
    assert report.accuracy.low > 0.7
    assert report.baselines["product shuffled"].value < 0.7

    products, pictures = world.products(1) * 5, world.pictures(5)
    together = model.score(products, pictures)
    alone = [model.score([product], [picture])[0] for product, picture in zip(products, pictures, strict=True)]
    assert together == pytest.approx(alone, abs=1e-3)
    assert np.ptp(together) > 0.1

    model.save(tmp_path / "reward")
    again = reward.load(tmp_path / "reward")
    np.testing.assert_allclose(again.score(products, pictures), together, atol=1e-5)
    again.save(tmp_path / "twice")
    twice = reward.load(tmp_path / "twice").score(products, pictures)
    assert twice.tolist() == again.score(products, pictures).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reward", "twice"]


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2"])
def test_pictures_are_prepared_as_the_image_processor_does(name: str, world: Any, folders: dict[str, Path]) -> None:
    """Its own processor, told not to crop: the same pixels, and through the whole model the same tokens."""
    encoder = open_backbone(folders[name])
    pictures = [world.picture("red", seed=1, size=48), world.picture("blue", seed=2, size=32)]
    kind = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor", "dinov2": "BitImageProcessor"}[name]
    settings = json.loads((folders[name] / "preprocessor_config.json").read_text()) | {"image_processor_type": kind}
    own = folders[name].parent / f"{name}-processor"
    own.mkdir(exist_ok=True)
    (own / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = AutoImageProcessor.from_pretrained(own, backend="pil", local_files_only=True)
    wanted = processor(images=pictures, return_tensors="pt")["pixel_values"]
    assert torch.allclose(encoder.pixels.tensor(pictures), wanted, atol=1e-5)
    whole = AutoModel.from_pretrained(folders[name])
    tower = getattr(whole, "vision_model", whole)
    with torch.no_grad():
        tokens = tower(pixel_values=wanted).last_hidden_state
        assert torch.allclose(patch_tokens(encoder, pictures), tokens[:, -16:], atol=1e-4)


def test_siglip2_sees_the_patches_that_its_processor_cuts(world: Any, folders: dict[str, Path]) -> None:
    from transformers import Siglip2ImageProcessorPil

    encoder = open_backbone(folders["siglip2"])
    picture = world.picture("green", seed=3)
    settings = {key: value for key, value in _PIXELS.items() if key not in ("size", "do_center_crop")}
    cut = Siglip2ImageProcessorPil(**settings, patch_size=PATCH, max_num_patches=16)(
        images=[picture], return_tensors="pt"
    )
    assert cut["spatial_shapes"].tolist() == [[4, 4]]
    with torch.no_grad():
        wanted = encoder.model(**cut).last_hidden_state
        assert torch.allclose(patch_tokens(encoder, [picture]), wanted, atol=1e-4)


def test_words_are_the_encoders_own_where_it_has_any(folders: dict[str, Path]) -> None:
    clip, dino = open_backbone(folders["clip"]), open_backbone(folders["dinov2"])
    assert clip.words.embedding_dim == 24
    table = AutoModel.from_pretrained(folders["clip"]).text_model.get_input_embeddings().weight
    assert torch.equal(clip.words.weight, table)
    tiny = open_backbone("tiny")
    assert isinstance(tiny, VisionLanguageModel)
    assert torch.equal(dino.words.weight, tiny.core.get_input_embeddings().weight)


def test_the_folder_needs_no_other(folders: dict[str, Path], tmp_path: Path) -> None:
    """Any program opens the tower; nothing of `tiny` or of the first folder is asked for again."""
    encoder = open_backbone(folders["dinov2"])
    (tmp_path / "saved").mkdir()
    write_backbone(encoder, tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "words.safetensors"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    opened = AutoModel.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(value, encoder.model.state_dict()[name]) for name, value in opened.state_dict().items())


def test_two_branches_and_models_without_patches_are_refused(
    world: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = open_backbone(folders["clip"])
    with pytest.raises(ModelError, match="Use the effects form"):
        training.run(two_branch_training.train(encoder, world.data(world.products(4)), config=RewardConfig()))
    swin, bert = tmp_path / "swin", tmp_path / "bert"
    SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 1])).save_pretrained(
        swin
    )
    BertModel(BertConfig(vocab_size=20, **_SHAPE, intermediate_size=64)).save_pretrained(bert)
    for folder in (swin, bert):
        (folder / "preprocessor_config.json").write_text(json.dumps(_PIXELS))
        with pytest.raises(ModelError, match=r"cannot be opened as a vision encoder.*SigLIP, CLIP or DINO"):
            open_backbone(folder)
    with pytest.raises(ModelError, match="no such folder"):
        open_backbone(tmp_path / "nothing")


def test_damaged_folders_say_what_is_missing(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    write_backbone(open_backbone(folders["siglip"]), folder)
    pixels = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        open_backbone(folder)
    (folder / "preprocessor_config.json").write_text(pixels)
    (folder / "words.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match=r"words\.safetensors: damaged"):
        open_backbone(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "words.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors here"):
        open_backbone(folder)


@pytest.mark.slow
@every_damage
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_do_not_fill_the_encoder_are_refused(
    folders: dict[str, Path], name: str, damage: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(folders[name], tmp_path / "encoder")
    damage_file(copy / "model.safetensors", damage)
    with pytest.raises(ModelError, match=str(copy)):
        open_backbone(copy)


@pytest.mark.parametrize("damage", ["NaN", "infinite"])
def test_words_that_are_no_numbers_are_refused(folders: dict[str, Path], damage: str, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    write_backbone(open_backbone(folders["siglip"]), tmp_path / "encoder")
    damage_file(tmp_path / "encoder" / "words.safetensors", damage)
    with pytest.raises(ModelError, match=r"words\.safetensors: the tensor 'weight' holds NaN or infinity"):
        open_backbone(tmp_path / "encoder")
