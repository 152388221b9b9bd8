"""What networks compute with kernels of our own where PyTorch has no fused one: in C on a CPU, in Triton on CUDA.

Each has a twin in PyTorch.
"""
