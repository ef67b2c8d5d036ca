"""MIPS: weights of elements by hand, as those of creatives where they must be, and creatives that nobody has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.experiment.off_policy_worlds import World, table, target

from clickscape.errors import ExperimentError
from clickscape.experiment import new_creatives, off_policy, target_policy
from clickscape.experiment import off_policy_scores as scores
from clickscape.experiment.decisions import Decisions, Floats, Integers
from clickscape.experiment.element_weights import Elements, element_weights, support
from clickscape.experiment.off_policy_scores import Problem

LIGHTS = ("soft", "noon", "neon")
EFFECTS = {"soft": 0.0, "noon": 0.4, "neon": -0.5}


def test_weights_of_elements_by_hand() -> None:
    """Candidates a (soft, 0.5), b (soft, 0.3) and c (noon, 0.2); the target shows c half of the time, a the rest."""
    log = table([(0, 0, 1), (0, 1, 0), (0, 2, 1)], propensities=[[0.5, 0.3, 0.2]])
    policy = target(log, [0.5, 0.0, 0.5])
    scenes = {"s0-0": {"light": "soft"}, "s0-1": {"light": "soft"}, "s0-2": {"light": "noon"}}
    elements = Elements.of(log.creatives, scenes)
    found = element_weights(log, policy, key=elements.key(["light"]))
    assert found.weight == pytest.approx([0.5 / 0.8, 0.5 / 0.8, 0.5 / 0.2])
    assert found.supported == 1
    assert scores.mips(Problem(log, policy, elements=elements)).value == pytest.approx((0.5 / 0.8 + 2.5) / 3)


def test_pooled_weights_count_contexts_by_what_they_are_expected_to_earn() -> None:
    """One noon of two candidates in each of two contexts, the second of which earns three times as much."""
    log = table([(0, 0, 1), (1, 0, 1)], propensities=[[0.5, 0.5], [0.1, 0.9]])
    policy = target(log, [1.0, 0.0, 1.0, 0.0])
    key = np.array([0, 1, 0, 1])
    found = element_weights(log, policy, key=key, pool=np.zeros(2, np.int64), exposure=np.array([1.0, 3.0]))
    assert found.weight[[0, 2]] == pytest.approx([4 / 0.8, 4 / 0.8])
    assert found.weight[[1, 3]] == pytest.approx([0, 0])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_element_of_its_own_for_every_creative_makes_mips_ips_and_one_for_all_makes_it_the_log(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log = World.draw(rng, products=3).log(rng, decisions=300)
    policy = target_policy.softmax_of_scores(
        log, dict(zip(log.creatives, rng.normal(size=len(log.creatives)), strict=True)), temperature=1.0
    )
    own = Problem(log, policy, elements=Elements.of(log.creatives, {one: {"id": one} for one in log.creatives}))
    same = Problem(log, policy, elements=Elements.of(log.creatives, {one: {"id": "x"} for one in log.creatives}))
    assert scores.mips(own).value == pytest.approx(scores.ips(own).value)
    assert scores.mips(own).weight == pytest.approx(own.weight)
    assert scores.mips(same).value == pytest.approx(log.ctr)


def test_mips_without_scenes_is_refused() -> None:
    log = World.draw(np.random.default_rng(0)).log(np.random.default_rng(0), decisions=500)
    with pytest.raises(ExperimentError, match=r"nobody noted a scene\. Use dr"):
        off_policy.evaluate(log, target_policy.uniform(log), estimator="mips")


def test_a_creative_without_a_scene_is_like_no_other_and_hidden_is_a_value() -> None:
    elements = Elements.of(["a", "b", "c", "d"], {"a": {"light": "soft"}, "b": {"light": None}, "d": {"light": "soft"}})
    assert elements.values == (("(hidden)", "soft"),)
    key = elements.key(["light"])
    assert key[0] == key[3]
    assert len(set(key.tolist())) == 3
    assert elements.key([]).tolist() == [0, 0, 0, 0]


def test_support_is_the_share_of_the_traffic_whose_elements_the_log_shows() -> None:
    log = table([(0, 0, 1), (0, 1, 0)], propensities=[[0.5, 0.5]])
    policy, about = target_policy.by_shares(log, {"p0": {"s0-0": 0.5, "new": 0.3, "odd": 0.2}}, name="mine")
    scenes = {"s0-0": {"light": "soft", "prop": "ice"}, "s0-1": {"light": "noon", "prop": "ice"},
              "new": {"light": "noon", "prop": "ice"}, "odd": {"light": "neon", "prop": "ice"}}  # fmt: skip
    found = support(about, policy, Elements.of(policy.creatives, scenes))
    assert found == pytest.approx({"light": 0.8, "prop": 1.0, "all": 0.8})


def shop(rng: np.random.Generator, *, decisions: int = 60_000, products: int = 30) -> tuple[Decisions, dict, World]:
    """A log whose creatives' CTRs are their lights' alone, with a light drawn for each."""
    world = World.draw(rng, products=products, candidates=4, positions=2, ctr=0.1)
    light = rng.integers(2, size=(products, 4))
    effect = np.array([EFFECTS[name] for name in LIGHTS])[light]
    base = 0.08 * np.exp(0.3 * rng.normal(size=(products, 1)))
    look = np.tile([1.0, 0.5], products)[:, None]
    world = replace(world, rate=np.repeat(base * np.exp(effect), 2, axis=0) * look)
    log = world.log(rng, decisions=decisions, users=decisions // 20)
    scenes = {name: {"light": LIGHTS[place]} for name, place in zip(log.creatives, light.ravel(), strict=True)}
    return log, scenes, world


def by_light(scenes: dict, creatives: tuple[str, ...]) -> Floats:
    """The true effects, as a fit that knew them would say."""
    return np.array([EFFECTS[scenes[name]["light"]] for name in creatives])


def test_new_creatives_earn_what_their_elements_say() -> None:
    """Every product gets one at noon; the truth is in the interval whether effects are known or clicks must say so."""
    rng = np.random.default_rng(3)
    log, scenes, world = shop(rng)
    shares = {product: {f"{product}-new": 1.0} for product in log.products}
    scenes |= {f"{product}-new": {"light": "noon"} for product in log.products}
    policy, about = target_policy.by_shares(log, shares, name="noon")
    looks = np.array([name["light"] == "noon" for name in (scenes[one] for one in log.creatives)]).reshape(30, 4)
    base = world.rate[::2].copy() / np.exp(np.where(looks, 0.4, 0.0))
    truth = (world.share * np.repeat(base[:, 0] * np.exp(0.4), 2) * np.tile([1.0, 0.5], 30)).sum()
    logged = (world.share * (world.propensity * world.rate).sum(1)).sum()
    fits = {
        "known": lambda fold: np.tile(by_light(scenes, policy.creatives), (fold.max() + 1, 1)),
        "unknown": lambda fold: np.zeros((fold.max() + 1, len(fold))),
    }
    for name, fit in fits.items():
        found = new_creatives.evaluate_new(about, policy, scenes=scenes, departments={}, fit=fit)
        assert found.value.ctr is not None
        assert found.value.lift is not None
        assert found.value.ctr.low <= truth <= found.value.ctr.high, name
        assert found.value.lift.low <= truth / logged - 1 <= found.value.lift.high, name
        assert found.value.ctr.value == pytest.approx(truth, rel=0.1), name
        assert (found.slots == ("light",)) == (name == "unknown"), "clicks correct what effects do not know"


def test_what_is_learned_from_a_product_is_not_asked_about_it() -> None:
    """The fit is asked for folds of products: no product is in two, and each has several products."""
    rng = np.random.default_rng(4)
    log, scenes, _ = shop(rng, decisions=5_000)
    shares = {product: {f"{product}-new": 1.0} for product in log.products}
    scenes |= {f"{product}-new": {"light": "noon"} for product in log.products}
    policy, about = target_policy.by_shares(log, shares, name="noon")
    asked: list[Integers] = []

    def fit(fold: Integers) -> Floats:
        asked.append(fold)
        return np.zeros((int(fold.max()) + 1, len(fold)))

    new_creatives.evaluate_new(about, policy, scenes=scenes, departments={}, fit=fit)
    (fold,) = asked
    assert len(fold) == len(policy.creatives)
    of_product = fold[:120].reshape(30, 4)
    assert (of_product == of_product[:, :1]).all()
    assert fold[120:].tolist() == of_product[:, 0].tolist(), "a new creative is in its product's fold"
    assert set(fold.tolist()) == set(range(new_creatives.GROUPS))


def test_elements_that_the_log_never_showed_and_few_products_are_refused() -> None:
    rng = np.random.default_rng(5)
    log, scenes, _ = shop(rng, decisions=2_000)
    shares = {product: {f"{product}-new": 1.0} for product in log.products}
    scenes |= {f"{product}-new": {"light": "neon"} for product in log.products}
    policy, about = target_policy.by_shares(log, shares, name="neon")
    found = new_creatives.evaluate_new(about, policy, scenes=scenes, departments={}, fit=lambda fold: fold[None] * 0.0)
    assert found.value.ctr is None
    assert found.value.reason == "not measurable: 100.0% of its traffic shows scene elements that the log never showed"
    few = {product: shares[product] for product in log.products[:3]}
    policy, about = target_policy.by_shares(log, few, name="few")
    found = new_creatives.evaluate_new(about, policy, scenes=scenes, departments={}, fit=lambda fold: fold[None] * 0.0)
    assert "3 products have traffic, expected 8 or more" in found.value.reason
