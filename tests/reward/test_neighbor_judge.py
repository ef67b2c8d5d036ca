"""The neighbor judge finds what ads of a kind earn, also what no effect of an element says, and comes back as saved."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clickscape.errors import ModelError
from clickscape.render.scene import Scene
from clickscape.reward import judge as reward_judge
from clickscape.reward import neighbor_judge
from clickscape.reward.data import RewardData
from clickscape.reward.neighbor_judge import FILE, NeighborJudge, fit, load
from clickscape.types import Product

KINDS = [(surface, light) for surface in ("oak", "linen") for light in ("soft", "noon")]
SCENES = [Scene(setting="studio", surface=surface, light=light).slots for surface, light in KINDS]
GRAY, WARM = np.full((8, 8, 3), 128, np.uint8), np.full((8, 8, 3), (220, 120, 60), np.uint8)


def likes(department: str, surface: str, light: str) -> float:
    """Oak by day and linen in soft light, and the reverse for tools: no element is better than another on average."""
    sign = 1 if department == "Toys" else -1
    return sign * (0.5 if (surface == "oak") == (light == "noon") else -0.5)


def shop(count: int, *, scenes: bool = True, warm: float = 0.0, flipped: tuple[str, ...] = ()) -> RewardData:
    """Products of two departments, four creatives each; warm: log CTR more in the two pictures that are warm."""
    products = [Product(f"p{number}", "thing", (("Toys", "Tools")[number % 2],)) for number in range(count)]
    ids = [f"{product.product_id}-{place}" for product in products for place in range(len(KINDS))]
    place = np.tile(np.arange(len(KINDS)), count)
    true = np.array([likes(product.department, *kind) for product in products for kind in KINDS])
    log_ctr = (true if scenes else 0.0) + np.where(place < 2, warm, 0.0) - 3
    clicks = np.random.default_rng(0).poisson(5_000 * np.exp(log_ctr)).astype(float)
    clicks[[name.partition("-")[0] in flipped for name in ids]] = 7.0
    return RewardData(
        products={product.product_id: product for product in products},
        creative_ids=ids,
        product_of=[name.partition("-")[0] for name in ids],
        images=[WARM if warm and at < 2 else GRAY for at in place],
        pairs=[],
        clicks=clicks,
        examinations=np.full(len(ids), 5_000.0),
        slots=SCENES * count if scenes else None,
    )


@pytest.fixture(scope="module")
def learned() -> NeighborJudge:
    return fit(shop(40))


@pytest.mark.parametrize("department", ["Toys", "Tools"])
def test_combinations_that_no_single_element_explains_are_learned(learned: NeighborJudge, department: str) -> None:
    scores = learned.score([Product("new", "new", (department,))] * 4, [GRAY] * 4, SCENES)
    true = np.array([likes(department, *kind) for kind in KINDS])
    assert np.corrcoef(scores, true)[0, 1] > 0.95
    assert np.ptp(scores) > 0.4


def test_pictures_are_enough_where_no_scene_is_known() -> None:
    judge = fit(shop(20, scenes=False, warm=0.6))
    warm, gray = judge.score([Product("new", "new")] * 2, [WARM, GRAY], [{}, {}])
    assert warm - gray == pytest.approx(0.6, abs=0.15)


def test_what_others_say_of_a_cluster_is_a_fit_without_it() -> None:
    """The variance is chosen on residuals of clusters left out: by the inverse of the whole as by fits of the rest."""
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(4), 3)
    points = rng.normal(size=(12, 2))
    likeness = np.exp(-((points[:, None] - points) ** 2).sum(-1))
    noise, log_ctr = rng.uniform(0.01, 0.1, 12), rng.normal(size=12)
    found = neighbor_judge._weights(likeness, log_ctr, noise, product=cluster, cluster=cluster)

    def within(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return values - np.average(values, weights=1 / noise[rows])

    centered = np.concatenate([within(log_ctr[cluster == own], cluster == own) for own in range(4)])
    errors, duals = [], []
    for variance in neighbor_judge._VARIANCES:
        whole = variance * likeness + 10.0 * (cluster[:, None] == cluster) + np.diag(noise)
        error = 0.0
        for own in range(4):
            mine, rest = cluster == own, cluster != own
            said = variance * likeness[np.ix_(mine, rest)] @ np.linalg.solve(whole[np.ix_(rest, rest)], centered[rest])
            error += (within(centered[mine] - said, mine) ** 2 / noise[mine]).sum()
        errors.append(error)
        duals.append(variance * np.linalg.solve(whole, centered))
    assert found == pytest.approx(duals[int(np.argmin(errors))])


def test_clicks_of_other_products_change_no_weight() -> None:
    """To the bit: the judge's part of the data has no labels of others."""
    mine = {f"p{number}" for number in range(20)}
    one, other = (fit(shop(40, flipped=flipped).only(mine)) for flipped in ((), ("p20", "p31", "p39")))
    changed = fit(shop(40, flipped=("p3",)).only(mine))
    assert np.array_equal(one.weights, other.weights)
    assert not np.array_equal(one.weights, changed.weights)


