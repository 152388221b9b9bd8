"""Run on accelerators: CUDA streams and graphs, torch.compile, asynchronous copies."""
