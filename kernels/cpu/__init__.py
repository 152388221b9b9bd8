"""Run the C kernels of `csrc/` on a CPU."""
