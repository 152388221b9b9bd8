"""Kernels for operations that PyTorch has no fused kernel for: in C for CPUs, in Triton for CUDA.

`cpu/` compiles and runs the C sources in `csrc/`, `cuda/` holds the Triton kernels, and `autotune` measures which of
PyTorch and a Triton kernel is faster. Whatever a kernel computes, PyTorch's operations compute too.
"""
