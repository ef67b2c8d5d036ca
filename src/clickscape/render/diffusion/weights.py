"""Load the diffusion models: hub ids, diffusers folders or single .safetensors files; never a pickle.

Everything is found on disk first and opened from there, because the loaders of diffusers and transformers ask the
network even when told not to.  What they say while they work is kept quiet: only the command line talks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clickscape.compute.untrusted_checkpoint import bounded_loading, check_folder
from clickscape.compute.weights import check_filled, check_finite, read_tensors
from clickscape.config import DIFFUSION_FAMILIES, DiffusionConfig
from clickscape.errors import ConfigError, ModelError, first_line
from clickscape.json_files import read_json

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_PICKLES = frozenset({".ckpt", ".bin", ".pt", ".pth", ".pkl"})
_LORA_PARTS = ((".lora_A.", ".lora_down.", ".lora.down."), (".lora_B.", ".lora_up.", ".lora.up."))
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
_CHECKER_FILES = ("safety_checker/*.json", "safety_checker/*.safetensors", "feature_extractor/*.json")


@dataclass(frozen=True, slots=True, eq=False)
class Checker:
    """A safety checker and the processor that shapes pictures for it."""

    model: Any
    processor: Any

    def flags(self, pictures: Float[np.ndarray, "picture height width 3"]) -> list[bool]:
        """Whether each of the pictures, float (picture, height, width, 3) in 0..1, may not be shown."""
        from PIL import Image

        shown = [Image.fromarray(picture) for picture in np.rint(pictures * 255).astype(np.uint8)]
        pixels = self.processor(shown, return_tensors="pt").pixel_values
        weight = next(self.model.parameters())
        with torch.no_grad(), quiet():
            _, flagged = self.model(images=pictures.copy(), clip_input=pixels.to(weight.device, weight.dtype))
        return [bool(flag) for flag in flagged]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """An inpainting pipeline of diffusers, ready to be called, and the checker of its pictures (None: nobody looks)."""

    pipeline: Any
    checker: Checker | None

    @property
    def multiple(self) -> int:
        """Pixels by which sides must divide."""
        return max(8, int(self.pipeline.vae_scale_factor))


def load(config: DiffusionConfig) -> Weights:
    """Open what the settings name; ModelError when it is not here, a pickle, incomplete or of another family."""
    with quiet():
        import diffusers
        from diffusers.image_processor import VaeImageProcessor

        kind = {
            "sd15": "StableDiffusionControlNetInpaintPipeline",
            "sdxl": "StableDiffusionXLControlNetInpaintPipeline",
        }[config.family]
        device, number = _device(config)
        controlnet = _controlnet(config, number)
        pipeline = _pipeline(getattr(diffusers, kind), config, controlnet, number)
        _check_family(pipeline, config)
        if config.lora:
            _add_lora(pipeline, config)
        checker = _checker(config, number) if config.safety_checker else None
        if config.offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.to(device)
        if checker is not None:
            checker.model.to(device)
    pipeline.set_progress_bar_config(disable=True)
    # The pipelines would cut a soft mask at one half.
    pipeline.mask_processor = VaeImageProcessor(
        vae_scale_factor=pipeline.vae_scale_factor, do_normalize=False, do_binarize=False, do_convert_grayscale=True
    )
    return Weights(pipeline, checker)


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no remarks of diffusers and transformers inside the block; errors still come through."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (level, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            if bars:
                library.enable_progress_bar()


def _device(config: DiffusionConfig) -> tuple[torch.device, torch.dtype]:
    if config.device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    else:
        name = config.device
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"diffusion.device: {name!r} is not a device of this machine ({first_line(error)}). "
            'Set device = "auto", or "cpu".'
        ) from None
    if config.offload and device.type == "cpu":
        raise ConfigError("diffusion.offload saves GPU memory, and the device is the CPU. Set offload = false.")
    if config.dtype == "auto":
        return device, torch.float32 if device.type == "cpu" else torch.float16
    return device, getattr(torch, config.dtype)


def _pipeline(kind: Any, config: DiffusionConfig, controlnet: Any, number: torch.dtype) -> Any:
    parts: dict[str, Any] = {"controlnet": controlnet, "dtype": number, "local_files_only": True}
    if config.family == "sd15":
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    else:
        parts["add_watermarker"] = False
    if _is_single_file(config.model):
        if not config.config:
            raise ModelError(
                f"{config.model}: one file holds weights only. Set diffusion.config to a diffusers folder or a hub id "
                "with the configuration of this kind of model."
            )
        folder = _folder(config.config, config, patterns=("*.json", "*/*.json", "*/*.txt"))
        _refuse_code(folder)
        with _explained(config.model), bounded_loading(folder, weights=Path(config.model)):
            pipeline = kind.from_single_file(str(Path(config.model)), config=str(folder), **parts)
            for part in pipeline.components.values():
                if isinstance(part, torch.nn.Module):
                    check_finite(part.state_dict(), where=config.model)
            return pipeline
    folder = _pipeline_folder(kind, config)
    _refuse_code(folder)
    check_folder(folder)
    with _explained(config.model):
        parts |= _filled_parts(folder, config, number, besides=parts)
        return kind.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, variant=_variant(folder, config), **parts
        )


def _filled_parts(
    folder: Path, config: DiffusionConfig, number: torch.dtype, *, besides: Collection[str]
) -> dict[str, Any]:
    """Open the models of a pipeline one by one, because the pipeline's own loader fills gaps by chance."""
    import diffusers
    import transformers

    found = {}
    for name, part in _index(folder).items():
        library = {"diffusers": diffusers, "transformers": transformers}.get(part[0] if isinstance(part, list) else "")
        kind = getattr(library, part[1], None) if library is not None else None
        models = (diffusers.ModelMixin, transformers.PreTrainedModel)
        if name not in besides and isinstance(kind, type) and issubclass(kind, models):
            found[name] = _filled(kind, folder / name, config, number)
    return found


