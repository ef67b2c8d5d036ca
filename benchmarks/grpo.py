"""What does GRPO win on the same reward?  python benchmarks/grpo.py WORKSPACE

Trains the workspace's prompt model with TRL's GRPOTrainer, as a peer of `clickscape optimize` at its default settings,
and saves the policy as WORKSPACE/models/grpo. The workspace has a simulated log and a reward model, such as those that
`benchmarks/loop.py --scale long` leaves in loop-runs/ (`long` optimizes at the default settings, `full` for half of the
rounds). TRL is no dependency: pip install 'clickscape[peers]'; measured with trl 1.16.0 and datasets 5.2.0.

The same on both sides: the products of every round and their order, the question and the picture (token ids and pixels
are compared before the first step), the renderer, the size that it draws, the reward model, a frozen tower, K = 8
descriptions at temperature 1 that end at a line break, rounds × products × K rendered candidates, 32 descriptions a
step (there: 16 pairs), AdamW without decay with the same averages, the clipping and the share of warm-up.

What ranks last there is rewarded least here: a description that the renderer does not parse, or that the token
limit cut off, gets the reward of its group's worst parsed one less `min_margin` (0.1 logits, from which on there
are pairs). A group in which nothing is parsed teaches nothing on either side. All else is TRL's default: the loss
of DAPO, advantages divided by the group's spread, one step on every batch, and no KL term (beta = 0, so that no
reference is loaded; the β = 0.5 of clickscape's loss is DPO's and has no counterpart in GRPO). Numbers have 32 bits, on
a GPU too.

Of several learning rates, the one is kept whose last round was rewarded best: on training products, never on held-out
ones. Then `compare` judges the policy on the held-out products beside clickscape's own policies of the same workspace;
--no-compare leaves that out. Once every workspace of benchmarks/loop.py has been compared so, loop.py started again
pools GRPO's rows, too. Prints the tables and appends one JSON row to benchmarks/results/grpo.jsonl.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants
from PIL import Image
from transformers import PrinterCallback

from _results import append_row
from clickscape import render
from clickscape import reward as reward_room
from clickscape.compute.device import ALONE, best_device
from clickscape.compute.optimizer import BETAS, GRADIENT_CLIP
from clickscape.config import OptimizeConfig
from clickscape.demo import POLICIES, SCALES
from clickscape.generation.pipeline import AdPipeline, ProductImages, cutout_images
from clickscape.generation.sample import Candidate, score_candidates
from clickscape.preference import records
from clickscape.preference.records import Round
from clickscape.preference.train import question, trainable_parameters
from clickscape.stages import split
from clickscape.stages.compare import compare
from clickscape.stages.progress import run
from clickscape.stages.reward import writer_source
from clickscape.types import Estimate, Product
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.generate import line_breaks
from clickscape.vlm.model import VisionLanguageModel
from clickscape.workspace import Manifest, Workspace

POLICY, ROW = "grpo", "GRPO (TRL)"
"""Folder of the policy below models/, and what tables call it."""
LEARNING_RATES = (3e-4,)
DESCRIPTIONS_PER_STEP = 32


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """Shares and means of the candidates of one round, rewards in logits.

    ``reward``: of every image, as in `clickscape optimize`; ``given``: the reward that GRPO was given (see `shaped`).
    """

    round: int
    parse_rate: float
    distinct_scenes: int
    reward: float
    given: float

    @classmethod
    def of(cls, number: int, scored: Sequence[Sequence[Candidate]], *, below: float) -> RoundSummary:
        """Round `number`, from the candidates of its products."""
        flat = [candidate for own in scored for candidate in own]
        return cls(
            round=number,
            parse_rate=float(np.mean([one.parsed for one in flat])),
            distinct_scenes=len({one.scene for one in flat}),
            reward=float(np.mean([one.score for one in flat])),
            given=float(np.mean([value for own in scored for value in shaped(own, below=below)])),
        )


class GrpoReward:
    """The reward of `clickscape optimize` as a TRL reward function; keeps a summary of every round."""

    def __init__(
        self,
        workspace: Workspace,
        products: Sequence[Product],
        *,
        policy: VisionLanguageModel,
        config: OptimizeConfig,
        device: str,
    ) -> None:
        self.rounds: list[RoundSummary] = []
        self._scored: list[list[Candidate]] = []
        model = reward_room.load(workspace.models / "reward", device=device)
        self._pipeline = AdPipeline(render.load("studio"), model)
        self._products = {product.product_id: product for product in products}
        self._per_round = len(products) // config.rounds
        self._tokenizer, self._config = policy.tokenizer, config
        self._rng = np.random.default_rng([config.seed, records.SAMPLING])

    def reward(self, completions: Sequence[Any], product_id: Sequence[str], **_: Any) -> list[float]:
        """One reward per completion, logits; the completions of a product lie beside each other."""
        size = self._config.candidates
        texts = [completion[0]["content"].partition("\n")[0] for completion in completions]
        starts = range(0, len(texts), size)
        assert all(len(set(product_id[start : start + size])) == 1 for start in starts)
        groups = [texts[start : start + size] for start in starts]
        scored = score_candidates(
            [self._products[product_id[start]] for start in starts],
            groups,
            pipeline=self._pipeline,
            render_size=self._config.render_size,
            rng=self._rng,
            truncated=[[self._is_cut(text) for text in own] for own in groups],
        )
        self._scored += scored
        if len(self._scored) >= self._per_round:
            self._end_round()
        return [value for own in scored for value in shaped(own, below=self._config.min_margin)]

    def _is_cut(self, text: str) -> bool:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids) >= self._config.max_new_tokens

    def _end_round(self) -> None:
        own, self._scored = self._scored[: self._per_round], self._scored[self._per_round :]
        summary = RoundSummary.of(len(self.rounds) + 1, own, below=self._config.min_margin)
        self.rounds.append(summary)
        print(
            f"round {summary.round}: reward {summary.reward:+.3f}, as given {summary.given:+.3f}, parsed "
            f"{summary.parse_rate:.1%}, {summary.distinct_scenes} scenes",
            flush=True,
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """One run of GRPO: its policy, the summaries of its rounds, and what it cost."""

    learning_rate: float
    policy: VisionLanguageModel
    rounds: tuple[RoundSummary, ...]
    steps: int
    cpu_seconds: float

    @property
    def record(self) -> dict[str, Any]:
        """The run as plain values for JSON, without the policy."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "rounds": [asdict(summary) for summary in self.rounds],
        }


