"""One network on its device: its planner, its engine, and the streams of images through both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor

from . import precision as precisions
from .accelerator import cuda
from .accelerator.transfers import Copies
from .engine import Engine
from .host import Host
from .identity import weights_hash
from .layout import in_fast_layout
from .mixed import can_be_mixed, in_bf16
from .planner import Planner
from .stream import Stats, Stream
from .tiling import TilePlan


class NetworkStage:
    """The stage of one network.

    Args:
        model: the model as the caller gave it. In fp32 it is moved to the device, else copied.
        device, dtype: where, and in which precision, it computes.
        stats: counts its tiles.
        tile, overlap, batch, seamless, self_ensemble, compile, edges, threads: as `Upscaler` takes them.
    """

    def __init__(
        self,
        model: ImageModelDescriptor,
        device: torch.device,
        dtype: torch.dtype,
        stats: Stats,
        *,
        tile: int | str | None,
        overlap: int | str,
        batch: int | str,
        seamless: str,
        self_ensemble: bool,
        compile: str,
        edges: str,
        threads: int | None,
    ) -> None:
        self.scale, self.input_channels = model.scale, model.input_channels
        self.output_channels = model.output_channels
        self.dtype = dtype
        if dtype == torch.float32:
            network = model.to(device)
        elif dtype == torch.bfloat16 and device.type == "cpu" and can_be_mixed(model):
            network, _, _ = in_bf16(model.to(device), precisions.probe_image(model.input_channels))
        else:
            network = precisions.cast(model, dtype, device)
        if device.type == "cpu":
            network = in_fast_layout(network)
        self.model, self.stats = model, stats
        self.planner = Planner(
            model,
            device,
            dtype,
            tile=tile,
            overlap=overlap,
            batch=batch,
            seamless=seamless,
            self_ensemble=self_ensemble,
            edges=edges,
        )
        self.engine = Engine(
            model, network, device, dtype, self_ensemble=self_ensemble, compile=compile, threads=threads
        )
        self.copies: Copies | None = cuda.Copies(device) if device.type == "cuda" else None

    def stream(
        self,
        images: Iterable[Tensor],
        host: Host,
        *,
        keep_on_device: bool,
        reuse_static: bool,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        stream = Stream(
            self.planner,
            self.engine,
            host,
            self.copies,
            self.stats,
            keep_on_device=keep_on_device,
            reuse_static=reuse_static,
            mask=mask,
        )
        return stream.run(images)

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        return self.planner.plan(height, width, reuse_static=reuse_static)

    def steps(self, height: int, width: int) -> int:
        margin_y, margin_x = self.planner.margins()
        return self.planner.steps(self.plan(height + 2 * margin_y, width + 2 * margin_x))

    @property
    def overlap(self) -> int:
        return self.planner.overlap

    @property
    def grid(self) -> int:
        return self.planner.grid

    @property
    def again(self) -> NetworkStage:
        return self

    def identity(self) -> str:
        return weights_hash(self.model.model)
