"""Both forms of the reward model: orders, batches and checkpoints agree; rankings carry their uncertainty."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.damaged_weights import damage_file, every_damage

from clickscape import reward
from clickscape.errors import DeprecatedWarning, ModelError
from clickscape.reward.features import extract
from clickscape.reward.model import RewardModel, build
from clickscape.vlm.model import VisionLanguageModel

FORMS = ("single", "pair")


@pytest.fixture(scope="module", params=FORMS)
def model(world: Any, request: pytest.FixtureRequest, backbone: VisionLanguageModel) -> RewardModel:
    """Heads with large random weights, so that agreement is not agreement on nothing."""
    made = build(backbone, form=request.param, slots=world.slots, departments=world.departments, ensemble=3, seed=0)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    products, sides = world.products(9), made.heads.shape.sides
    pictures = [tuple(world.pictures(9 + sides)[first : first + sides]) for first in range(9)]
    with torch.no_grad():
        last_token = request.param == "pair"
        made.heads.standardize(
            extract(
                backbone,
                products,
                pictures,
                prices=made.prices,
                departments=(),
                slots=made.slots,
                last_token=last_token,
            )
        )
    return made


def test_probabilities_of_both_orders_add_up_to_one(world: Any, model: RewardModel) -> None:
    products, pictures = world.products(6), world.pictures(13)
    forward = model.compare_many(products, pictures[:6], pictures[7:])  # another wall each
    backward = model.compare_many(products, pictures[7:], pictures[:6])
    assert np.abs(forward - 0.5).max() > 0.01  # 0.04 and more over seeds
    assert forward == pytest.approx(1 - backward, abs=1e-5)


def test_an_image_compared_with_itself_is_one_half(world: Any, model: RewardModel) -> None:
    picture = world.pictures(1)[0]
    assert model.compare(world.products(1)[0], picture, picture) == pytest.approx(0.5, abs=1e-6)


def test_batched_and_single_answers_agree(world: Any, model: RewardModel) -> None:
    products, pictures = world.products(7), world.pictures(14)
    together = model.compare_many(products, pictures[:7], pictures[7:])
    alone = [model.compare(product, pictures[row], pictures[row + 7]) for row, product in enumerate(products)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_batched_and_single_scores_agree(world: Any, backbone: VisionLanguageModel) -> None:
    model = build(backbone, slots=world.slots, departments=world.departments, seed=3)
    products, pictures = world.products(7), world.pictures(7)
    together = model.score(products, pictures)
    alone = [model.score([product], [picture])[0] for product, picture in zip(products, pictures, strict=True)]
    assert np.ptp(together) > 0
    assert together == pytest.approx(alone, abs=1e-5)


def test_score_orders_like_compare(world: Any, model: RewardModel) -> None:
    product, pictures = world.products(1)[0], world.pictures(3)
    scores = model.score([product] * 3, pictures)
    odds = {(i, j): model.log_odds([product], [pictures[i]], [pictures[j]]).mean() for i in range(3) for j in range(3)}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if model.form == "single":
            assert scores[i] - scores[j] == pytest.approx(odds[i, j], abs=1e-4)
    if model.form == "pair":
        assert scores[0] == pytest.approx((odds[0, 1] + odds[0, 2]) / 2, abs=1e-4)


def test_rank_is_best_first_with_intervals(world: Any, model: RewardModel) -> None:
    product, pictures = world.products(1)[0], world.pictures(4)
    ranking = model.rank(product, pictures)
    assert sorted(place.index for place in ranking) == [0, 1, 2, 3]
    values = [place.score.value for place in ranking]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(0, abs=1e-5)
    assert all(place.score.low < place.score.value < place.score.high for place in ranking)
    assert ranking[0].index == int(np.argmax(model.score([product] * 4, pictures)))


def test_nothing_and_a_single_image_can_be_ranked(world: Any, model: RewardModel) -> None:
    assert model.rank(world.products(1)[0], []) == []
    (only,) = model.rank(world.products(1)[0], world.pictures(1))
    assert (only.index, only.score.value) == (0, 0.0)


def test_one_head_has_no_interval_to_show(world: Any, backbone: VisionLanguageModel) -> None:
    ranking = build(backbone, slots=world.slots, departments=world.departments, ensemble=1).rank(
        world.products(1)[0], world.pictures(2)
    )
    assert (ranking[0].score.low, ranking[0].score.high) == (-np.inf, np.inf)


def test_saved_and_loaded_scores_are_equal(world: Any, model: RewardModel, tmp_path: Path) -> None:
    product, pictures = world.products(1)[0], world.pictures(4)
    before = model.score([product] * 4, pictures)
    model.save(tmp_path / "reward")
    model.save(tmp_path / "reward")  # an older checkpoint is replaced
    again = reward.load(tmp_path / "reward")
    assert again.form == model.form
    assert again.slots == model.slots
    assert again.score([product] * 4, pictures).tolist() == before.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["reward"]  # nothing half-written is left behind
    assert {"reward.json", "heads.safetensors", "config.json"} <= {
        path.name for path in (tmp_path / "reward").iterdir()
    }


def test_damaged_checkpoints_say_what_to_do(world: Any, backbone: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no reward model here"):
        reward.load(tmp_path)
    folder = tmp_path / "reward"
    build(backbone, slots=world.slots, departments=world.departments).save(folder)
    settings = json.loads((folder / "reward.json").read_text())
    (folder / "reward.json").write_text(json.dumps(settings | {"version": 99}))
    with pytest.raises(ModelError, match="version 99"):
        reward.load(folder)
    (folder / "reward.json").write_text(json.dumps(settings | {"form": "triple"}))
    with pytest.raises(ModelError, match=r"reward\.json: form: Input should be"):
        reward.load(folder)
    (folder / "reward.json").write_text(json.dumps(settings | {"ensemble": 3}))
    with pytest.raises(ModelError, match="damaged"):
        reward.load(folder)
    (folder / "reward.json").write_text(json.dumps(settings | {"vision_width": 3}))
    with pytest.raises(ModelError, match="another backbone"):
        reward.load(folder)
    (folder / "reward.json").write_text(json.dumps(settings))
    (folder / "heads.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="damaged"):
        reward.load(folder)


def test_more_images_than_the_pair_form_takes_are_refused(world: Any, backbone: VisionLanguageModel) -> None:
    model = build(backbone, form="pair", slots=world.slots, departments=world.departments)
    with pytest.raises(ModelError, match="Use the single form"):
        model.rank(world.products(1)[0], world.pictures(1) * 65)


def test_inputs_of_different_length_are_refused(world: Any, model: RewardModel) -> None:
    with pytest.raises(ValueError, match="2 products and 1 images"):
        model.score(world.products(2), world.pictures(1))


def test_pictures_of_any_shape_are_scored(world: Any, backbone: VisionLanguageModel) -> None:
    """A banner is one picture, not two side by side: it is scored as what it shows when it is squeezed to a square."""
    single = build(backbone, slots=world.slots, departments=world.departments, seed=3)
    square = world.picture("red", seed=1, size=64)
    product = world.products(1)[0]
    wide, tall = np.repeat(square, 3, axis=1), np.repeat(square, 2, axis=0)
    scores = single.score([product] * 3, [square, wide, tall])
    assert np.isfinite(scores).all()
    assert np.ptp(scores) < 0.02


def test_a_checkpoint_of_release_0_1_is_read_with_one_warning_and_written_anew(
    world: Any, model: RewardModel, tmp_path: Path
) -> None:
    """Version 4 as it was written: its own names of settings, scenes and tensors."""
    old, new = tmp_path / "old", tmp_path / "new"
    model.save(old)
    settings = json.loads((old / "reward.json").read_text())
    settings["look_width"] = settings.pop("statistic_width")
    settings |= {"version": 4, "scene": {"predicted": "seen", "given": "told"}[settings["scene"]]}
    (old / "reward.json").write_text(json.dumps(settings))
    names = {
        "statistic": "look", "image_statistics_mean": "looks_mean", "image_statistics_scale": "looks_scale",
        "slot_map": "perception", "slot_bias": "perception_bias",
    }  # fmt: skip
    tensors = load_file(old / "heads.safetensors")
    save_file({names.get(name, name): tensor for name, tensor in tensors.items()}, old / "heads.safetensors")
    with pytest.warns(DeprecatedWarning, match=r"reward\.json: version 4 of release 0\.1.*clickscape reward") as caught:
        opened = reward.load(old)
    assert len(caught) == 1
    opened.save(new)
    again = reward.load(new)
    assert json.loads((new / "reward.json").read_text())["version"] == 5
    products, pictures = world.products(6), world.pictures(7)
    expected = model.compare_many(products, pictures[:6], pictures[1:])
    for one in (opened, again):
        assert one.compare_many(products, pictures[:6], pictures[1:]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@every_damage
@pytest.mark.parametrize("file", ["heads.safetensors", "model.safetensors"])
def test_weights_that_do_not_fill_heads_or_backbone_are_refused(
    world: Any, backbone: VisionLanguageModel, file: str, damage: str, tmp_path: Path
) -> None:
    build(backbone, slots=world.slots, departments=world.departments).save(tmp_path / "reward")
    damage_file(tmp_path / "reward" / file, damage)
    with pytest.raises(ModelError, match=str(tmp_path / "reward")):
        reward.load(tmp_path / "reward")


@pytest.mark.parametrize(
    "change",
    [
        {"ensemble": 10**9}, {"ensemble": 0}, {"ensemble": "6"}, {"vision_width": -1}, {"vision_width": 10**23},
        {"slots": []}, {"slots": {"setting": "cafe"}}, {"departments": [1]}, {"scene": ["given"]},
        {"prices": {"EUR": 1}}, {"prices": {"EUR": {"Toys": [1.0]}}}, {"form": None}, {"version": [5]},
    ],
)  # fmt: skip
def test_settings_of_another_type_or_size_are_one_line(
    world: Any, backbone: VisionLanguageModel, change: dict[str, Any], tmp_path: Path
) -> None:
    build(backbone, slots=world.slots, departments=world.departments).save(tmp_path)
    settings = json.loads((tmp_path / "reward.json").read_text())
    (tmp_path / "reward.json").write_text(json.dumps(settings | change))
    with pytest.raises(ModelError, match=r"reward\.json: .*Train the reward model again"):
        reward.load(tmp_path)


def test_scores_that_are_not_numbers_rank_nothing(world: Any, model: RewardModel) -> None:
    large = copy.deepcopy(model)
    with torch.no_grad():
        for weight in large.backbone.model.parameters():
            weight.mul_(1e30)
    with pytest.raises(ModelError, match="scores are not numbers"):
        large.rank(world.products(1)[0], world.pictures(2))
