"""Search over scenes: what it proposes is better than what it was shown, and as new as it says."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from clickscape.generation.sample import Candidate
from clickscape.preference.search import CHANGED_SLOTS, propose
from clickscape.render.language.parse import parse
from clickscape.render.scene import SLOTS, Scene
from clickscape.simulator import writer

DEPARTMENTS = ("Food", "Tools")


def true_reward(scene: Scene, department: str) -> float:
    """A reward with effects of its own of every value, half of them by department."""
    keys = [f"{slot}/{value}/{where}" for slot, value in scene.slots.items() for where in ("", department)]
    return sum(np.random.default_rng(zlib.crc32(key.encode())).normal(scale=0.4) for key in keys)


def sampled(products: int, each: int, *, rng: np.random.Generator) -> tuple[list[list[Candidate]], list[str]]:
    departments = [DEPARTMENTS[number % 2] for number in range(products)]
    rows = []
    for number, department in enumerate(departments):
        scenes = [writer.random_scene(rng) for _ in range(each)]
        rows.append(
            [
                Candidate(
                    f"p{number}", writer.describe(one, rng), place, one.to_json(), True, true_reward(one, department)
                )
                for place, one in enumerate(scenes)
            ]
        )
    return rows, departments


def test_proposals_beat_the_best_that_was_sampled_and_keep_most_of_its_words() -> None:
    candidates, departments = sampled(60, 6, rng=np.random.default_rng(0))
    proposed = propose(candidates, departments, count=2, rng=np.random.default_rng(1))
    gains = []
    for each, department, texts in zip(candidates, departments, proposed, strict=True):
        best = max(each, key=lambda one: one.score)
        for text in texts:
            read = parse(text)
            assert read.is_valid
            changed = [slot for slot in SLOTS if read.scene.slots[slot] != Scene.from_json(best.scene).slots[slot]]
            assert 1 <= len({*changed} - {"palette"}) <= CHANGED_SLOTS
            gains.append(true_reward(read.scene, department) - best.score)
    assert len(gains) > 60
    assert np.mean(np.array(gains) > 0) > 0.8


def test_draws_differ_and_one_seed_gives_the_same_again() -> None:
    candidates, departments = sampled(30, 4, rng=np.random.default_rng(0))
    first, again, other = (
        propose(candidates, departments, count=3, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert all(len(set(texts)) == len(texts) <= 3 for texts in first)
    assert any(len(texts) > 1 for texts in first)
    known = {one.text for each in candidates for one in each}
    assert known.isdisjoint(text for texts in first for text in texts)


@pytest.mark.parametrize("parsed", [True, False])
def test_without_scenes_there_is_nothing_to_search(parsed: bool) -> None:
    words = [[Candidate("p", "a bottle on a beach", 0, "a bottle on a beach", parsed, 1.0)]]
    assert propose(words, ["Food"], count=2, rng=np.random.default_rng(0)) == [[]]


def test_a_product_without_a_description_that_parsed_gets_no_proposal() -> None:
    candidates, departments = sampled(20, 4, rng=np.random.default_rng(0))
    broken = [Candidate("x", "glorp", 0, candidates[0][0].scene, False, 9.0)]
    proposed = propose([*candidates, broken], [*departments, "Food"], count=2, rng=np.random.default_rng(0))
    assert proposed[-1] == []
    assert any(proposed[:-1])
