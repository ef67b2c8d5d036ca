"""The settings of every stage but the optimization (`optimization`), and the file that they are read from."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from clickscape.config.brand import Brand
from clickscape.config.c2pa import C2paConfig
from clickscape.config.clicks import ClicksConfig
from clickscape.config.compute import ComputeConfig
from clickscape.config.optimization import MonitorConfig, OptimizeConfig, RelevanceConfig
from clickscape.config.renamed import translate
from clickscape.config.serve import ServeConfig
from clickscape.config.simulation import SimulateConfig
from clickscape.config.split import SplitConfig
from clickscape.config.stage import StageConfig
from clickscape.errors import ConfigError, DeprecatedWarning
from clickscape.regular_files import read_bytes

SETTINGS_PAGE = "docs/reference/settings.md (written by `make docs`)"
Section = TypeVar("Section", bound=BaseModel)


class IngestConfig(StageConfig):
    """A catalog moves into the workspace."""

    matting: str = Field(
        "", description="ONNX matting model for photographs, a path relative to the workspace; empty: none"
    )


class TinyConfig(StageConfig):
    """Architecture of the embedded multimodal LM (LLaVA: CLIP tower + Llama)."""

    image_size: int = Field(96, description="pixels of the square that the vision tower sees")
    patch_size: int = Field(16, description="pixels of a patch")
    vision_width: int = Field(128, description="hidden size of the vision tower")
    vision_layers: int = Field(4, description="transformer layers of the vision tower")
    vision_heads: int = Field(4, description="attention heads of the vision tower")
    text_width: int = Field(192, description="hidden size of the language model")
    text_layers: int = Field(4, description="transformer layers of the language model")
    text_heads: int = Field(6, description="attention heads of the language model")
    text_kv_heads: int = Field(2, description="key/value heads of the language model")
    text_ffn: int = Field(512, description="inner size of the feed-forward layers of the language model")
    vocabulary: int = Field(3_000, description="tokens of the BPE tokenizer")
    max_positions: int = Field(768, description="longest sequence, in tokens")

    @property
    def image_tokens(self) -> int:
        """Tokens that one square image takes."""
        return (self.image_size // self.patch_size) ** 2


class PretrainConfig(StageConfig):
    """Four instruction tasks, loss on the answer tokens only (Chen et al. 2025, section 3.1)."""

    joint_steps: int = Field(400, ge=0, description="steps of joint training, tower frozen")
    batch_size: int = Field(20, ge=1, description="questions per step of the language model")
    answers: int = Field(4, ge=1, description="answers per question where there are several")
    learning_rate: float = Field(2e-3, gt=0, description="of the language model")
    warmup_share: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rate rises")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")


class RewardConfig(StageConfig):
    """Reward model: which of two ad images of one product gets clicked more."""

    form: Literal["effects", "two_branch"] = Field(
        "effects",
        description="effects of scene and picture fitted to clicks; or the paper's: two images side by side, two "
        "branches on the last hidden state",
    )
    backbone: str = Field(
        "",
        description="folder or hub id (in the local cache) of a vision-language model or, for effects, a vision "
        "encoder; empty: the workspace's prompt model, or tiny",
    )
    scene: Literal["predicted", "given"] = Field(
        "predicted", description="effects: the scene as it is read from the image, or the one it was drawn from"
    )
    trainable: Literal["head", "lora", "full"] = Field("head", description="two_branch: what learns besides the heads")
    image_tokens: Literal["full", "half"] = Field(
        "full",
        description="two_branch on LLaVA: of each of two images; half: both take no more than one square, faster",
    )
    classification_weight: float = Field(1.0, ge=0, description="two_branch: λ1 of L = λ1·CE + λ2·MSE")
    regression_weight: float = Field(0.5, ge=0, description="two_branch: λ2 of L = λ1·CE + λ2·MSE")
    epochs: int = Field(24, ge=1, description="two_branch: passes over all training pairs")
    products_per_batch: int = Field(32, ge=1, description="two_branch: products in a training step")
    learning_rate: float = Field(
        1e-2, gt=0, description="two_branch: of the heads; a trained backbone takes a tenth of it"
    )
    weight_decay: float = Field(0.05, ge=0, description="two_branch: AdamW's weight decay")
    warmup_share: float = Field(
        0.05, ge=0, le=0.5, description="two_branch: share of the steps in which the learning rate rises"
    )
    validation_share: float = Field(
        0.1, gt=0, lt=0.5, description="two_branch: share of the training products that choose the epoch"
    )
    shard: bool = Field(
        False,
        description="two_branch: split what a backbone that learns takes over the processes of a launch (FSDP2)",
    )
    lora_rank: int = Field(16, ge=1, description="two_branch: rank of LoRA matrices where a backbone is adapted")
    judge: Literal["none", "neighbors", "effects", "two_branch"] = Field(
        "none",
        description="form of a second reward model, which checks optimizations; it learns from products of its own",
    )
    judge_share: float = Field(0.25, gt=0, lt=1, description="share of the groups learned from that the judge gets")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")


class GenerateConfig(StageConfig):
    """New creatives for a catalog."""

    renderer: Literal["studio", "diffusion"] = Field("studio", description="what draws the images")
    model: str = Field(
        "",
        description="prompt model that writes: a checkpoint folder, a hub id in the local cache, or the address of a "
        "server, as http://localhost:8000/v1; empty: the workspace's prompt model, or tiny",
    )
    server_model: str = Field("", description="name of the model on that server; empty: the only one that it serves")
    per_product: int = Field(
        4,
        ge=1,
        le=64,
        description="descriptions scored per product; without a reward model, chosen from 3 times as many",
    )
    keep: int = Field(2, ge=1, description="creatives kept per product, best reward first")
    size: int = Field(768, ge=64, le=4_096, description="pixels of the square image")
    tries: int = Field(
        4, ge=1, le=64, description="pictures drawn at most until one passes [fidelity]; refresh and export too"
    )
    temperature: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="of sampling; lower is less diverse; auto: 0.7, or 0.5 without a reward model"
    )
    photographs: Literal["auto", "backdrop", "scenes"] = Field(
        "auto",
        description="what photographs without transparency become: ads on their own backdrop, or scenes around a "
        "cut-out; auto: their own backdrop where the cut-out is doubtful, or no reward model knows better",
    )
    rewrites: int = Field(
        3,
        ge=0,
        le=20,
        description="times that a product is written for again while too few descriptions meet the rules",
    )
    max_overlap: float = Field(
        0.8, gt=0, le=1, description="share of their words that two descriptions of one product may have in common"
    )
    max_same_scene: int = Field(0, ge=0, description="creatives in a catalog that may show one scene, 0: any number")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn by chance")

    def overridden(self, values: Mapping[str, int | str | None]) -> GenerateConfig:
        """Return these settings with other values, as `changed`; who keeps more than are scored has as many scored."""
        keep = values.get("keep")
        more = {"per_product": keep} if isinstance(keep, int) and keep > self.per_product else {}
        return self.changed(**{**more, **values})

    @model_validator(mode="after")
    def _keep_what_is_made(self) -> GenerateConfig:
        if self.keep > self.per_product:
            raise ValueError(f"keep ({self.keep}) must not exceed per_product ({self.per_product})")
        return self


class FidelityConfig(StageConfig):
    """Limits of the fidelity gate; docs/experiments/fidelity.md says how the defaults were chosen."""

    edge: float = Field(4.5, gt=0, le=100, description="ΔE2000 from a clean composite along the outline, at most")
    seam: float = Field(1.7, gt=0, le=100, description="step around the product, CIELAB lightness, at most")
    extension: float = Field(
        0.01, ge=0, le=1, description="share of the product's area that goes on past its mask, at most; models only"
    )
    contact_shadow: float = Field(
        0.025,
        ge=-0.03,
        le=0.08,
        description="brightening below the foot, natural logarithm of light per pixel, at least; -0.03: may float",
    )
    extent: float = Field(0.30, ge=0, le=1, description="share of width or height that the product fills, at least")
    room: float = Field(
        0.01, ge=0, le=0.2, description="share of the side left free at every edge, at least; a placement may ask more"
    )
    blending: float = Field(
        0.7, ge=0, le=1, description="share of the outline where the product has the tone of what is behind, at most"
    )
    clutter: float = Field(
        1.7, ge=0, le=8, description="mean step of color per pixel (CIELAB) in a band around the product, at most"
    )


DIFFUSION_FAMILIES: Mapping[str, Mapping[str, object]] = {
    "sd15": {
        "model": "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "controlnet": "lllyasviel/control_v11p_sd15_canny",
        "side": 512,
        "guidance": 7.5,
        "strength": 1.0,
    },
    "sdxl": {
        "model": "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "controlnet": "diffusers/controlnet-canny-sdxl-1.0",
        "side": 1_024,
        "guidance": 6.0,
        "strength": 0.99,
        "safety_model": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    },
}
"""What a family's settings are where clickscape.toml does not say otherwise; models are public hub ids."""


