"""Commands that train, evaluate and convert models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import Folder, existing_file, existing_folder, output_file
from clickscape.cli.terminal import app


@app.command(epilog="Example: clickscape pretrain my-shop --steps 500")
def pretrain(
    workspace: Folder,
    steps: Annotated[int, typer.Option(min=1, help="Steps of joint training on the workspace's own creatives.")] = 500,
) -> None:
    """Fine-tune the prompt model on the four instruction tasks with this workspace's creatives."""
    from clickscape.stages.pretrain import pretrain as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.pretrain.changed(joint_steps=steps)
    manifest = terminal.run_with_progress(stage(shop, settings))
    terminal.out.print(f"loss {manifest.result['loss']:.3f} nats per answer token")
    terminal.print_output(shop.models / "pretrained", after=f"clickscape optimize {workspace}")


class _TrainUnlessNamed(typer.core.TyperGroup):
    """`clickscape reward my-shop` trains: whatever names no command of the group goes to `train`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own
        """Put the command's name before arguments that name none."""
        named = args[:1] and args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["train", *args])


_reward = typer.Typer(
    cls=_TrainUnlessNamed,
    rich_markup_mode=None,
    help="Train a reward model (`clickscape reward WORKSPACE`), or evaluate one on a list of pairs.",
)
app.add_typer(_reward, name="reward", epilog="Example: clickscape reward my-shop")


@_reward.command("train", epilog="Example: clickscape reward my-shop --form two_branch")
def reward(
    workspace: Folder,
    form: Annotated[Literal["effects", "two_branch"] | None, typer.Option(help="Default: clickscape.toml.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Folder or hub id of a vision encoder or vision-language model. Default: clickscape.toml."),
    ] = None,
    judge: Annotated[
        Literal["none", "neighbors", "effects", "two_branch"] | None,
        typer.Option(
            help="Also train a judge, a second reward model, on products of its own. Default: clickscape.toml."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet with creative_id and ctr, where somebody knows the true CTRs.", callback=existing_file
        ),
    ] = None,
) -> None:
    """Train the reward model on the clicks and evaluate it on held-out products; `train` may be left out.

    Several processes at once, for --form two_branch: torchrun --nproc_per_node 2 -m clickscape reward my-shop
    """
    from clickscape.compute.device import launched
    from clickscape.stages.reward import reward as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.reward.changed(form=form, backbone=backbone or None, judge=judge)
    with launched() as processes:
        manifest = terminal.run_with_progress(stage(shop, settings, true_ctrs=truth, processes=processes))
        if not processes.is_main:
            return
    for line in manifest.result["summary"]:
        terminal.out.print(line)
    terminal.print_output(shop.models / "reward", after=f"clickscape optimize {workspace}")


@_reward.command("evaluate", epilog="Example: clickscape reward evaluate pairs.json --model my-shop/models/reward")
def evaluate(
    pairs: Annotated[
        Path, typer.Argument(help="JSON list of the paper's code.", show_default=False, callback=existing_file)
    ],
    model: Annotated[Path, typer.Option(help="Folder of the reward model.", callback=existing_folder)],
    image_dir: Annotated[
        Path | None, typer.Option(help="Folder of the pictures. Default: the list's own.", callback=existing_folder)
    ] = None,
) -> None:
    """Evaluate a reward model on a left/right test list (image, left_ctr, right_ctr, target)."""
    from clickscape.stages import pairwise_list as stage

    for line in stage.summary(terminal.run_with_progress(stage.evaluate(pairs, model=model, image_dir=image_dir))):
        terminal.out.print(line)


labels = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="What people prefer, as tasks for Label Studio and back."
)
app.add_typer(labels, name="labels", epilog="Example: clickscape labels export my-shop --out labels.json")


