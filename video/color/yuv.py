"""Convert planes of codes to float RGB and back, on any device, without changing a code.

On a CPU in bands of rows that stay in its caches, on a GPU the whole frame at once. All in float32: exact to a
hundredth of a code at 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..frames import Color, Layout
from . import chroma
from .matrices import CodeRange, is_cosited, luma_weights, rgb_from_ycc

_BAND_SAMPLES = 1 << 19  # of luma: 10 MB of float32 work, large enough that launching kernels costs little


def to_rgb(
    planes: Sequence[Tensor],
    layout: Layout,
    color: Color,
    device: torch.device | str | None = None,
    *,
    width: int,
    height: int,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Convert a frame's planes to RGB and alpha.

    Args:
        planes: as in `layout`, integers.
        layout, color: of the planes.
        device: of the results. None: that of the planes.
        width, height: of the frame.
        out: memory for rgb, of its shape, dtype and device. None allocates, which takes a CPU longer than the
            conversion of a 4K frame.

    Returns:
        rgb: (3, H, W) float32, or (1, H, W) for gray. 0 is black and 1 is white; no transfer function is applied. It is
            NOT clamped: codes above white, and out-of-gamut combinations of luma and chroma, which are common at edges
            in real video, are outside [0, 1]; see `split_gamut`.
        alpha: (1, H, W) float32 in [0, 1], straight, or None.

    Raises:
        ValueError: the planes do not fit the layout.
    """
    _check_planes(planes, layout, width, height)
    device = planes[0].device if device is None else torch.device(device)
    planes = [plane.to(device, non_blocking=True) for plane in planes]
    alpha = _scaled(planes[-1], 1 / (2**layout.depth - 1), 0, layout.depth)[None] if layout.alpha else None
    if out is None:
        out = torch.empty((1 if layout.model == "gray" else 3, height, width), dtype=torch.float32, device=device)
    if layout.model == "rgb":
        for channel in range(3):
            out[channel] = _scaled(planes[channel], 1 / (2**layout.depth - 1), 0, layout.depth)
        return out, alpha

    codes = CodeRange.of(layout.depth, color.full_range)
    gain, bias = 1 / codes.luma_scale, -codes.luma_offset / codes.luma_scale
    if layout.model == "gray":
        out[0] = _scaled(planes[0], gain, bias, layout.depth)
        return out, alpha

    differences = _chroma_differences(planes[1], planes[2], codes, color, layout.depth)
    cosited_x, cosited_y = is_cosited(color)
    x, y = layout.subsampling
    for level in reversed(range(y)):
        differences = chroma.up_rows(differences, -(-height >> level), cosited_y)
    for level in reversed(range(1, x)):
        differences = chroma.up_columns(differences, -(-width >> level), cosited_x)
    for rows in _bands(height, width, device):
        luma = planes[0][rows]
        if x == 0:
            torch.add(differences[:, rows], _scaled(luma, gain, bias, layout.depth), out=out[:, rows])
            continue
        odd, even = chroma.up_odd_even_columns(differences[:, rows], width, cosited_x)
        torch.add(even, _scaled(luma[:, 0::2], gain, bias, layout.depth), out=out[:, rows, 0::2])
        torch.add(odd, _scaled(luma[:, 1::2], gain, bias, layout.depth), out=out[:, rows, 1::2])
    return out, alpha


def from_rgb(rgb: Tensor, alpha: Tensor | None, layout: Layout, color: Color) -> tuple[Tensor, ...]:
    """Convert RGB and alpha to planes of codes on the same device, rounded to nearest.

    Gray becomes neutral color; color becomes gray by the luma of `color.matrix`.

    Args:
        rgb: (3, H, W), or (1, H, W) for gray, of any float type. Values outside [0, 1] become codes beyond black and
            white.
        alpha: (1, H, W). None is opaque if the layout has alpha. Ignored if it has none.
        layout, color: of the result, which may differ from those of the source.
    """
    height, width = rgb.shape[-2:]
    top = 2**layout.depth - 1
    planes: list[Tensor] = []
    if layout.model == "rgb":
        planes = [_codes(rgb[min(channel, rgb.shape[0] - 1)], top, 0, layout.depth) for channel in range(3)]
    else:
        planes = _luma_and_chroma(rgb, layout, color)
    if layout.alpha:
        if alpha is None:
            alpha = torch.ones((1, 1, 1), device=rgb.device).expand(1, height, width)
        planes.append(_codes(alpha[0], top, 0, layout.depth))
    return tuple(planes)


