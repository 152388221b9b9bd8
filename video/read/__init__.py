"""Read frames: files through PyAV, numbered images, arrays in memory."""