class DiffusionConfig(StageConfig):
    """Stable Diffusion inpainting with a ControlNet around the product's own pixels (extra `diffusion`)."""

    family: Literal["sd15", "sdxl"] = Field(
        "sd15", description="Stable Diffusion 1.5 or XL; model, controlnet, side, guidance and strength follow it"
    )
    model: str = Field("", description="inpainting model: hub id, diffusers folder or one .safetensors file")
    config: str = Field("", description="diffusers folder or hub id with the configuration of a single-file model")
    controlnet: str = Field("", description="ControlNet for canny edges: hub id, folder or one .safetensors file")
    variant: str = Field("fp16", description="files to take where there are such: fp16 is half as large; empty: plain")
    lora: str = Field("", description="LoRA weights: hub id, folder or one .safetensors file, empty: none")
    lora_scale: float = Field(1.0, ge=0, le=2, description="how much of the LoRA is added, as a share")
    allow_download: bool = Field(False, description="fetch hub ids that are not in the local cache")
    device: str = Field("auto", description="torch device; auto: the GPU where there is one")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="number format of the weights; auto: float16 on a GPU, else float32"
    )
    offload: bool = Field(False, description="keep in GPU memory only the part of the model that works: slower")
    batch_size: int = Field(4, ge=1, le=64, description="images per call of the model")
    side: int = Field(0, ge=16, le=2_048, description="pixels; the model draws as many as a square of this side has")
    steps: int = Field(30, ge=1, le=200, description="denoising steps")
    guidance: float = Field(0, ge=1, le=30, description="classifier-free guidance scale, 1 turns it off")
    strength: float = Field(0, gt=0, le=1, description="share of the steps that the background is drawn anew in")
    control_scale: float = Field(0.6, ge=0, le=2, description="weight of the product's edges")
    mask_erode: float = Field(0.004, ge=0, le=0.1, description="rim of the product drawn anew behind it, share of side")
    mask_blur: float = Field(0.003, ge=0, le=0.1, description="sigma of the mask's blur, share of side")
    fill: Literal["neutral", "blurred"] = Field(
        "blurred", description="background that the model starts from: gray, or the product's colors far out of focus"
    )
    style: str = Field(
        "professional product photograph, realistic shadows", description="words added to every description"
    )
    negative: str = Field(
        "text, watermark, logo, frame, people, hands, duplicate object, blurry, low quality",
        description="what the picture must not show, empty: nothing is said",
    )
    omit_product_words: bool = Field(
        True, description="keep the product's own name out of the prompt, else the model draws a second one"
    )
    safety_checker: bool = Field(True, description="have a checker look at what the model drew")
    safety_model: str = Field(
        "", description="hub id or folder with safety_checker/ and feature_extractor/, empty: the model's own"
    )
    safety_tries: int = Field(3, ge=1, le=10, description="pictures drawn, each from another seed, before giving up")

    @model_validator(mode="before")
    @classmethod
    def _follow_the_family(cls, given: Any) -> Any:
        """Fill what was not said from the family; a wrong family is left to the field's own check."""
        if not isinstance(given, dict):
            return given
        family = given.get("family", "sd15")
        return {**DIFFUSION_FAMILIES.get(family, {}), **given} if isinstance(family, str) else given

    @model_validator(mode="after")
    def _possible(self) -> DiffusionConfig:
        if self.steps * self.strength < 1:
            raise ValueError(f"steps × strength must reach 1, got {self.steps} × {self.strength}")
        return self

    @property
    def recipe(self) -> dict[str, object]:
        """The settings that decide what a picture looks like, without those that say how and where it is computed."""
        return self.model_dump(exclude={"allow_download", "batch_size", "device", "offload"})