@labels.command("export", epilog="Example: clickscape labels export my-shop --out labels.json")
def export_labels(
    workspace: Folder,
    out: Annotated[
        Path, typer.Option(help="JSON file; the labeling interface comes beside it, as .xml.", callback=output_file)
    ] = Path("labels.json"),
    per_product: Annotated[int, typer.Option(min=1, help="Pairs of ads of one product, at most.")] = 6,
    base_url: Annotated[
        str, typer.Option(help="Where the workspace's folder lies on the web. Default: Label Studio's local files.")
    ] = "",
) -> None:
    """Write pairs of ads as tasks for Label Studio, with what people said of them already."""
    from clickscape.stages.labels import export_labels as stage
    from clickscape.workspace import Workspace

    made = stage(Workspace.open(workspace), out, per_product=per_product, base_url=base_url)
    terminal.out.print(f"{made.tasks} pairs, {made.answered} of them answered; labeling interface: {made.config}")
    terminal.print_output(made.path, after=f"clickscape labels import {workspace} exported-from-label-studio.json")


@labels.command("import", epilog="Example: clickscape labels import my-shop project-1.json")
def import_labels(
    workspace: Folder,
    file: Annotated[
        Path, typer.Argument(help="Label Studio's export as JSON.", show_default=False, callback=existing_file)
    ],
) -> None:
    """Keep what people answered in Label Studio, all of it or nothing; `reward` says how often its model agrees."""
    from clickscape.stages.labels import import_labels as stage
    from clickscape.stages.labels import labels_path
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    terminal.out.print(f"{stage(shop, file)} answers")
    terminal.print_output(labels_path(shop), after=f"clickscape reward {workspace}")


@app.command(epilog="Example: clickscape convert --from caig downloaded/ --vision-tower clip/ --out models/prompt")
def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder of the checkpoint.", show_default=False, callback=existing_folder)
    ],
    vision_tower: Annotated[
        Path, typer.Option(help="Folder of the checkpoint's CLIP vision tower.", callback=existing_folder)
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; an older checkpoint there is replaced.")],
    layout: Annotated[Literal["caig"], typer.Option("--from", help="Layout of the checkpoint.")] = "caig",
) -> None:
    """Convert a checkpoint of the paper's code, prompt model or reward model, to a Hugging Face folder."""
    from clickscape.stages.checkpoints import convert as stage

    made = terminal.run_with_progress(stage(source, vision_tower=vision_tower, out=out))
    terminal.out.print(f"{layout} {made.kind} model, {made.tensors} tensors")
    opened = f'clickscape.vlm.load("{out}")' if made.kind == "prompt" else ""
    terminal.print_output(out, after=opened or f"clickscape reward evaluate pairs.json --model {out}")


@app.command(epilog="Example: clickscape merge my-adapter/ --out models/prompt")
def merge(
    adapter: Annotated[
        Path,
        typer.Argument(help="Folder of a LoRA adapter in PEFT's format.", show_default=False, callback=existing_folder),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; an older checkpoint there is replaced.")],
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of its base model. Default: what the adapter names.")
    ] = None,
) -> None:
    """Fold a LoRA adapter into its base model: one checkpoint that any program opens with `transformers`."""
    from clickscape.stages.checkpoints import merge as stage

    made = terminal.run_with_progress(stage(adapter, out=out, base=base))
    terminal.out.print(f"{made.parameters:,} weights on {made.base}")
    terminal.print_output(out, after=f'clickscape.vlm.load("{out}")')


@app.command(epilog="Example: clickscape optimize my-shop --objective product_centric")
def optimize(
    workspace: Folder,
    objective: Annotated[
        Literal["product_centric", "preference_only"] | None, typer.Option(help="Default: clickscape.toml.")
    ] = None,
    preference: Annotated[Literal["dpo", "margin_dpo"] | None, typer.Option(help="Default: clickscape.toml.")] = None,
) -> None:
    """Train the prompt model on the reward model's preferences (product-centric preference optimization, PCPO).

    Several processes at once: torchrun --nproc_per_node 2 -m clickscape optimize my-shop
    """
    from clickscape.compute.device import launched
    from clickscape.stages.optimize import optimize as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.optimize.changed(objective=objective, preference=preference)
    with launched() as processes:
        manifest = terminal.run_with_progress(stage(shop, settings, processes=processes))
        if not processes.is_main:
            return
    for line in manifest.result["summary"]:
        terminal.out.print(line)
    if manifest.result["refused"]:
        raise typer.Exit(1)
    terminal.print_output(shop.models / "prompt", after=f"clickscape generate {workspace} --out ads/")
