"""Read PPM and PGM with more than 8 bits per channel, of which Pillow keeps 8, and PAM (netpbm.sourceforge.net/doc)."""

from __future__ import annotations

import re

import numpy as np

_CHANNELS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])"
_HEADER = re.compile(rb"(P[2356])" + (_SPACE + rb"+(\d{1,9})") * 2 + _SPACE + rb"+(\d{1,5})(?:#[^\r\n]*)?\s")
_PAM_HEADER = re.compile(rb"P7\s(.{1,4096}?)ENDHDR\s?\n", re.DOTALL)


class Pixmap:
    """The header of such a file.

    Attributes:
        width: in pixels.
        height: in pixels.
        channels: 1 to 4; a second or fourth is alpha.
    """

    def __init__(self, width: int, height: int, channels: int, maximum: int, start: int, is_text: bool) -> None:
        self.width, self.height, self.channels = width, height, channels
        self._maximum, self._start, self._is_text = maximum, start, is_text

    @classmethod
    def parse(cls, head: bytes) -> Pixmap | None:
        """Read a header. Returns None for files that Pillow reads as well."""
        if match := _HEADER.match(head):
            width, height, maximum = (int(match[group]) for group in (2, 3, 4))
            channels, is_text = _CHANNELS[match[1]], match[1] in (b"P2", b"P3")
        elif match := _PAM_HEADER.match(head):
            pairs = (line.split(None, 1) for line in match[1].splitlines() if not line.startswith(b"#"))
            values = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
            try:
                names = (b"WIDTH", b"HEIGHT", b"MAXVAL", b"DEPTH")
                width, height, maximum, channels = (int(values[name]) for name in names)
            except (KeyError, ValueError):
                return None
            is_text = False
        else:
            return None
        is_shallow = match[0][:2] != b"P7" and maximum < 256
        if is_shallow or not (0 < maximum < 65536 and width > 0 and height > 0 and 1 <= channels <= 4):
            return None
        return cls(width, height, channels, maximum, match.end(), is_text)

    def read(self, data: bytes) -> np.ndarray:
        """Return (H, W, channels) uint8 or uint16 that use all bits. Raises ValueError if `data`, the file, is cut."""
        sample, top = ("u1", 255) if self._maximum < 256 else (">u2", 65535)
        count = self.width * self.height * self.channels
        if self._is_text:
            text = re.sub(rb"#[^\r\n]*", b"", data[self._start :])
            values: np.ndarray = np.array(text.split()[:count], dtype=np.uint32)
        else:
            values = np.frombuffer(data, sample, min(count, (len(data) - self._start) // int(sample[-1])), self._start)
        if len(values) < count:
            raise ValueError(f"{len(values)} of {count} values are there")
        values = np.minimum(values, self._maximum).reshape(self.height, self.width, self.channels)
        if self._maximum != top:
            values = (values.astype(np.uint64) * top + self._maximum // 2) // self._maximum
        return values.astype(np.uint8 if top == 255 else np.uint16)
