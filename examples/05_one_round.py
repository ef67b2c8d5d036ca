"""Train the prompt model for one small round on the reward model of example 04 (run that first)."""

from pathlib import Path

from clickscape.config import OptimizeConfig
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import run
from clickscape.workspace import Workspace

workspace = Workspace.open(Path("example-shop"))
run(optimize(workspace, OptimizeConfig(rounds=1, products_per_round=8, candidates=3, epochs=1)))
print((workspace.models / "prompt").resolve())
