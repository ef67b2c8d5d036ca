"""The slot probe: it begins from the tower's maps, and its probabilities are right where it did not learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clickscape.errors import ModelError
from clickscape.reward import slot_probe
from clickscape.vlm.slots import NamedSlots

SLOTS = {"wall": ("red", "green"), "prop": ("cup",)}
COUNTS = (3, 2)


def _pictures(seed: int, count: int, *, noise: float) -> tuple[np.ndarray, list[dict[str, str | None]], np.ndarray]:
    """Tokens that hold a noisy picture of each class; 30 clusters."""
    rng = np.random.default_rng(seed)
    walls, props = rng.integers(3, size=count), rng.integers(2, size=count)
    tokens = np.zeros((count, 8))
    tokens[np.arange(count), walls] = tokens[np.arange(count), 3 + props] = 1
    scenes: list[dict[str, str | None]] = [
        {"wall": ("red", "green", None)[wall], "prop": ("cup", None)[prop]}
        for wall, prop in zip(walls, props, strict=True)
    ]
    return tokens + rng.normal(0, noise, tokens.shape), scenes, np.arange(count) % 30


def test_known_classes_are_ones_and_unknown_ones_are_unknown() -> None:
    scenes = [{"wall": "green", "prop": None}, {"wall": "blue"}, None]
    found = slot_probe.given_probabilities(SLOTS, scenes)
    assert found[0].tolist() == [0, 1, 0, 0, 1]
    assert np.isnan(found[1:]).all()


def test_probabilities_of_new_objects_are_right() -> None:
    tokens, scenes, cluster = _pictures(0, 1_500, noise=0.6)
    known = slot_probe.given_probabilities(SLOTS, scenes)
    probe, held_out = slot_probe.fit(tokens, known, cluster, slots=SLOTS, prior=None)
    fresh, truth, _ = _pictures(1, 3_000, noise=0.6)
    for said, right in ((probe.probabilities(fresh), slot_probe.given_probabilities(SLOTS, truth)), (held_out, known)):
        assert said.sum(1) == pytest.approx(np.full(len(said), len(SLOTS)))
        best = said[:, :3].max(1)
        hit = right[np.arange(len(said)), said[:, :3].argmax(1)]
        assert hit.mean() > 0.7
        assert best.mean() == pytest.approx(hit.mean(), abs=0.03)


def test_a_good_map_is_kept_and_few_creatives_change_it_little() -> None:
    """The best map there is, 40 creatives: beginning from it is better than learning from them alone."""
    noise = 0.7
    weight = torch.zeros(3, 108, dtype=torch.float32)
    weight[0, 0] = weight[1, 1] = weight[2, 3] = 1 / noise**2
    named = NamedSlots({"wall": ("red", "green"), "prop": ("cup",)}, weight, torch.zeros(3))
    prior = slot_probe.from_named(SLOTS, named, width=108)
    assert prior is not None

    def lot(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokens, scenes, cluster = _pictures(seed, 3 * count, noise=noise)
        kept = np.array([scene["wall"] is not None for scene in scenes])
        known = slot_probe.given_probabilities(SLOTS, scenes)
        tokens = np.hstack([tokens, np.random.default_rng(seed).normal(0, noise, (len(tokens), 100))])  # says nothing
        return tokens[kept][:count], known[kept][:count], cluster[kept][:count]

    fresh, right, _ = lot(3, 1_000)

    def cost(one: slot_probe.SlotProbe) -> float:
        return -float(np.log(np.maximum((one.probabilities(fresh) * right)[:, :3].sum(1), 1e-9)).mean())

    learned, alone = (slot_probe.fit(*lot(2, 40), slots=SLOTS, prior=begin)[0] for begin in (prior, None))
    assert cost(learned) < 0.9 * cost(alone)
    assert cost(learned) < 1.3 * cost(prior)


def test_maps_of_tokens_of_another_width_are_refused() -> None:
    named = NamedSlots({"wall": ("red",)}, torch.zeros(1, 5), torch.zeros(1))
    with pytest.raises(ModelError, match="learned on 5 numbers a picture, this backbone gives 8"):
        slot_probe.from_named(SLOTS, named, width=8)
    assert slot_probe.from_named(SLOTS, None, width=8) is None


@pytest.mark.parametrize("pictures", [20, 60])
def test_components_keep_every_distance_with_a_mean_square_of_one(pictures: int) -> None:
    """With fewer pictures than the 50 numbers of a token, and with more; all fit into COMPONENTS."""
    tokens = np.random.default_rng(0).normal(size=(pictures, 50)) * np.linspace(0.1, 3, 50)
    tokens -= tokens.mean(0)
    inner = tokens @ slot_probe._components(tokens)
    assert inner @ inner.T == pytest.approx(tokens @ tokens.T / (tokens**2).mean(), abs=1e-9)
    assert inner.shape[1] == min(pictures - 1, 50)
    assert list(np.argsort(-(inner**2).sum(0))) == [*range(inner.shape[1])]
