"""Train the prompt model with TRL's GRPOTrainer on the reward model of example 04 (run that first).

Needs TRL: pip install 'clickscape[peers]'.
"""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # a trainer would report itself to the hub

from datasets import Dataset
from PIL import Image
from trl import GRPOConfig, GRPOTrainer

import clickscape
from clickscape.catalog import sample
from clickscape.generation.pipeline import cutout_images
from clickscape.vlm import model as vlm_model
from clickscape.vlm.generate import line_breaks
from clickscape.vlm.prompts import writing_instruction

CANDIDATES = 4
names = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick")
products = sample.write(Path("example-shop"), 128, product_ids=[f"{name}-original" for name in names])
policy = vlm_model.load("tiny", dtype="float32", trainable=True)
policy.tokenizer.padding_side = "left"
ends = [policy.tokenizer.eos_token_id, *line_breaks(policy.tokenizer)]  # a description is one line
policy.model.generation_config.eos_token_id = ends
pictures = cutout_images(policy.image_size)
rows = [
    {
        "prompt": [{"role": "user", "content": writing_instruction(product)}],
        "image": Image.fromarray(pictures(product)),
        "product_id": product.product_id,
    }
    for product in products
]
reward = clickscape.reward.trl_reward(
    clickscape.reward.load("example-reward"), clickscape.render.load("studio"), products, size=96
)
trainer = GRPOTrainer(
    policy.model,
    reward_funcs=reward,
    args=GRPOConfig(
        output_dir="example-grpo",
        learning_rate=3e-4,
        per_device_train_batch_size=2 * CANDIDATES,
        num_generations=CANDIDATES,
        max_completion_length=48,
        max_steps=2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=policy.processor,
)
trainer.train()
for entry in trainer.state.log_history:
    if "reward" in entry:
        print(f"step {entry['step']}: reward {entry['reward']:+.3f} logits, of a group {entry['reward_std']:.3f}")
vlm_model.save(policy, Path("example-grpo"))
writer = clickscape.vlm.load("example-grpo")
print(writer.describe(products[0], n=1, seed=0)[0])
print(Path("example-grpo").resolve())
