"""Make the golden files beside this one: tiny networks with random weights, and what the authors' code computes.

    python tests/golden/make.py --hat HAT --vapsr VapSR --hit-sr HiT-SR     # checkouts of the authors' repositories

Every file holds the parameters under the authors' names, the input as 8-bit codes (`golden.input`), and the unclamped
output of the authors' code (`golden.output`). Their code is not part of this project; it needs the package timm.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from supertile.arch import HATConfig, HiTSRConfig, VapSRConfig
from supertile.benchmarks.peers import official
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
HIT = {
    "scale": 2, "embed_dim": 24, "depths": (3,), "num_heads": (2,), "window_ratios": (0.5, 1, 2), "mlp_dim": 32,
    "resi_connection": "3conv",
}  # fmt: skip
NETWORKS = {
    "HAT": HATConfig(
        scale=1, embed_dim=12, depths=(2,), num_heads=(2,), window_size=4, overlap_window=6, compress_dim=4,
        squeeze_dim=2, mlp_dim=24, oca_mlp_dim=24,
    ),
    "VapSR": VapSRConfig(scale=2, num_feat=8, num_blocks=2, attention_dim=8),
    "HiT_SIR": HiTSRConfig(variant="SIR", **HIT),
    "HiT_SNG": HiTSRConfig(variant="SNG", **HIT),
    "HiT_SRF": HiTSRConfig(variant="SRF", **HIT),
}  # fmt: skip


@torch.no_grad()
def randomize(network: nn.Module) -> None:
    """Give every parameter values that matter to the output, and that half precision holds: the files are small."""
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape)
        if parameter.dim() > 1 and "bias_table" not in name:
            values = noise * 0.7 / math.sqrt(parameter[0].numel())
        else:
            values = 0.2 * noise + float(parameter.dim() == 1 and name.endswith("weight"))
        parameter.copy_(values.half())


def state_dict(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters in half precision, without the masks and index tables that follow from the shape."""
    return {name: parameter.detach().half().contiguous() for name, parameter in network.named_parameters()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for family in ("hat", "vapsr", "hit-sr"):
        parser.add_argument(f"--{family}", type=Path, required=True, metavar="CHECKOUT")
    arguments = parser.parse_args()
    checkouts = {"HAT": arguments.hat, "VapSR": arguments.vapsr, "HiT-SR": arguments.hit_sr}
    for name, config in NETWORKS.items():
        torch.manual_seed(0)
        network = official(name if name in checkouts else "HiT-SR", checkouts.get(name, arguments.hit_sr), config)
        network.eval()
        randomize(network)
        height, width = (12, 16) if name == "HAT" else (13, 18)  # the authors' HAT takes whole windows only
        codes = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
        weights = state_dict(network)
        with torch.no_grad():
            output = network(codes.float() / 255)
        save_file({**weights, "golden.input": codes, "golden.output": output}, HERE / f"{name}.safetensors")


if __name__ == "__main__":
    main()
