"""`ColorTags`: what a file says of its colors besides an ICC profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SRGB_GAMMA = 45455
_SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_SRGB_CICP = (1, 13)


@dataclass(frozen=True)
class ColorTags:
    """The chunks of a PNG that describe colors, byte for byte.

    Attributes:
        chunks: (kind, content) of cICP, sRGB, gAMA, cHRM, mDCV and cLLI.
    """

    chunks: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def from_cicp(cls, primaries: int, transfer: int) -> ColorTags:
        """Describe RGB of full range by code points of ITU-T H.273."""
        return cls(((b"cICP", bytes([primaries, transfer, 0, 1])),))

    def content(self, kind: bytes) -> bytes | None:
        """Return the content of a chunk; None if there is no such chunk."""
        return dict(self.chunks).get(kind)

    @property
    def cicp_transfer(self) -> int | None:
        """The TransferCharacteristics of ITU-T H.273 in cICP; None without cICP."""
        cicp = self.content(b"cICP")
        return cicp[1] if cicp and len(cicp) == 4 else None

    @property
    def exponent(self) -> float | None:
        """The exponent from values to light that gAMA means; None without gAMA, and where sRGB takes its place."""
        value = self._gamma
        if self.content(b"sRGB") is not None or not value or value == _SRGB_GAMMA:
            return None
        return 100000 / value

    @property
    def _gamma(self) -> int | None:
        content = self.content(b"gAMA")
        return struct.unpack(">I", content)[0] if content and len(content) == 4 else None

    @property
    def lost_without_chunks(self) -> list[str]:
        """Names of what a format without such chunks loses: none for plain sRGB."""
        lost = []
        cicp, primaries = self.content(b"cICP"), self.content(b"cHRM")
        if cicp and tuple(cicp[:2]) != _SRGB_CICP:
            lost.append("cICP")
        if self.content(b"sRGB") is None:
            if self._gamma not in (None, 0, _SRGB_GAMMA):
                lost.append("gAMA")
            if primaries and primaries != struct.pack(">8I", *_SRGB_PRIMARIES):
                lost.append("cHRM")
        return lost + [kind.decode() for kind in (b"mDCV", b"cLLI") if self.content(kind)]