def main() -> None:
    """Train, save, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="workspace with a simulated log and a reward model")
    parser.add_argument("--learning-rate", type=float, nargs="+", default=LEARNING_RATES, help="the best one is kept")
    parser.add_argument("--rounds", type=int, default=OptimizeConfig().rounds, help="as in `clickscape optimize`")
    parser.add_argument("--products", type=int, default=OptimizeConfig().products_per_round, help="of each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compare", action="store_true", help="train and save only")
    asked = parser.parse_args()
    if find_spec("trl") is None:
        raise SystemExit(
            "TRL is not installed, which is the peer measured here. Run `pip install 'clickscape[peers]'`."
        )
    workspace = Workspace.open(asked.workspace)
    config = OptimizeConfig(rounds=asked.rounds, products_per_round=asked.products, seed=asked.seed)
    runs: list[Trained] = []
    for rate in asked.learning_rate:
        runs.append(train(workspace, config, learning_rate=rate))
        best = max(runs, key=lambda one: one.rounds[-1].given)
        if best is runs[-1]:
            vlm_model.save(best.policy, workspace.models / POLICY)
    print(f"kept: learning rate {best.learning_rate:g}, saved at {workspace.models / POLICY}")
    row = {
        "budget": config.rounds * config.products_per_round * config.candidates,
        "seed": config.seed,
        "kept": best.learning_rate,
        "runs": [one.record for one in runs],
    }
    if not asked.no_compare:
        row |= _compared(workspace, seed=config.seed)
    append_row(row, by="grpo")


def train(workspace: Workspace, config: OptimizeConfig, *, learning_rate: float) -> Trained:
    """Train the workspace's prompt model by GRPO on what `clickscape optimize` would learn from under this config."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    constants.HF_HUB_DISABLE_TELEMETRY = True  # the trainer would report itself when it is made
    device, source = best_device(), writer_source(workspace)
    policy = vlm_model.load(source, dtype="float32", trainable=True, device=device)
    policy.tokenizer.padding_side = "left"
    # TRL ends a completion at every token that the model declares an end, as the writer does at line breaks.
    policy.model.generation_config.eos_token_id = [policy.tokenizer.eos_token_id, *line_breaks(policy.tokenizer)]
    trainable_parameters(policy, config=config)
    products, pictures = list(drawn_products(workspace, config)), cutout_images(policy.image_size)
    check_questions(policy, products, pictures=pictures)
    reward_model = GrpoReward(workspace, products, policy=policy, config=config, device=device)
    settings = {
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warmup_share,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "weight_decay": 0.0,
        "max_grad_norm": GRADIENT_CLIP,
        "per_device_train_batch_size": DESCRIPTIONS_PER_STEP,
        "num_generations": config.candidates,
        "temperature": config.temperature,
        "max_completion_length": config.max_new_tokens,
        "num_train_epochs": 1,
        "shuffle_dataset": False,
        "seed": config.seed,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device != "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            policy.model,
            reward_funcs=reward_model.reward,
            args=GRPOConfig(output_dir=folder, **settings),
            train_dataset=Dataset.from_list([_row(product, pictures) for product in products]),
            processing_class=policy.processor,
        )
        trainer.remove_callback(PrinterCallback)
        before = time.process_time()
        steps = trainer.train().global_step
        seconds = time.process_time() - before
    print(
        f"learning rate {learning_rate:g}: {len(products) * config.candidates:,} rendered candidates, {steps} steps, "
        f"{seconds:.0f} CPU-seconds"
    )
    whole = vlm_model.load(source)  # without what the trainer changed besides the weights
    whole.model.load_state_dict(trainer.model.state_dict())
    return Trained(learning_rate, whole, tuple(reward_model.rounds), steps, seconds)