def test_a_saved_judge_is_the_same_after_loading(learned: NeighborJudge, tmp_path: Path) -> None:
    learned.save(tmp_path / "judge")
    assert {path.name for path in (tmp_path / "judge").iterdir()} == {FILE, "README.md"}
    learned.save(tmp_path / "again")
    assert (tmp_path / "again" / FILE).read_bytes() == (tmp_path / "judge" / FILE).read_bytes()
    back = reward_judge.load(tmp_path / "judge")
    assert isinstance(back, NeighborJudge)
    for field in fields(NeighborJudge):
        assert np.array_equal(getattr(back, field.name), getattr(learned, field.name)), field.name
    asked = [Product("new", "new", ("Toys",))] * 4, [WARM] * 4, SCENES
    assert np.array_equal(back.score(*asked), learned.score(*asked))


def test_an_ad_scores_the_same_alone_and_with_unknown_names(learned: NeighborJudge) -> None:
    toy, other = Product("new", "new", ("Toys",)), Product("x", "x", ("Garden",))
    together = learned.score([toy] * 4, [GRAY] * 4, SCENES)
    alone = [learned.score([toy], [GRAY], [scene])[0] for scene in SCENES]
    assert together == pytest.approx(alone, abs=1e-12)
    assert np.isfinite(learned.score([other], [WARM], [{"surface": "water", "hat": "top"}])).all()


def test_the_most_clicked_products_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbor_judge, "MOST", 40)
    data = shop(20, flipped=tuple(f"p{number}" for number in range(10)))
    kept, alone = fit(data), fit(data.only({f"p{number}" for number in range(10, 20)}))
    assert np.array_equal(kept.weights, alone.weights)


def test_nothing_to_learn_from_is_refused() -> None:
    data = shop(2)
    for nothing in (replace(data, clicks=None), replace(data, clicks=np.zeros(8)), data.only(set())):
        with pytest.raises(ModelError, match=r"no two creatives .*judge = 'two_branch'"):
            fit(nothing)


def test_a_damaged_judge_is_refused(learned: NeighborJudge, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path)
    learned.save(tmp_path)
    tensors = load_file(tmp_path / FILE)
    names = {"names": '{"values": {}, "departments": []}'}
    for metadata, changed, message in (
        (None, {}, "damaged"),
        (names, {}, "do not fit"),
        ({"names": "["}, {}, "Invalid JSON"),
        (names, {"weights": torch.full_like(tensors["weights"], torch.nan)}, "NaN"),
    ):
        save_file(tensors | changed, tmp_path / FILE, metadata)
        with pytest.raises(ModelError, match=message):
            load(tmp_path)
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="damaged"):
        load(tmp_path)
