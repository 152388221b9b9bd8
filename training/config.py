"""What a training is: the network, the steps, how large they are; and the two that follow one another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what comes out, beside the corpus.

    Attributes:
        family: "HAT", "VapSR" or "HiT-SR"; `network` its hyper-parameters, where they are not the published ones.
        scale: how many times larger.
        seed: of the network's start and of the crops.
        steps: of them, each over `batch` crops of `patch` x `patch` small pixels.
        learning_rate: the peak, reached after `warmup` steps and left along half a cosine; see `schedule`.
        decay: of the moving average of the weights, which is what is measured and exported.
        frequency_weight: of the loss's second part; see `losses`.
        clip: the longest gradient; longer ones are shortened to it.
    """

    family: str = "VapSR"
    network: dict[str, Any] = field(default_factory=dict)
    scale: int = 2
    seed: int = 0
    steps: int = 40_000
    batch: int = 8
    patch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.999
    frequency_weight: float = 0.0
    clip: float = 0.5


PRETRAIN = TrainingConfig()
FINETUNE = replace(PRETRAIN, steps=10_000, batch=16, patch=48, learning_rate=1e-4, frequency_weight=0.05)
"""After the pretraining and from its weights: a lower rate, a larger view, textures asked for wave by wave.

Training twice on the same task, first on the large set, is from Chen et al., "Activating more pixels in image
super-resolution transformer", CVPR 2023.
"""

CONFIGS = {"pretrain": PRETRAIN, "finetune": FINETUNE}

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "VapSR-S": ("VapSR", {"num_feat": 32, "num_blocks": 11, "attention_dim": 64, "conv_groups": 2}),
    "VapSR": ("VapSR", {}),
    "HAT-S": (
        "HAT",
        {"embed_dim": 144, "depths": (6,) * 6, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288},
    ),
    "HAT": ("HAT", {}),
    "HiT-SRF": ("HiT-SR", {"variant": "SRF"}),
    "HiT-SIR": ("HiT-SR", {"variant": "SIR"}),
    "HiT-SNG": ("HiT-SR", {"variant": "SNG"}),
}
"""Networks by their published names: the family and the hyper-parameters that differ from its defaults."""
