"""Supertile: upscale pictures and videos with HAT, VapSR and HiT-SR."""

__version__ = "0.1.0"
