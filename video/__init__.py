"""Upscale video files in constant memory: PyAV decodes and encodes, colors are converted on the device."""
