"""Copy the samples of any FFmpeg pixel format into planes.

Samples are copied, not converted. Only palettes, Bayer patterns and formats whose bits cross byte borders go through
swscale, into the equal or next larger planar format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
import torch
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from torch import Tensor

from ..frames import Layout

_SUBSAMPLING = {
    "444": (0, 0), "422": (1, 0), "420": (1, 1), "440": (0, 1), "411": (2, 0), "410": (2, 2),
}  # fmt: skip

# Several samples side by side in a plane: name -> letters in their order in memory; "x" is padding.
_PACKED = {
    "rgb24": "rgb", "bgr24": "bgr", "rgba": "rgba", "bgra": "bgra", "argb": "argb", "abgr": "abgr",
    "rgb0": "rgbx", "bgr0": "bgrx", "0rgb": "xrgb", "0bgr": "xbgr", "rgb48": "rgb", "bgr48": "bgr",
    "rgba64": "rgba", "bgra64": "bgra", "ya8": "ya", "ya16": "ya",
    "yuyv422": "yuyv", "yvyu422": "yvyu", "uyvy422": "uyvy",
    "y210": "yuyv", "y212": "yuyv", "y216": "yuyv",
    "vuya": "vuya", "vuyx": "vuyx", "ayuv": "ayuv", "uyva": "uyva", "vyu444": "vyu",
    "ayuv64": "ayuv", "xv36": "uyvx", "xv48": "uyvx",
}  # fmt: skip
_DEEP_PACKED = {"y210": 10, "y212": 12, "xv36": 12}  # in the high bits of 16

# Interleaved chroma: name -> (subsampling, "uv" or "vu", depth); above 8 bits the codes lie in the high bits of 16.
_SEMIPLANAR = {
    "nv12": ("420", "uv", 8), "nv21": ("420", "vu", 8), "nv16": ("422", "uv", 8),
    "nv24": ("444", "uv", 8), "nv42": ("444", "vu", 8),
    "p010": ("420", "uv", 10), "p012": ("420", "uv", 12), "p016": ("420", "uv", 16),
    "p210": ("422", "uv", 10), "p212": ("422", "uv", 12), "p216": ("422", "uv", 16),
    "p410": ("444", "uv", 10), "p412": ("444", "uv", 12), "p416": ("444", "uv", 16),
}  # fmt: skip

# Formats that swscale converts to planar or byte-packed ones without loss.
_BY_SWSCALE = {
    "pal8": "rgba", "monow": "gray", "monob": "gray", "uyyvyy411": "yuv411p",
    "rgb8": "rgb24", "bgr8": "rgb24", "rgb4": "rgb24", "bgr4": "rgb24", "rgb4_byte": "rgb24", "bgr4_byte": "rgb24",
    "x2rgb10le": "gbrp10le", "x2bgr10le": "gbrp10le", "xv30le": "yuv444p10le", "v30xle": "yuv444p10le",
}  # fmt: skip


@dataclass(frozen=True)
class PixelFormat:
    """Where the planes of a Layout are in a decoded frame.

    Attributes:
        sources: for each plane of the layout: (FFmpeg's plane, first sample of a row, step between samples).
        shift: bits by which codes are shifted up.
        byte_order: "<" or ">".
        convert_to: pixel format that swscale converts the frame to first.
        full_range: True if the format's name implies full range (yuvj, RGB).
    """

    layout: Layout
    sources: tuple[tuple[int, int, int], ...]
    shift: int = 0
    byte_order: str = "<"
    convert_to: str | None = None
    full_range: bool = False


@cache
def pixel_format(name: str) -> PixelFormat:
    """Return the format of a name such as "yuv420p10le". Raises KeyError for hardware surfaces, floats and 32 bits."""
    if (known := _planar(name) or _packed(name) or _semiplanar(name)) is not None:
        return known
    convert_to = _BY_SWSCALE.get(name) or _nearest_planar(name)
    known = pixel_format(convert_to)
    return PixelFormat(
        known.layout, known.sources, known.shift, known.byte_order, convert_to, known.layout.model == "rgb"
    )


def _planar(name: str) -> PixelFormat | None:
    if match := re.fullmatch(r"yuv([aj]?)(\d{3})p(\d*)(msb)?(le|be)?", name):
        kind, sampling, bits, high, order = match.groups()
        depth = int(bits or 8)
        layout = Layout("yuv", depth, _SUBSAMPLING[sampling], kind == "a")
        planes = range(layout.planes)
    elif match := re.fullmatch(r"gbr(a?)p(\d*)(msb)?(le|be)?", name):
        kind, bits, high, order = match.groups()
        depth = int(bits or 8)
        layout = Layout("rgb", depth, alpha=kind == "a")
        planes = (2, 0, 1, 3)[: layout.planes]  # type: ignore[assignment]
    elif match := re.fullmatch(r"gray(\d*)(msb)?(le|be)?", name):
        kind, (bits, high, order) = "", match.groups()
        depth = int(bits or 8)
        layout, planes = Layout("gray", depth), range(1)
    else:
        return None
    if not 8 <= depth <= 16:  # gbrpf32 says "p", "f32": it does not match; gray32 does
        return None
    shift = 16 - depth if high else 0
    full = kind == "j" or layout.model == "rgb"
    return PixelFormat(layout, tuple((p, 0, 1) for p in planes), shift, ">" if order == "be" else "<", None, full)


def _packed(name: str) -> PixelFormat | None:
    base, order = _without_order(name)
    letters = _PACKED.get(base)
    if letters is None:
        return None
    depth = _DEEP_PACKED.get(base, 16 if re.search(r"(16|48|64)$", base) else 8)
    halved = letters.count("y") == 2
    wanted = "rgb" if "r" in letters else "yuv" if "u" in letters else "y"
    model = {"rgb": "rgb", "yuv": "yuv", "y": "gray"}[wanted]
    alpha = "a" in letters
    sources = []
    for letter in wanted + "a" * alpha:
        step = 2 if halved and letter == "y" else len(letters)
        sources.append((0, letters.index(letter), step))
    layout = Layout(model, depth, (1, 0) if halved else (0, 0), alpha)
    shift = 16 - depth if depth > 8 else 0
    return PixelFormat(layout, tuple(sources), shift, order, None, model == "rgb")


def _semiplanar(name: str) -> PixelFormat | None:
    base, order = _without_order(name)
    if base == "nv20":  # the only one with codes in the low bits
        sampling, letters, depth, shift = "422", "uv", 10, 0
    elif base in _SEMIPLANAR:
        sampling, letters, depth = _SEMIPLANAR[base]
        shift = 16 - depth if depth > 8 else 0
    else:
        return None
    sources = ((0, 0, 1), (1, letters.index("u"), 2), (1, letters.index("v"), 2))
    return PixelFormat(Layout("yuv", depth, _SUBSAMPLING[sampling]), sources, shift, order)


def _without_order(name: str) -> tuple[str, str]:
    if name.endswith(("le", "be")):
        return name[:-2], ">" if name.endswith("be") else "<"
    return name, "<"


def _nearest_planar(name: str) -> str:
    """Return a format that holds as many bits and the same components."""
    if re.search(r"f16|f32|32$|96|128", _without_order(name)[0]):
        raise KeyError(name)  # floats and 32 bits: linear light in an unknown scale
    try:
        components = av.VideoFormat(name, 16, 16).components
    except ValueError:
        raise KeyError(name) from None
    if not components:
        raise KeyError(name)  # a hardware surface
    deep = max(component.bits for component in components) > 8
    alpha = any(component.is_alpha for component in components)
    if name.startswith("gray"):
        return "gray16le" if deep else "gray"
    return {
        (False, False): "rgb24", (False, True): "rgba", (True, False): "gbrp16le", (True, True): "gbrap16le",
    }[deep, alpha]  # fmt: skip


def planes_of(frame: av.VideoFrame, reformatter: VideoReformatter) -> tuple[Tensor, ...]:
    """Return copies of the planes of a decoded frame, in the order of its Layout.

    reformatter: for the few formats that need swscale. One per thread is enough.
    """
    known = pixel_format(frame.format.name)
    if known.convert_to is not None:
        frame = reformatter.reformat(frame, format=known.convert_to)
    if any(frame.planes[source[0]].line_size < 0 for source in known.sources):
        frame = _right_way_up(frame)
    layout = known.layout
    rows: dict[int, np.ndarray] = {}
    planes = []
    for index, (source, first, step) in enumerate(known.sources):
        height, width = layout.size_of(index, frame.width, frame.height)
        if source not in rows:
            plane = frame.planes[source]
            dtype = np.dtype(np.uint8 if layout.depth == 8 else f"{known.byte_order}u2")
            line = plane.line_size // dtype.itemsize
            rows[source] = np.frombuffer(memoryview(plane), dtype, height * line).reshape(height, line)
        samples = rows[source][:, first : first + (width - 1) * step + 1 : step]
        samples = samples.astype(np.uint8 if layout.depth == 8 else np.uint16)  # always a copy, native order
        if known.shift:
            samples >>= known.shift
        planes.append(torch.from_numpy(samples))
    return tuple(planes)


def cropped(planes: tuple[Tensor, ...], layout: Layout, crop: tuple[int, int, int, int]) -> tuple[Tensor, ...]:
    """Return planes without the columns and rows at the (left, top, right, bottom).

    left and top are whole chroma samples; of chroma at the right and bottom as many are kept as luma needs.
    """
    if not any(crop):
        return planes
    left, top, right, bottom = crop
    height, width = planes[0].shape
    result = []
    for index, plane in enumerate(planes):
        x, y = layout.subsampling if layout.model == "yuv" and index in (1, 2) else (0, 0)
        rows, columns = layout.size_of(index, width - left - right, height - top - bottom)
        result.append(plane[top >> y :, left >> x :][:rows, :columns].contiguous())
    return tuple(result)


def _right_way_up(frame: av.VideoFrame) -> av.VideoFrame:
    """Flip the rows of a frame that is stored bottom-up, as in raw AVI: PyAV's buffer would exceed its memory."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add("copy"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()  # type: ignore[return-value]
