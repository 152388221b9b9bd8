"""Code a picture as a frame of H.264 and decode it again, in memory: what compression leaves of it."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray


def through_h264(pixels: NDArray[np.uint8], crf: int, *, preset: str = "veryfast") -> NDArray[np.uint8]:
    """Return an image as it is after H.264 in 4:2:0.

    Args:
        pixels: (H, W, 3) RGB.
        crf: x264's constant rate factor, from 0 to 51; 23 is its default, 18 hardly shows.
        preset: of x264.

    Returns:
        (H, W, 3) RGB.
    """
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
    encoder.thread_count = 1
    frame = av.VideoFrame.from_ndarray(_to_planes(even), format="yuv420p")
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    [decoded] = [each for packet in [*packets, None] for each in decoder.decode(packet)]
    planes = np.asarray(decoded.to_ndarray(), np.uint8)
    return _to_rgb(planes, *even.shape[:2])[:height, :width]


# BT.601, limited range. FFmpeg's own conversion shifts colors by a code, and networks would learn to do so.
_TO_YUV = (
    np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
    * np.array([[219], [224], [224]], np.float32)
    / np.float32(255)
)
_OFFSET = np.array([16, 128, 128], np.float32)
_TO_RGB = np.linalg.inv(_TO_YUV)


def _to_planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB with even sides as the planes of yuv420p, (3 H / 2, W)."""
    height, width = pixels.shape[:2]
    yuv = pixels.astype(np.float32) @ _TO_YUV.T + _OFFSET
    chroma = yuv[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean((1, 3))
    planes = [yuv[..., 0].ravel(), chroma[..., 0].ravel(), chroma[..., 1].ravel()]
    return np.concatenate(planes).round().clip(0, 255).astype(np.uint8).reshape(height * 3 // 2, width)


def _to_rgb(planes: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the planes of yuv420p as (H, W, 3) RGB."""
    luma = planes[:height].reshape(height, width, 1)
    chroma = planes[height:].reshape(2, height // 2, width // 2).transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)
    rgb = (np.concatenate([luma, chroma], 2).astype(np.float32) - _OFFSET) @ _TO_RGB.T
    return rgb.round().clip(0, 255).astype(np.uint8)
