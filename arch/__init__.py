"""The networks: tensors in, tensors out."""

from .hat import HAT, HATConfig
from .hitsr import HiTSR, HiTSRConfig
from .vapsr import VapSR, VapSRConfig

__all__ = ["HAT", "HATConfig", "HiTSR", "HiTSRConfig", "VapSR", "VapSRConfig"]
