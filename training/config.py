"""Settings of a training: the network, the steps and their size; and presets to begin from."""

from __future__ import annotations

from collections.abc import Callable
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
        cooldown: how many steps that cosine takes; 0 for all after the warm-up.
        decay: of the moving average of the weights, which is what is measured and exported.
        loss: "l1", "l2" or "rms", of pixels; see `losses`.
        frequency_weight: of the loss's second part; see `losses`.
        color_weight: of errors of color beside those of luma; see `losses`.
        optimizer: "adam" or "muon"; see `optimizers`.
        clip: the longest gradient; longer ones are shortened to it.
        degraded_share: how many of the crops are blurred, noisy or compressed; see `degradations`.
        plain_share: how many of these are compressed or noisy and nothing else.
    """

    family: str = "VapSR"
    network: dict[str, Any] = field(default_factory=dict)
    scale: int = 2
    seed: int = 0
    steps: int = 40_000
    batch: int = 8
    patch: int = 48
    learning_rate: float = 1e-3
    warmup: int = 200
    cooldown: int = 0
    decay: float = 0.999
    loss: str = "l1"
    frequency_weight: float = 0.0
    color_weight: float = 1.0
    optimizer: str = "adam"
    clip: float = 0.5
    degraded_share: float = 0.0
    plain_share: float = 0.6


@dataclass(frozen=True)
class Network:
    """A published network: its family, the hyper-parameters that differ from the family's defaults, and its rate."""

    family: str
    hyperparameters: dict[str, Any]
    learning_rate: float


# VapSR's rate is the largest that learned steadily here, with small batches; the others' are their authors'.
NETWORKS: dict[str, Network] = {
    "VapSR-S": Network("VapSR", {"num_feat": 32, "num_blocks": 11, "attention_dim": 64, "conv_groups": 2}, 3e-3),
    "VapSR": Network("VapSR", {}, 3e-3),
    "HAT-S": Network(
        "HAT",
        {"embed_dim": 144, "compress_dim": 6, "squeeze_dim": 6, "mlp_dim": 288, "oca_mlp_dim": 288},
        2e-4,
    ),
    "HAT": Network("HAT", {}, 2e-4),
    "HiT-SRF": Network("HiT-SR", {"variant": "SRF"}, 5e-4),
    "HiT-SIR": Network("HiT-SR", {"variant": "SIR"}, 5e-4),
    "HiT-SNG": Network("HiT-SR", {"variant": "SNG"}, 5e-4),
}


def pretrain(network: Network, scale: int) -> TrainingConfig:
    """On a large set, from nothing or from another scale's trunk."""
    return TrainingConfig(network.family, dict(network.hyperparameters), scale, learning_rate=network.learning_rate)


def finetune(network: Network, scale: int) -> TrainingConfig:
    """After it, from its weights: a tenth of the rate, a larger view, textures asked for wave by wave.

    Training twice on the same task, first on the larger set, is from Chen et al., "Activating more pixels in image
    super-resolution transformer", CVPR 2023.
    """
    rate = network.learning_rate / 10
    return replace(pretrain(network, scale), steps=10_000, patch=64, learning_rate=rate, frequency_weight=0.05)


def photo(network: Network, scale: int) -> TrainingConfig:
    """Return the config for images as people have them, to be begun with a network for clean ones."""
    return replace(pretrain(network, scale), degraded_share=0.78, learning_rate=network.learning_rate / 2)


CONFIGS: dict[str, Callable[[Network, int], TrainingConfig]] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "photo": photo,
}