def _filled(kind: Any, folder: Path, config: DiffusionConfig, number: torch.dtype) -> Any:
    """Open a model of diffusers or transformers; ModelError unless its files fill it exactly."""
    with bounded_loading(folder):
        model, report = kind.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=number,
            use_safetensors=True,
            local_files_only=True,
            variant=_variant(folder, config),
        )
    check_filled(model, report, where=folder)
    return model


def _index(folder: Path) -> dict[str, Any]:
    """The parts of a pipeline, by name."""
    file = folder / "model_index.json"
    try:
        return read_json(file, dict[str, Any], error=ModelError, remedy="Download it again.")
    except OSError as error:
        raise ModelError(f"{file}: not the index of a pipeline ({first_line(error)}). Download it again.") from error


def _refuse_code(folder: Path) -> None:
    """ModelError for a pipeline of which a part is not a class of the libraries that draw."""
    file = folder / "model_index.json"
    for part, named in _index(folder).items():
        if isinstance(named, str):
            known = part.startswith("_") and (part != "_class_name" or named.isidentifier())
        else:
            known = not isinstance(named, list | dict) or (
                isinstance(named, list)
                and len(named) == 2
                and named[0] in _LIBRARIES
                and (named[1] is None or (isinstance(named[1], str) and named[1].isidentifier()))
            )
        if not known:
            raise ModelError(f"{file}: {part} is {str(named)[:80]!r}, expected a class of diffusers or transformers. "
                             "Code that comes with a model is not run.")  # fmt: skip


def _controlnet(config: DiffusionConfig, number: torch.dtype) -> Any:
    from diffusers import ControlNetModel

    name = config.controlnet
    if _is_single_file(name):
        where = _controlnet_config(config)
        with _explained(name), bounded_loading(Path(where["config"]), weights=Path(name)):
            model = ControlNetModel.from_single_file(str(Path(name)), **where, dtype=number, local_files_only=True)
            check_finite(model.state_dict(), where=name)
            return model
    folder = _folder(name, config, patterns=("config.json", "*.safetensors", "*.safetensors.index.json"))
    with _explained(name):
        return _filled(ControlNetModel, folder, config, number)


def _controlnet_config(config: DiffusionConfig) -> dict[str, str]:
    """Where the shape of a single-file ControlNet is written: beside it, or in the hub's folder of the family's own."""
    beside = Path(config.controlnet).parent
    if (beside / "config.json").exists():
        return {"config": str(beside)}
    known = str(DIFFUSION_FAMILIES[config.family]["controlnet"])
    try:
        return {"config": str(_folder(known, config, patterns=("config.json",)))}
    except ModelError as error:
        raise ModelError(
            f"{config.controlnet}: no config.json lies beside it, and {error} Put the ControlNet's config.json there."
        ) from None


def _check_family(pipeline: Any, config: DiffusionConfig) -> None:
    """The parts must fit each other: SD 1.5 and XL differ in the width of their text."""
    text = pipeline.unet.config.cross_attention_dim
    control = pipeline.controlnet.config.cross_attention_dim
    if text != control:
        raise ModelError(
            f"{config.controlnet}: made for text of width {control}, but {config.model} has {text}. "
            f"Choose a ControlNet of the family {config.family!r}."
        )
    if pipeline.unet.config.in_channels not in (4, 9):
        raise ModelError(
            f"{config.model}: a U-Net with {pipeline.unet.config.in_channels} channels, expected 9 (inpainting) or 4."
        )


