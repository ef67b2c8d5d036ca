"""Compute the product-centric loss of one pair by hand-made log-probabilities, with and without the product term."""

from pathlib import Path

import torch

from clickscape.preference.loss import AnswerLogProbs, pcpo_loss

policy = AnswerLogProbs(torch.tensor([-10.0]), torch.tensor([-12.0]), torch.tensor([-11.0]))
reference = AnswerLogProbs(torch.tensor([-11.0]), torch.tensor([-11.0]), torch.tensor([-11.0]))
lines = [f"w = {w}: {pcpo_loss(policy, reference, beta=0.5, weight=w).total.item():.4f} nats" for w in (0.0, 1.0)]
out = Path("example-loss.txt")
out.write_text("\n".join(lines) + "\n")
print(out.resolve())