def drawn_products(workspace: Workspace, config: OptimizeConfig) -> Iterator[Product]:
    """The training products of all rounds, exactly as `clickscape optimize` draws them."""
    products = workspace.products()
    learned = split.read(workspace, products).training(products)
    count = min(config.products_per_round, len(learned))
    for number in range(1, config.rounds + 1):
        stream = Round(Path(), number, config, ALONE).stream(records.PRODUCTS)
        for row in stream.choice(len(learned), size=count, replace=False):
            yield learned[int(row)]


def check_questions(policy: VisionLanguageModel, products: Sequence[Product], *, pictures: ProductImages) -> None:
    """AssertionError unless TRL asks for every product with the token ids and the pixels that clickscape asks with."""
    from trl.data_utils import prepare_multimodal_messages

    for start in range(0, len(products), DESCRIPTIONS_PER_STEP):
        some = products[start : start + DESCRIPTIONS_PER_STEP]
        rows = [_row(product, pictures) for product in some]
        theirs = policy.processor.apply_chat_template(
            [prepare_multimodal_messages(row["prompt"], images=[row["image"]]) for row in rows],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
        asked = [Sample(question(product), (pictures(product),)) for product in some]
        ours = collate(policy, asked, side="left", answers=False)
        for ids, mine, mask in zip(theirs["input_ids"], ours.input_ids, ours.attention_mask, strict=True):
            assert list(ids) == mine[mask.bool()].tolist(), policy.tokenizer.decode(ids)
        assert ours.pixel_values is not None
        np.testing.assert_allclose(np.asarray(theirs["pixel_values"]), ours.pixel_values.cpu(), atol=1e-5)


def shaped(candidates: Sequence[Candidate], *, below: float) -> list[float]:
    """Rewards of one product's candidates, logits: what may not win gets the worst of those that may, less `below`."""
    worst = min((one.score for one in candidates if one.eligible), default=0.0)
    return [one.score if one.eligible else worst - below for one in candidates]


def _row(product: Product, pictures: ProductImages) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": question(product)}],
        "image": Image.fromarray(pictures(product)),
        "product_id": product.product_id,
    }


def _compared(workspace: Workspace, *, seed: int) -> dict[str, Any]:
    """Evaluate the policy on held-out products, beside clickscape's own where there are any; print the table."""
    simulated = max(workspace.runs_folder.glob("*-simulate*/manifest.json"))
    world = Manifest.model_validate_json(simulated.read_bytes()).result["world"]
    own = {name: workspace.models / name for name in POLICIES if (workspace.models / name).exists()}
    policies = {**own, ROW: workspace.models / POLICY}
    stage = compare(workspace, policies, truth=world, descriptions=SCALES["full"].descriptions, seed=seed)
    compared = run(stage).result
    print(f"{compared['products']} held-out products of {world}, simulated clicks; 95 % intervals over objects")
    for name, row in compared["rows"].items():
        uplift, matching = (Estimate(**row[key]) for key in ("uplift", "matching_share"))
        print(
            f"{name:44s} true CTR {uplift.value:+7.1%} [{uplift.low:+.1%}, {uplift.high:+.1%}]  matching "
            f"{matching.value:.1%} [{matching.low:.1%}, {matching.high:.1%}]  parsed "
            f"{row['parse_rate']['value']:.1%}  {row['distinct_scenes']['value']:.0f} scenes"
        )
    return {"world": world, **compared}


if __name__ == "__main__":
    main()
