"""Settings of the optimization, of its reward-hacking monitor, and of the relevance gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from clickscape.config.stage import StageConfig


class OptimizeConfig(StageConfig):
    """Product-centric preference optimization (Chen et al. 2025, eq. 9)."""

    objective: Literal["product_centric", "preference_only"] = Field(
        "product_centric", description="with the product-centric term, or without"
    )
    model: str = Field(
        "",
        description="folder, hub id in the local cache or preset that the policy begins as; empty: the workspace's "
        "pre-trained model, or tiny",
    )
    preference: Literal["dpo", "margin_dpo"] = Field(
        "dpo", description="the reward model's order counts as certain, or with its probability"
    )
    rounds: int = Field(6, ge=1, description="rounds of sampling, rendering, scoring and training")
    products_per_round: int = Field(192, ge=2, description="products drawn anew for every round")
    candidates: int = Field(8, ge=2, description="descriptions drawn and scored per product and round")
    searched_share: float = Field(
        0.25, ge=0, le=0.5, description="share of these that search over scenes proposes; the policy writes the others"
    )
    server: str = Field(
        "",
        description="address of a server of OpenAI's protocol (vLLM, SGLang) on the same base that writes the "
        "candidates with the policy's adapter, as http://localhost:8000/v1; empty: they are written here",
    )
    temperature: float = Field(1.0, gt=0, description="of sampling; lower is less diverse")
    max_new_tokens: int = Field(48, ge=4, description="longest description, in tokens")
    beta: float = Field(
        0.5,
        gt=0,
        description="β of DPO, per nat: larger keeps the policy nearer to its reference",
    )
    weight: float = Field(1.0, ge=0, description="w: weight of the product-centric term")
    anchor: Literal["none", "nll"] = Field("nll", description="keeps log π(y+|x) from falling")
    anchor_weight: float = Field(
        2.0, ge=0, description="of the anchor, per pair; too little and descriptions stop parsing"
    )
    mask_ratio: float = Field(0.75, ge=0, le=1, description="share of image patches hidden in the corrupted image")
    caption_swap_share: float = Field(
        0.5, ge=0, le=1, description="share of corrupted inputs with another product's text"
    )
    min_margin: float = Field(0.1, ge=0, description="least difference of reward, in logits, for a preference pair")
    pairs_per_product: int = Field(
        3, ge=1, description="pairs of a product and round: best over worst, second best over second worst …"
    )
    unparsed_share: float = Field(
        0.3, ge=0, le=1, description="largest share of a round's pairs whose rejected description did not parse"
    )
    epochs: int = Field(2, ge=1, description="passes over a round's pairs")
    batch_size: int = Field(16, ge=1, description="pairs per step")
    pairs_per_pass: int = Field(16, ge=1, description="pairs in memory at once; a step adds up batch_size of them")
    learning_rate: float = Field(3e-4, gt=0, description="AdamW's learning rate")
    warmup_share: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rate rises")
    kl_budget: float = Field(
        0.0, ge=0, description="KL(policy ‖ reference), nats, that ends the optimization; 0: no limit"
    )
    kl_every: int = Field(8, ge=1, description="steps between two estimates of it; one more after the last step")
    checkpoint_every: int = Field(25, ge=0, description="steps between two checkpoints of a round; 0: none")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="number format of the weights; auto: bfloat16 on a GPU, else float32"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute the layers again for the gradient: less memory, more time"
    )
    shard: bool = Field(
        False, description="split weights, gradients and averages over the processes of a launch (FSDP2)"
    )
    audiences: bool = Field(
        False, description="write for every audience that the reward model tells apart, as well as for everybody"
    )
    metrics: Literal["jsonl", "tensorboard", "trackio"] = Field(
        "jsonl", description="where the steps are logged besides the run's metrics.jsonl"
    )
    train_tower: bool = Field(False, description="let the vision tower learn too")
    lora_rank: int = Field(0, ge=0, description="0 trains all weights of the language model")
    renderer: Literal["studio", "diffusion"] = Field("studio", description="what draws the ads that are compared")
    render_size: int = Field(128, ge=64, description="pixels of the square images that the reward model looks at")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")

    @model_validator(mode="after")
    def _served_by_an_adapter(self) -> OptimizeConfig:
        if self.server and not self.lora_rank:
            raise ValueError("a server takes the policy as an adapter: set lora_rank, such as 16, or leave server out")
        return self

    @property
    def product_weight(self) -> float:
        """Weight of the product-centric term under this objective."""
        return self.weight if self.objective == "product_centric" else 0.0


class MonitorConfig(StageConfig):
    """When reward hacking ends an optimization, as measured after every round on held-out products."""

    share: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the training groups kept out of the rounds (with a judge: its own groups)",
    )
    products: int = Field(96, ge=2, description="held-out products that are sampled for after every round, at most")
    descriptions: int = Field(4, ge=2, description="descriptions sampled for each of them")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="of each of the two one-sided tests; see docs/howto/judge.md"
    )
    diversity: float = Field(0.3, ge=0, le=1, description="least share of the first round's diversity, of any kind")
    without_judge: bool = Field(False, description="monitor diversity where there is no judge, too")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")


class RelevanceConfig(StageConfig):
    """Relevance gate: refuses descriptions that suit no product in particular; see docs/experiments/relevance.md."""

    use: Literal["off", "refuse"] = Field(
        "off", description="refuse: an irrelevant description may be rejected in a pair, never chosen"
    )
    by: Literal["model", "server"] = Field("model", description="the pre-trained prompt model, or a vision model")
    limit: float = Field(0.7, description="least contrast, nats; by = model")
    others: int = Field(10, ge=2, description="products that a description is compared with; by = model")
    address: str = Field("", description="root of an OpenAI-compatible server, https://…/v1; by = server")
    model: str = Field("", description="model that the server is asked for; by = server")
    key_variable: str = Field(
        "CLICKSCAPE_API_KEY",
        description="environment variable with the server's key; another "
        "one has to be listed in CLICKSCAPE_ALLOWED_ENV",
    )
    least_score: float = Field(5.0, ge=0, le=10, description="least score of the server's model, 0 to 10")
    timeout_seconds: float = Field(60.0, gt=0, description="seconds that one answer may take in all")
