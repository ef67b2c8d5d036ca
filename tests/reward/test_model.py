"""Every form of reward model behind one protocol: orders, batches and checkpoints agree; rankings carry uncertainty."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.damaged_weights import damage_file, every_damage

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import effects_model, training, two_branch
from clickscape.reward.protocol import PROBIT, Odds, RewardModel
from clickscape.vlm.model import VisionLanguageModel

FORMS = ("effects", "two_branch")
QUICK = RewardConfig(epochs=3, products_per_batch=8, learning_rate=3e-2, validation_share=0.2)


def counted(data: Any, *, examined: float = 4_000.0) -> Any:
    """The same creatives with clicks as their CTRs make them."""
    examinations = np.full(len(data.creative_ids), examined)
    clicks = np.random.default_rng(2).poisson(examinations * np.exp(data.log_ctr)).astype(float)
    return replace(data, clicks=clicks, examinations=examinations)


@pytest.fixture(scope="module", params=FORMS)
def model(world: Any, request: pytest.FixtureRequest) -> RewardModel:
    data, backbone = counted(world.data(world.products(24))), world.fresh_backbone()
    return training.run(training.FORMS[request.param](backbone, data, config=QUICK, slots=world.slots))


def test_odds_are_antisymmetric_and_say_how_sure_they_are(world: Any, model: RewardModel) -> None:
    products, pictures = world.products(6), world.pictures(13)
    forward = model.odds(products, pictures[:6], pictures[7:])  # another wall each
    backward = model.odds(products, pictures[7:], pictures[:6])
    assert np.abs(forward.mean).max() > 1e-3
    assert forward.mean == pytest.approx(-backward.mean, abs=1e-4)
    assert forward.sd == pytest.approx(backward.sd, abs=1e-4)
    assert forward.known
    assert (forward.sd > 0).all()
    assert forward.probability + backward.probability == pytest.approx(np.ones(6), abs=1e-4)
    assert model.compare(products[0], pictures[0], pictures[7]) == pytest.approx(forward.probability[0], abs=1e-4)
    assert model.compare(products[0], pictures[0], pictures[0]) == pytest.approx(0.5, abs=1e-5)


def test_an_unsure_model_is_milder_by_hand() -> None:
    odds = Odds(np.array([2.0, 2.0, 2.0]), np.array([0.0, PROBIT, np.nan]))
    assert odds.log_odds == pytest.approx([2.0, 2 / np.sqrt(2), 2.0])
    assert odds.probability[1] == pytest.approx(1 / (1 + np.exp(-np.sqrt(2))))
    assert not odds.known


def test_batched_and_single_answers_agree(world: Any, model: RewardModel) -> None:
    products, pictures = world.products(5), world.pictures(10)
    together = model.odds(products, pictures[:5], pictures[5:]).mean
    alone = [model.odds([p], [a], [b]).mean[0] for p, a, b in zip(products, pictures[:5], pictures[5:], strict=True)]
    assert together == pytest.approx(alone, abs=1e-3)


def test_rank_is_best_first_with_intervals(world: Any, model: RewardModel) -> None:
    product, pictures = world.products(1)[0], [*world.pictures(3), world.pictures(1)[0]]
    ranking = model.rank(product, pictures)
    assert sorted(place.index for place in ranking) == [0, 1, 2, 3]
    values = [place.score.value for place in ranking]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(0, abs=1e-3)
    assert all(place.score.low < place.score.value < place.score.high for place in ranking)
    scores = model.score([product] * 4, pictures)
    assert ranking[0].score.value - ranking[-1].score.value == pytest.approx(np.ptp(scores), rel=1.0)
    assert ranking[-1].ahead is None
    places = [place.index for place in ranking]
    twins = sorted((places.index(0), places.index(3)))
    assert twins[1] - twins[0] == 1
    assert ranking[twins[0]].ahead is False, "a picture is not ahead of itself"
    assert model.rank(product, []) == []
    (only,) = model.rank(product, pictures[:1])
    assert (only.index, only.score.value) == (0, pytest.approx(0, abs=1e-9))


def test_saved_and_loaded_scores_are_equal(world: Any, model: RewardModel, tmp_path: Path) -> None:
    product, pictures = world.products(1)[0], world.pictures(4)
    before, odds = model.score([product] * 4, pictures), model.odds([product], pictures[:1], pictures[1:2])
    model.save(tmp_path / "reward")
    model.save(tmp_path / "reward")  # an older checkpoint is replaced
    again = reward.load(tmp_path / "reward")
    assert type(again) is type(model)
    np.testing.assert_allclose(again.score([product] * 4, pictures), before, atol=1e-5)
    np.testing.assert_allclose(again.odds([product], pictures[:1], pictures[1:2]).sd, odds.sd, rtol=1e-3)
    again.save(tmp_path / "twice")
    twice = reward.load(tmp_path / "twice").score([product] * 4, pictures)
    assert twice.tolist() == again.score([product] * 4, pictures).tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reward", "twice"]  # nothing half-written is left


def test_inputs_of_different_length_are_refused(world: Any, model: RewardModel) -> None:
    with pytest.raises(ValueError, match="2 products and 1 images"):
        model.score(world.products(2), world.pictures(1))


def test_scores_that_are_not_numbers_rank_nothing(world: Any, model: RewardModel) -> None:
    large = copy.deepcopy(model)
    with torch.no_grad():
        for weight in large.backbone.model.parameters():  # type: ignore[attr-defined]
            weight.mul_(1e30)
    with pytest.raises(ModelError, match="scores are not numbers"):
        large.rank(world.products(1)[0], world.pictures(2))


def test_more_images_than_the_two_branches_compare_are_refused(world: Any, backbone: VisionLanguageModel) -> None:
    made = two_branch.TwoBranch(backbone, two_branch.Branches(torch.zeros(1, 2, backbone.hidden_size), None))
    with pytest.raises(ModelError, match="Use the effects form"):
        made.rank(world.products(1)[0], world.pictures(1) * 65)
    lone = made.rank(world.products(1)[0], world.pictures(2))
    assert [(one.score.low, one.score.high, one.ahead) for one in lone] == [(-np.inf, np.inf, None)] * 2


@pytest.fixture(scope="module")
def saved(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "reward"
    data = counted(world.data(world.products(12)))
    training.run(effects_model.train(world.fresh_backbone(), data, config=QUICK, slots=world.slots)).save(folder)
    return folder


def test_damaged_checkpoints_say_what_to_do(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no reward model here"):
        reward.load(tmp_path)
    settings = json.loads((saved / "reward.json").read_text())
    changes: list[tuple[dict[str, Any], str]] = [
        ({"form": "single", "version": 5}, "of another release. Train the reward model again"),
        ({"columns": settings["columns"] + 1}, "Train the reward model again"),
        ({"departments": ["A"]}, "its design has"),
        *(({"prices": wrong}, "Train the reward") for wrong in ({"EUR": 1}, {"EUR": {"": [1.0, 0.0]}}, None)),
        *(({name: wrong}, r"reward\.json: .*Train the reward model again") for name, wrong in (
            ("columns", -1), ("rank", 10**23), ("slots", {"setting": "cafe"}), ("departments", [1]),
            ("scene", ["given"]), ("temperature", 0),
        )),
    ]  # fmt: skip
    try:
        for change, message in changes:
            (saved / "reward.json").write_text(json.dumps(settings | change))
            with pytest.raises(ModelError, match=message):
                reward.load(saved)
    finally:
        (saved / "reward.json").write_text(json.dumps(settings))


@pytest.mark.slow
@every_damage
@pytest.mark.parametrize("file", ["effects.safetensors", "model.safetensors"])
def test_weights_that_do_not_fill_arrays_or_backbone_are_refused(
    saved: Path, file: str, damage: str, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "reward"
    shutil.copytree(saved, folder)
    damage_file(folder / file, damage)
    with pytest.raises(ModelError, match=str(folder)):
        reward.load(folder)
