"""Kernels for CPUs: one module for each C source in `csrc/`, and `build`, which compiles and loads them."""