def split_gamut(rgb: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return (rgb clamped to [0, 1], overshoot): their sum is rgb, bit for bit. Overshoot is None if it is all zero.

    The network upscales the clamped image, and the enlarged overshoot is added to its result. So codes below black,
    above white and out of gamut survive. Synchronizes with the device.
    """
    low, high = torch.aminmax(rgb)
    if bool((low >= 0) & (high <= 1)):
        return rgb, None
    inside = rgb.clamp(0, 1)
    return inside, torch.sub(rgb, inside)


def _chroma_differences(cb: Tensor, cr: Tensor, codes: CodeRange, color: Color, depth: int) -> Tensor:
    """Return (3, h, w): the differences of R, G and B from luma, at the size of the chroma planes."""
    matrix = rgb_from_ycc(color.matrix) / codes.chroma_scale
    differences = torch.empty((3, *cb.shape), dtype=torch.float32, device=cb.device)
    cb, cr = (_scaled(plane, 1, -codes.chroma_offset, depth) for plane in (cb, cr))
    torch.mul(cr, float(matrix[0, 2]), out=differences[0])
    torch.mul(cb, float(matrix[1, 1]), out=differences[1]).add_(cr, alpha=float(matrix[1, 2]))
    torch.mul(cb, float(matrix[2, 1]), out=differences[2])
    return differences


def _luma_and_chroma(rgb: Tensor, layout: Layout, color: Color) -> list[Tensor]:
    height, width = rgb.shape[-2:]
    device = rgb.device
    codes = CodeRange.of(layout.depth, color.full_range)
    if rgb.shape[0] == 1:
        planes = [_codes(rgb[0], codes.luma_scale, codes.luma_offset, layout.depth)]
        if layout.model == "yuv":
            neutral = torch.full((), int(codes.chroma_offset), dtype=torch.int32, device=device).to(planes[0].dtype)
            planes += [neutral.expand(layout.size_of(p, width, height)).contiguous() for p in (1, 2)]
        return planes

    kr, kb = luma_weights(color.matrix)
    cosited_x, cosited_y = is_cosited(color)
    x, y = layout.subsampling
    luma_codes = torch.empty((height, width), dtype=_dtype(layout.depth), device=device)
    scales = (codes.chroma_scale / (2 * (1 - kb)), codes.chroma_scale / (2 * (1 - kr)))
    narrow = torch.empty((2, height if cosited_y else -(-height // 2) if y else height, -(-width >> x)), device=device)
    half_rows = bool(y) and not cosited_y  # can be downsampled band by band
    for rows in _bands(height, width, device):
        red, green, blue = rgb[:, rows].to(torch.float32)
        luma = torch.mul(red, kr).add_(green, alpha=1 - kr - kb).add_(blue, alpha=kb)
        luma_codes[rows] = _codes(luma, codes.luma_scale, codes.luma_offset, layout.depth)
        if layout.model == "gray":
            continue
        for index, primary in enumerate((blue, red)):
            difference = torch.sub(primary, luma)
            if half_rows:
                difference = chroma.down_rows(difference, False)
            for _ in range(x):
                difference = chroma.down_columns(difference, cosited_x)
            start = rows.start // 2 if half_rows else rows.start
            narrow[index, start : start + difference.shape[0]] = difference
    planes = [luma_codes]
    if layout.model == "yuv":
        for index in range(2):
            plane = narrow[index]
            for _ in range(y - half_rows):
                plane = chroma.down_rows(plane, cosited_y)
            planes.append(_codes(plane, scales[index], codes.chroma_offset, layout.depth))
    return planes


def _bands(height: int, width: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of an even number of rows that cover the height."""
    rows = height if device.type != "cpu" else max(2, _BAND_SAMPLES // width // 2 * 2)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _scaled(plane: Tensor, gain: float, bias: float, depth: int) -> Tensor:
    """Return code * gain + bias as float32."""
    if 8 < depth < 16:  # torch converts int16 several times faster than uint16, and these codes fit it
        values = plane.view(torch.int16).to(torch.float32)
    else:
        values = plane.to(torch.float32)
    if gain != 1:
        values.mul_(gain)
    return values.add_(bias) if bias else values


def _codes(values: Tensor, gain: float, bias: float, depth: int) -> Tensor:
    """Return value * gain + bias, rounded to the nearest valid code."""
    scaled = torch.mul(values.to(torch.float32), gain).add_(bias + 0.5).clamp_(0, 2**depth - 0.5)
    if depth == 8:
        return scaled.to(torch.uint8)
    if depth < 16:
        return scaled.to(torch.int16).view(torch.uint16)
    return scaled.to(torch.int32).to(torch.int16).view(torch.uint16)  # int32 -> int16 keeps the low bits


def _dtype(depth: int) -> torch.dtype:
    return torch.uint8 if depth <= 8 else torch.uint16


def _check_planes(planes: Sequence[Tensor], layout: Layout, width: int, height: int) -> None:
    shapes = [tuple(plane.shape) for plane in planes]
    wanted = [layout.size_of(index, width, height) for index in range(layout.planes)]
    if shapes != wanted:
        raise ValueError(f"planes of {layout} at {width}x{height} must be {wanted}, not {shapes}.")
    if any(plane.dtype != _dtype(layout.depth) for plane in planes):
        raise ValueError(f"planes of {layout.depth} bits must be {_dtype(layout.depth)}, not {planes[0].dtype}.")
