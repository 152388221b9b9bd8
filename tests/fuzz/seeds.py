"""Make the valid files that the fuzzer changes, each small: checkpoints here, the others by their own modules."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig

from .hostile import calls, with_call
from .seed_images import animations, images
from .seed_videos import videos

KINDS = ("checkpoint", "image", "animation", "video")
HOSTILE = "hostile"
"""How the names of seeds begin that are refused as they are."""


def make_seeds(folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, list[Path]]:
    """Write the seeds of some kinds into `folder/seeds`, by kind."""
    makers = {
        "checkpoint": lambda place: _checkpoints(place, folder), "image": images, "animation": animations,
        "video": videos,
    }  # fmt: skip
    made = {}
    for kind in kinds:
        place = folder / "seeds" / kind
        place.mkdir(parents=True)
        made[kind] = sorted(makers[kind](place))
    return made


class _Callback:
    """Something of a trainer's own beside the weights."""

    def __init__(self) -> None:
        self.best, self.monitor = np.float64(3.5), "psnr"


def _checkpoints(folder: Path, canary_folder: Path) -> Iterator[Path]:
    torch.manual_seed(0)
    hat = HATConfig(
        scale=2, embed_dim=12, depths=(1,), num_heads=(2,), window_size=4, overlap_window=6, compress_dim=4,
        squeeze_dim=2, mlp_dim=24, oca_mlp_dim=24, num_feat=8,
    )  # fmt: skip
    hit = HiTSRConfig(
        scale=2, embed_dim=16, depths=(3,), num_heads=(2,), window_ratios=(0.5, 1, 2), mlp_dim=16, num_feat=8
    )
    vapsr = VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=8)
    networks = {
        "hat": HAT(hat), "hitsr": HiTSR(hit), "vapsr": VapSR(vapsr),
        "compact": Compact(num_feat=8, num_conv=1, upscale=2),
    }  # fmt: skip
    for name, network in networks.items():
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors", {"license": "none"})
        torch.save({"params_ema": weights}, folder / f"{name}.pth")
        yield folder / f"{name}.safetensors"
        yield folder / f"{name}.pth"
    state = VapSR(vapsr).state_dict()
    save_file({f"net_g.{key}": tensor.half() for key, tensor in state.items()}, folder / "half.safetensors")
    yield folder / "half.safetensors"
    trained = {"state_dict": {f"model.{key}": tensor for key, tensor in state.items()}, "epoch": np.int64(3)}
    trained |= {"callbacks": {"best": (1, 2.5), "own": _Callback()}, "metadata": {"scale": 2}}
    torch.save(trained, folder / "trainer.ckpt")
    torch.save(trained, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    yield folder / "trainer.ckpt"
    yield folder / "legacy.pth"

    rng = random.Random(0)
    legacy = (folder / "legacy.pth").read_bytes()
    own_calls = calls(canary_folder)
    for name in ("reduce", "method of a harmless class"):
        path = folder / f"{HOSTILE}-{name.replace(' ', '-')}.pth"
        path.write_bytes(with_call(legacy, own_calls[name], rng))
        yield path
    plain = folder / f"{HOSTILE}-plain.pt"
    plain.write_bytes(with_call(pickle.dumps({"params": {"w": [1.0]}}), own_calls["reduce"], rng))
    yield plain
