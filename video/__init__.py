"""A video file -> a larger video file, in constant memory: PyAV in, PyAV out, colour conversion ours, on the device."""
