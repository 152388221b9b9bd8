"""A network in other runtimes on a CPU: OpenVINO and ONNX Runtime, by an ONNX graph of fixed size.

The graph is exported from the implementation that others run: that of the authors or spandrel's. Exporting and
compiling may take very long or fail, so each happens in a process that is ended after LIMIT_S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..diagnostics.isolated import EndedError, TooSlowError, isolated

LIMIT_S = 300.0
"""Seconds to export a graph, and seconds until a runtime has compiled it and computed the first image."""

PACKAGES = {"openvino": ("openvino", "onnx", "onnxscript"), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
"""Runtime -> what must be installed; onnx and onnxscript are what PyTorch exports with."""

_OPSET, _OPSET_OF_OLDER = 18, 17
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def installed(runtime: str) -> bool:
    """Return whether a runtime of PACKAGES can be measured."""
    return all(find_spec(name) is not None for name in PACKAGES[runtime])


def graph_of(folder: Path, shape: tuple[int, ...]) -> Path:
    """Return the file of the graph for images of this shape."""
    return folder / f"{'x'.join(map(str, shape))}.onnx"


def export(make: Callable[..., nn.Module], arguments: tuple[Any, ...], shape: tuple[int, ...], folder: Path) -> str:
    """Export a network in a process of its own; return why that failed, "" if it did not.

    Args:
        make: returns the network; of a module.
        arguments: for it.
        shape: of the images, (N, C, H, W).
        folder: of the graphs.
    """
    reason = ""
    for dynamo in (True, False):  # the older exporter takes some networks that the newer one does not
        try:
            list(isolated(_export, make, arguments, shape, graph_of(folder, shape), dynamo, limit_s=LIMIT_S))
            return ""
        except TooSlowError as error:
            return f"it cannot be exported to ONNX: {error}"
        except EndedError as error:
            reason = reason or f"it cannot be exported to ONNX: {error}"
    return reason


def _export(
    make: Callable[..., nn.Module],
    arguments: tuple[Any, ...],
    shape: tuple[int, ...],
    target: Path,
    dynamo: bool = True,
) -> Iterator[None]:
    torch.set_grad_enabled(False)
    logging.disable(logging.WARNING)  # of the exporter, which the user cannot act on
    model, image = make(*arguments), torch.rand(shape)
    if dynamo:
        torch.onnx.export(model, (image,), str(target), dynamo=True, opset_version=_OPSET, verbose=False)
    else:
        torch.onnx.export(model, (image,), str(target), dynamo=False, opset_version=_OPSET_OF_OLDER)
    yield


class OpenVINO:
    """Computes graphs in OpenVINO, as fast as one image at a time can be.

    Args:
        folder: of the graphs.
        threads: of the CPU.
        precision: "fp32" or "bf16", in which it may compute.
    """

    def __init__(self, folder: Path, threads: int, precision: str) -> None:
        import openvino

        self._folder, self._core = folder, openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        }
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', sH, sW)."""
        shape = tuple(images.shape)
        if shape not in self._compiled:
            self._compiled = {
                shape: self._core.compile_model(str(graph_of(self._folder, shape)), "CPU", self._settings)
            }
        (result,) = self._compiled[shape]([images.numpy()]).values()
        return torch.from_numpy(result)


class OnnxRuntime:
    """Computes graphs in ONNX Runtime's provider for CPUs, in fp32; arguments as for OpenVINO."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        self._folder, self._package = folder, onnxruntime
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 3  # errors only
        self._sessions: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', sH, sW)."""
        shape = tuple(images.shape)
        if shape not in self._sessions:
            file, providers = str(graph_of(self._folder, shape)), ["CPUExecutionProvider"]
            self._sessions = {shape: self._package.InferenceSession(file, self._options, providers=providers)}
        session = self._sessions[shape]
        (result,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        return torch.from_numpy(result)
