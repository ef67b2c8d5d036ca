from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from scripts import warm_ups
from scripts.warm_ups import WarmUpConfig
from tests.damaged_weights import damage_file, every_damage

from clickscape.errors import ModelError
from clickscape.vlm import batch as batches
from clickscape.vlm import pretrain as training
from clickscape.vlm import tasks

CONFIG = WarmUpConfig(
    tower_steps=30, tower_batch_size=18, tower_learning_rate=3e-3, text_steps=6, joint_steps=6, batch_size=6
)


def test_plain_wording_fades_out():
    shares = [warm_ups.plain_share(done / 10, end=0.9) for done in range(11)]
    assert shares[:4] == pytest.approx([1, 1, 1, 1])
    assert shares[6] == pytest.approx(0.5)
    assert shares[9] == shares[10] == 0
    assert warm_ups.plain_share(0.0, end=0.0) == 0


def test_the_vision_tower_learns_colors_from_captions(build, corpus):
    vlm = build(seed=1)
    heads = warm_ups.slot_heads(vlm, corpus, seed=1)
    departments = [product.department for product in corpus.ad_products]
    before = warm_ups.slot_accuracy(vlm, heads, corpus.ads, corpus.ad_slots, departments)["color"]
    steps = list(warm_ups.warm_up_tower(vlm, heads, corpus, config=CONFIG))
    after = warm_ups.slot_accuracy(vlm, heads, corpus.ads, corpus.ad_slots, departments)["color"]
    assert [step.number for step in steps] == list(range(1, 31))
    assert after > 0.9 > before
    assert not any(weight.requires_grad for weight in vlm.core.model.vision_tower.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tower", "text", "joint"])
def test_a_resumed_run_equals_an_uninterrupted_one(build, corpus, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(training, "EVERY", 3)
    config = CONFIG.model_copy(update={"tower_steps": 6})

    def run(vlm, path):
        if stage == "tower":
            heads = warm_ups.slot_heads(vlm, corpus, seed=0)
            return warm_ups.warm_up_tower(vlm, heads, corpus, config=config, checkpoint=path)
        start = warm_ups.warm_up_text if stage == "text" else training.train_jointly
        return start(vlm, corpus, config=config, checkpoint=path)

    whole, killed, resumed = build(seed=2), build(seed=2), build(seed=2)
    expected = list(run(whole, tmp_path / "whole.safetensors"))
    for step in run(killed, tmp_path / "part.safetensors"):
        if step.number == 4:
            break
    rest = list(run(resumed, tmp_path / "part.safetensors"))
    assert [step.number for step in rest] == [4, 5, 6]
    assert [step.loss for step in rest] == [step.loss for step in expected[3:]]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    again = build(seed=2)
    assert list(run(again, tmp_path / "whole.safetensors")) == []
    assert torch.equal(again.model.lm_head.weight, whole.model.lm_head.weight)


def test_a_checkpoint_of_another_run_is_refused(build, corpus, tmp_path):
    path = tmp_path / "text.safetensors"
    list(warm_ups.warm_up_text(build(seed=3), corpus, config=CONFIG, checkpoint=path))
    longer = CONFIG.model_copy(update={"text_steps": 7})
    with pytest.raises(ModelError, match="6 steps, not 7"):
        list(warm_ups.warm_up_text(build(seed=3), corpus, config=longer, checkpoint=path))


@pytest.mark.slow
def test_all_stages_lower_their_losses_and_joint_training_leaves_the_tower(build, corpus, tmp_path):
    vlm = build(seed=4)
    config = CONFIG.model_copy(update={"text_steps": 40, "joint_steps": 20, "learning_rate": 5e-3})
    steps = list(warm_ups.pretrain(vlm, corpus, config=config, folder=tmp_path))
    assert Counter(step.stage for step in steps) == {"tower": 30, "text": 40, "joint": 20}
    for stage, drop in (("tower", 0.7), ("text", 0.7), ("joint", 0.95)):
        losses = [step.loss for step in steps if step.stage == stage]
        assert np.mean(losses[-5:]) < drop * np.mean(losses[:3])
    words = vlm.core.get_input_embeddings().weight.square().mean().sqrt()
    seen = training.all_features(vlm, tasks.picture_bank(corpus)).float().square().mean().sqrt()
    assert 0.3 < float(seen / words) < 3  # pictures are as loud as words


def test_slots_that_do_not_apply_teach_nothing(build, corpus):
    heads = warm_ups.slot_heads(build(seed=5), corpus, seed=0)
    labels = warm_ups.slot_labels(heads, corpus.ad_slots, ["Home"] * len(corpus.ads))
    assert set(labels["palette"].tolist()) == {-100}
    names = [heads.values["color"][place] for place in labels["color"].tolist()]
    assert names == [slots["color"] for slots in corpus.ad_slots]
    assert warm_ups.departments(corpus) == ("Beauty", "Home", "Sports", "Tools")


@torch.inference_mode()
def test_wide_pictures_are_cut_into_their_halves(small, noise):
    pictures = np.stack([noise(1), noise(2), noise(3), noise(4)])
    tokens = warm_ups._tokens(small, pictures, wide=True)
    assert tokens.shape == (4, 9, small.hidden_size)
    wide = batches.image_features(small, [np.concatenate([noise(3), noise(4)], axis=1)])[0].reshape(3, 6, -1)
    torch.testing.assert_close(tokens[2], wide[:, :3].reshape(9, -1))
    torch.testing.assert_close(tokens[3], wide[:, 3:].reshape(9, -1))


def test_augmented_pictures_are_the_pictures_moved_and_mirrored(noise):
    ramp = np.repeat(np.arange(60, 156, dtype=np.uint8)[None, :, None], 96, 0).repeat(3, 2)
    made = warm_ups.augment(np.stack([ramp] * 40), np.random.default_rng(0))
    assert made.shape == (40, 96, 96, 3)
    rising = [bool(picture[0, -1, 0] > picture[0, 0, 0]) for picture in made]
    assert 8 < sum(rising) < 32
    assert len({picture.tobytes() for picture in made}) == 40
    again = warm_ups.augment(np.stack([ramp] * 40), np.random.default_rng(0))
    assert np.array_equal(made, again)


def test_the_projector_scale_changes_the_projectors_output_alone(build, corpus):
    vlm = build(seed=6)
    before = training.all_features(vlm, corpus.ads[:4]).float()
    training.match_projector_scale(vlm, tasks.picture_bank(corpus), seed=0)
    after = training.all_features(vlm, corpus.ads[:4]).float()
    ratio = float(after.norm() / before.norm())
    torch.testing.assert_close(after, before * ratio, atol=2e-3 * float(after.abs().max()), rtol=0.01)


@pytest.fixture(scope="module")
def whole_checkpoint(build, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "text.safetensors"
    list(warm_ups.warm_up_text(build(seed=3), corpus, config=CONFIG, checkpoint=path))
    return path


@every_damage
def test_a_damaged_checkpoint_is_refused(build, corpus, damage, whole_checkpoint, tmp_path):
    path = shutil.copy(whole_checkpoint, tmp_path / "text.safetensors")
    damage_file(path, damage)
    with pytest.raises(ModelError, match="Delete it"):
        list(warm_ups.warm_up_text(build(seed=3), corpus, config=CONFIG, checkpoint=path))
