"""What networks compute on CUDA in Triton where PyTorch has no fused kernel; imported when a tensor there asks."""
