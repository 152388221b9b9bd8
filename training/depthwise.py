"""Faster gradients of depthwise convolutions on CPUs, where VapSR spends more than half of a training step.

oneDNN has no kernels for two of them. The gradient of the input of a dilated depthwise convolution is the same
convolution with its kernel turned around, for which there is one (5.7 -> 0.5 ms for 16 x 64 channels x 32 x 32 on two
Zen 4 cores). The gradient of the kernel is a sum over all pixels for each tap, 25 accumulators that fit into registers:
a few lines of C++, compiled when they are first used (5.0 -> 0.9 ms). Where there is no compiler, or the case is
another one, PyTorch's own gradients are used. The values are the same up to rounding.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

KernelGradient = Callable[[Tensor, Tensor, int], Tensor]

_SOURCE = r"""
#include <torch/extension.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

constexpr int K = 5;  // taps on a side
using Lanes = at::vec::Vectorized<float>;

// padded: (B, H + 4d, W + 4d, C), gradient: (B, H, W, C), both contiguous -> (K * K, C)
torch::Tensor kernel_gradient(torch::Tensor padded, torch::Tensor gradient, int64_t d) {
  const int64_t B = gradient.size(0), H = gradient.size(1), W = gradient.size(2), C = gradient.size(3);
  const int64_t rows = padded.size(1), columns = padded.size(2);
  auto sums = torch::zeros({B, K * K, C});
  const float* x = padded.data_ptr<float>();
  const float* g = gradient.data_ptr<float>();
  float* out = sums.data_ptr<float>();
  at::parallel_for(0, B * (C / Lanes::size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; job++) {
      const int64_t b = job / (C / Lanes::size()), c = job % (C / Lanes::size()) * Lanes::size();
      for (int64_t h = 0; h < H; h++) {
        Lanes sum[K * K];
        for (int k = 0; k < K * K; k++) sum[k] = Lanes(0.0f);
        for (int64_t w = 0; w < W; w++) {
          const Lanes factor = Lanes::loadu(g + ((b * H + h) * W + w) * C + c);
          const float* corner = x + ((b * rows + h) * columns + w) * C + c;
#pragma GCC unroll 5
          for (int ky = 0; ky < K; ky++) {
#pragma GCC unroll 5
            for (int kx = 0; kx < K; kx++) {
              const Lanes value = Lanes::loadu(corner + (ky * columns + kx) * d * C);
              sum[ky * K + kx] = at::vec::fmadd(factor, value, sum[ky * K + kx]);
            }
          }
        }
        for (int k = 0; k < K * K; k++) {
          float* place = out + (b * K * K + k) * C + c;
          (Lanes::loadu(place) + sum[k]).store(place);
        }
      }
    }
  });
  return sums.sum(0);
}
"""


class FastDepthwise(TorchFunctionMode):
    """While it is entered, depthwise 5x5 convolutions on a CPU in fp32 have the gradients above. All else stays."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and not kwargs and len(args) == 7 and _fits(*args):
            x, weight, bias, _, _, dilation, _ = args
            return _Depthwise.apply(x, weight, bias, dilation[0])
        return func(*args, **kwargs)


def _fits(x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.shape[1:] == (1, 5, 5)
        and groups == weight.shape[0] == x.shape[1]
        and groups % 16 == 0
        and tuple(stride) == (1, 1)
        and dilation[0] == dilation[1]
        and tuple(padding) == (2 * dilation[0],) * 2
        and _kernel_gradient() is not None
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gradient, d = gradients[0], ctx.dilation
        to_x = _convolve(gradient, weight.flip(2, 3), None, d) if ctx.needs_input_grad[0] else None
        compute = _kernel_gradient()
        assert compute is not None
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0) + (2 * d,) * 4)
        taps = compute(padded.contiguous(), gradient.permute(0, 2, 3, 1).contiguous(), d)  # (25, C)
        to_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return to_x, taps.t().reshape(weight.shape), to_bias, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    return F.conv2d(x, weight, bias, 1, 2 * dilation, dilation, x.shape[1])


@functools.cache
def _kernel_gradient() -> KernelGradient | None:
    """The compiled kernel; None where it cannot be had. Compiling takes half a minute, once on a machine."""
    level = torch.backends.cpu.get_cpu_capability()
    if level not in ("AVX2", "AVX512"):
        return None
    try:
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where there is no CUDA
        from torch.utils.cpp_extension import load_inline

        flags = ["-O3", "-march=native", "-mprefer-vector-width=512", f"-DCPU_CAPABILITY_{level}"]
        module = load_inline(
            "supertile_depthwise",
            _SOURCE,
            functions=["kernel_gradient"],
            extra_cflags=[*flags, f"-DCPU_CAPABILITY={level}"],
        )
    except Exception as error:  # no compiler, no headers, no room: whatever it is, training is only slower
        warnings.warn(f"Depthwise convolutions train slowly here: nothing can be compiled ({error})", stacklevel=2)
        return None
    compiled: KernelGradient = module.kernel_gradient
    return compiled
