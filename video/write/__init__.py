"""Write frames: files through PyAV, numbered images."""
