"""What networks compute on a CPU in C, compiled where there is a compiler; each with its twin in PyTorch."""
