"""A video file -> a larger video file, in constant memory: PyAV in, PyAV out, color conversion ours, on the device."""
