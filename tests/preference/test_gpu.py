"""On a GPU rounds are run, killed and continued as on a CPU, in 32 and in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factory import Brightness

from clickscape.compute.device import Processes
from clickscape.config import OptimizeConfig
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.precision import to_device_and_dtype
from clickscape.preference.rounds import RoundReport, open_policy, optimize
from clickscape.preference.train import Step, build_training_pairs, pair_log_probs
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

pytestmark = pytest.mark.gpu

SMALL = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=3, max_new_tokens=40, min_margin=0.05,
    epochs=2, batch_size=3, learning_rate=2e-3, checkpoint_every=2, render_size=64, caption_swap_share=0.5,
    pairs_per_product=1, unparsed_share=1.0, kl_budget=1e6, kl_every=2,
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "auto"])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("preference", ["dpo", "margin_dpo"])
def test_rounds_run_and_go_on_after_a_kill(
    taught: Callable[[], VisionLanguageModel],
    shelf: list[Product],
    tmp_path: Path,
    dtype: str,
    rank: int,
    preference: str,
) -> None:
    config = SMALL.model_copy(update={"dtype": dtype, "lora_rank": rank, "preference": preference})

    def start() -> list[object]:
        renderer, processes = load("studio"), Processes(device="cuda")
        return optimize(
            Writer(taught()),
            AdPipeline(renderer, Brightness(), processes=processes),
            shelf,
            folder=tmp_path / "run",
            config=config,
        )

    events = start()
    assert any(isinstance(event, Step) and event.number == 3 for event in iter(lambda: next(events), None))
    events.close()
    reports = [event for event in start() if isinstance(event, RoundReport)]
    assert [report.round for report in reports] == [1, 2]
    assert all(np.isfinite(report.kl_after) for report in reports)
    before, after = (open_policy(tmp_path / "run", round_number=number).vlm for number in (0, 2))
    moved = [
        not torch.equal(one, other)
        for one, other in zip(before.model.parameters(), after.model.parameters(), strict=True)
    ]
    assert any(moved)


def test_log_probs_on_the_gpu_equal_those_on_the_cpu(
    build: Callable[..., VisionLanguageModel],
    pairs: list[PreferencePair],
    products: list[Product],
    pictures: Callable[[Product], np.ndarray],
) -> None:
    by_id = {product.product_id: product for product in products}
    config = OptimizeConfig(dtype="float32")
    said = {}
    for device in ("cpu", "cuda"):
        vlm = to_device_and_dtype(build(1), config=config, device=device)
        training_pairs = build_training_pairs(pairs, products=by_id, pictures=pictures, vlm=vlm)
        said[device] = pair_log_probs(vlm, training_pairs, product_centric=True)
    for name in ("chosen", "rejected", "corrupted"):
        here, there = getattr(said["cpu"], name), getattr(said["cuda"], name)
        torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=1e-4)