class Settings(StageConfig):
    """Everything that clickscape.toml may say, one section per stage."""

    ingest: IngestConfig = IngestConfig()
    split: SplitConfig = SplitConfig()
    clicks: ClicksConfig = ClicksConfig()
    pretrain: PretrainConfig = PretrainConfig()
    reward: RewardConfig = RewardConfig()
    optimize: OptimizeConfig = OptimizeConfig()
    generate: GenerateConfig = GenerateConfig()
    brand: Brand = Brand()
    fidelity: FidelityConfig = FidelityConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    monitor: MonitorConfig = MonitorConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    simulate: SimulateConfig = SimulateConfig()
    serve: ServeConfig = ServeConfig()
    c2pa: C2paConfig = C2paConfig()
    compute: ComputeConfig = ComputeConfig()


def load(path: Path) -> Settings:
    """Read clickscape.toml; a missing file means the defaults, anything wrong is a ConfigError that names the key.

    A DeprecatedWarning for every setting that the file still calls by the name that it had in 0.1.
    """
    if not path.exists():
        return Settings()
    tables, notes = translate(_tables(path), path=path)
    for note in notes:
        warnings.warn(note, DeprecatedWarning, stacklevel=2)
    return _validated(path, tables, Settings)


def read(path: Path, section: type[Section]) -> Section:
    """Read a TOML file as one of the models; whatever is wrong is a ConfigError that names the file and the key."""
    return _validated(path, _tables(path), section)


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(path, error=ConfigError).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not valid TOML ({error}). Fix the line, or delete the file to use defaults."
        ) from None


def _validated(path: Path, tables: Mapping[str, Any], section: type[Section]) -> Section:
    try:
        return section.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key}: {first['msg']}. {SETTINGS_PAGE} lists the settings.") from None
