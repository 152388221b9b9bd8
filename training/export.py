"""A training's result as a file that every program opens: fp16 safetensors with what is known of it in its header."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ..weights.architectures import FAMILIES
from ..weights.loader import CheckpointInfo, inspect_checkpoint
from ..weights.shapes import OWN_METADATA_KEY
from ..weights.writing import write_safetensors
from .errors import TrainingError
from .networks import build
from .trainer import read_state


def export(checkpoint: Path, target: Path, *, facts: dict[str, str], precision: str = "fp16") -> CheckpointInfo:
    """Write the averaged weights of a training's checkpoint.

    `facts` (title, license, description and the like) go into the header as they are, beside the hyper-parameters and
    the steps. `precision` is "fp16" or "fp32". Raises TrainingError for weights that are not finite in it, and
    CheckpointError for a file that cannot be written.
    """
    config, step, weights = read_state(checkpoint)
    net = build(config.family, {**config.network, "scale": config.scale}, seed=0)
    net.load_state_dict(weights)
    state = {n: t.to({"fp16": torch.float16, "fp32": torch.float32}[precision]) for n, t in net.state_dict().items()}
    if not all(t.isfinite().all() for t in state.values()):
        raise TrainingError(f"The weights in {checkpoint} are not finite in {precision}; export them in fp32")
    family = next(f for f in FAMILIES if config.family == f.NAME)
    arguments = family.header_metadata(net.config)
    own = {"family": family.NAME, "scale": config.scale, **arguments, "hyperparameters": config.network}
    metadata = {"format": "pt", OWN_METADATA_KEY: json.dumps(own), "trained": f"{step} steps", **facts}
    write_safetensors(target, state, metadata)
    return inspect_checkpoint(target)
