"""Kernels for CUDA in Triton, imported only when a tensor on CUDA needs them."""
