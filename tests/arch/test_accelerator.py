"""Networks on an accelerator ask nothing of the host: each copy to it or from it would be waited for.

No accelerator is needed: tensors that have a device and a shape, but no numbers, show what is asked of whom.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from supertile.arch import HAT, HATConfig, HiTSR, HiTSRConfig, VapSR, VapSRConfig
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

HIT = {
    "scale": 2, "embed_dim": 20, "depths": (3,), "num_heads": (2,), "base_window": (4, 4),
    "window_ratios": (0.5, 1, 2), "mlp_dim": 24,
}  # fmt: skip
NETWORKS = {
    "HAT": lambda: HAT(HATConfig(
        scale=2, embed_dim=12, depths=(2, 1), num_heads=(2, 3), window_size=4, overlap_window=6, compress_dim=4,
        squeeze_dim=3, mlp_dim=16, oca_mlp_dim=20, num_feat=8,
    )),
    **{v: lambda variant=v: HiTSR(HiTSRConfig(variant=variant, **HIT)) for v in ("SIR", "SNG", "SRF")},
    "VapSR": lambda: VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=2, attention_dim=12)),
}  # fmt: skip


class Crossings(TorchDispatchMode):
    """Notes what reads tensors of one device and gives those of another, and what gives numbers to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {x.device.type for x in tree_iter((args, kwargs, result)) if isinstance(x, torch.Tensor)}
        if len(devices) > 1 or "_local_scalar_dense" in str(func):
            self.found.append(str(func))
        return result


def on_a_device_without_numbers(net: nn.Module) -> nn.Module:
    for module in net.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, device="cuda")
            setattr(module, name, nn.Parameter(empty, requires_grad=False))
    return net.eval()


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_pass_asks_nothing_of_the_host(name):
    try:
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        with mode:
            torch.empty(1, device="cuda")
    except Exception as error:  # a PyTorch for CPUs alone may know no such tensors
        pytest.skip(f"there are no tensors without numbers here ({error})")
    with mode, torch.inference_mode():
        net = on_a_device_without_numbers(NETWORKS[name]())
        image = torch.empty(2, 3, 30, 33, device="cuda")
        net(image)  # tables are computed once
        with Crossings() as crossings:
            result = net(image)
    assert (result.shape, result.device.type) == ((2, 3, 60, 66), "cuda")
    assert crossings.found == []