def _add_lora(pipeline: Any, config: DiffusionConfig) -> None:
    path = Path(config.lora)
    if not _is_single_file(config.lora):
        folder = _folder(config.lora, config, patterns=("*.safetensors",))
        files = sorted(folder.glob("*.safetensors"))
        if len(files) != 1:
            raise ModelError(
                f"{config.lora}: {len(files)} .safetensors files, expected one. Set diffusion.lora to the file itself."
            )
        path = files[0]
    with _explained(config.lora):
        tensors, _ = read_tensors(path)
        downs, ups = (sum(any(part in name for part in parts) for name in tensors) for parts in _LORA_PARTS)
        if downs != ups:
            raise ValueError(f"{downs} matrices down and {ups} up; some are missing")
        pipeline.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            adapter_name="product",
            use_safetensors=True,
            local_files_only=True,
        )
        if not pipeline.get_list_adapters():
            raise ValueError("it changes no layer of this model")
        pipeline.set_adapters(["product"], adapter_weights=[config.lora_scale])


def _checker(config: DiffusionConfig, number: torch.dtype) -> Checker:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessorPil

    name = config.safety_model or config.model
    remedy = "Set diffusion.safety_model to a folder that has one, or safety_checker = false."
    if _is_single_file(name):
        raise ModelError(f"{name}: one file has no safety checker. {remedy}")
    folder = _folder(name, config, patterns=_CHECKER_FILES)
    if not (folder / "safety_checker" / "config.json").exists():
        raise ModelError(f"{name}: no folder safety_checker in it. {remedy}")
    with _explained(name):
        model = _filled(StableDiffusionSafetyChecker, folder / "safety_checker", config, number)
        processor = CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor", local_files_only=True)
    return Checker(model.eval(), processor)


def _is_single_file(name: str) -> bool:
    """Whether `name` is a file of safetensors; ModelError for a pickle, whether it is there or not."""
    path = Path(name)
    if path.suffix.lower() in _PICKLES:
        raise ModelError(
            f"{name}: a pickle can run any program when it is opened, so it is not. Convert it to .safetensors."
        )
    if path.suffix.lower() == ".safetensors" and not path.is_file():
        raise ModelError(f"{name}: no such file. Check the path.")
    return path.is_file()


def _folder(name: str, config: DiffusionConfig, *, patterns: Sequence[str]) -> Path:
    """The local folder of a folder's path or of a hub id, with the files that match."""
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    _must_be_hub_id(name)
    try:
        return Path(snapshot_download(name, local_files_only=not config.allow_download, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise _not_here(name, config, error) from error


def _pipeline_folder(kind: Any, config: DiffusionConfig) -> Path:
    """The local folder of the model; of a hub id only the files that the pipeline needs are fetched."""
    if Path(config.model).is_dir():
        if not (Path(config.model) / "model_index.json").exists():
            raise ModelError(
                f"{config.model}: no model_index.json in it, expected a diffusers folder. Name the folder that has it, "
                "or a single .safetensors file."
            )
        return Path(config.model)
    _must_be_hub_id(config.model)
    try:
        found = kind.download(
            config.model,
            local_files_only=not config.allow_download,
            use_safetensors=True,
            trust_remote_code=False,
            variant=config.variant or None,
            controlnet=None,
            **({"safety_checker": None} if config.family == "sd15" and not config.safety_checker else {}),
        )
    except (OSError, ValueError) as error:
        raise _not_here(config.model, config, error) from error
    return Path(found)


def _must_be_hub_id(name: str) -> None:
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no such folder. Name a folder, a .safetensors file or a hub id.")


def _not_here(name: str, config: DiffusionConfig, error: Exception) -> ModelError:
    if config.allow_download:
        return ModelError(f"{name}: cannot be fetched ({first_line(error)}). Check the name and the connection.")
    return ModelError(
        f"{name}: neither a folder nor a model in the local hub cache. Set allow_download = true under [diffusion] in "
        "clickscape.toml, or name a folder."
    )


def _variant(folder: Path, config: DiffusionConfig) -> str | None:
    """The wanted variant of the files, where the folder has it."""
    wanted = config.variant
    return wanted if wanted and any(folder.rglob(f"*.{wanted}*.safetensors")) else None


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What diffusers says of files that it cannot open, as one line about them."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the loaders raise anything, from KeyError to errors of their own
        raise ModelError(
            f"{name}: cannot be opened ({first_line(error)}). Expected complete .safetensors weights of this family."
        ) from error
