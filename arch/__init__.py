"""The networks: tensors in, tensors out."""

from .hat import HAT
from .hat_config import HATConfig
from .hitsr import HiTSR
from .hitsr_config import HiTSRConfig
from .vapsr import VapSR
from .vapsr_config import VapSRConfig

__all__ = ["HAT", "HATConfig", "HiTSR", "HiTSRConfig", "VapSR", "VapSRConfig"]
