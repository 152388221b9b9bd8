"""Open image files with Pillow's readers, with a limit in memory where Pillow's own is one in pixels."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from .errors import ImageFileError

# The formats that Pillow may try. Not all it has: EPS starts Ghostscript, and scientific formats hold no photographs.
_PILLOW_FORMATS = (
    "PNG", "JPEG", "WEBP", "TIFF", "AVIF", "JXL", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000", "DDS",
)  # fmt: skip
_SIGNED_FORMATS = ("JPEG", "WEBP", "TIFF", "AVIF", "GIF", "JPEG2000", "DDS")  # those with an unmistakable beginning
_JXL_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL ")

_BYTES_PER_PIXEL = 24  # Pillow's four, integers, and float32 of up to four channels
_PIXELS_WITHOUT_CHECK = 1 << 25


def open_image(file: BinaryIO, path: Path) -> Image.Image:
    """Open an image file without loading its pixels. `path` is named in errors.

    Raises:
        ImageFileError: no reader knows the file, or its pixels do not fit into memory.
    """
    prefix = file.read(16)
    problem = None
    for name in _formats():
        factory, accepts = Image.OPEN[name]
        try:
            if accepts and accepts(prefix) is not True:
                continue
            file.seek(0)
            image = factory(file, b"")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            # This is what a reader raises for a file of another format, and for a damaged one.
            if name in _SIGNED_FORMATS and accepts:
                problem = f"it begins as a {name} file, but cannot be opened ({' '.join(str(error).split())[:100]})"
            continue
        check_memory(path, *image.size)
        return image
    if prefix.startswith(_JXL_SIGNATURES) and "JXL" not in Image.OPEN:
        raise ImageFileError(
            f"{path} is a JPEG XL file, for which pillow-jxl-plugin is needed: pip install supertile[formats]."
        )
    if problem is not None:
        raise ImageFileError(f"{path} is damaged, incomplete or of an unknown kind: {problem}.")
    if not prefix:
        raise ImageFileError(f"{path} is empty (0 bytes), not an image.")
    raise ImageFileError(
        f"{path} is not an image in a format that can be read: PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF, PPM, TGA, "
        "JPEG 2000 or DDS."
    )


def check_memory(path: Path, width: int, height: int) -> None:
    """Raise ImageFileError if so many pixels do not fit into memory."""
    pixels = width * height
    if pixels <= _PIXELS_WITHOUT_CHECK:
        return
    needed, free = pixels * _BYTES_PER_PIXEL, free_memory()
    if free is not None and needed > free:
        raise ImageFileError(
            f"{path} has {width}x{height} pixels, which take {needed / 2**30:.1f} GiB of memory to read; "
            f"{free / 2**30:.1f} GiB are free."
        )


def free_memory() -> int | None:
    """Return the bytes that this process can still allocate without swapping; None where the system does not tell."""
    limits = [limit for limit in (_free_in_system(), free_in_container(), _free_address_space()) if limit is not None]
    return min(limits, default=None)


def _free_in_system() -> int | None:
    try:
        with open("/proc/meminfo") as file:
            available = next(line for line in file if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def free_in_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the limit of a container leaves (cgroup v2); None without a limit. Cached files count as free."""
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        facts = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(facts.get("inactive_file", 0)))
    except (OSError, ValueError):  # "max": no limit
        return None


def _free_address_space() -> int | None:
    """Return what `ulimit -v` leaves; None without a limit, and on Windows."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used)


def register_jxl() -> bool:
    """Let Pillow read and write JPEG XL. Returns False where pillow-jxl-plugin is not installed."""
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401

        return True
    return False


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats of `_PILLOW_FORMATS` that this Pillow was built with."""
    Image.init()
    register_jxl()
    return tuple(name for name in _PILLOW_FORMATS if name in Image.OPEN)
