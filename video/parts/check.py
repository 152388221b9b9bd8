"""Compare the frames of finished parts with the packets of the source."""

from __future__ import annotations

import numpy as np

from ..errors import VideoError
from .folder import JobFolder, PartRecord
from .plan import Part, checksum_of

_NEIGHBORS = 2
"""Damage is counted when the reader meets it, which may be while an earlier or later part is written."""


def check_frames(folder: JobFolder) -> None:
    """Check that every frame of the source is in its part, and no other. All parts must be done.

    In a few files packets are no frames: VP8 has some that are never shown, and a field may have a packet of its own.
    So packets are believed only if the first part has exactly the frames that they announce.

    Raises:
        VideoError: a part has other frames, and the reader has reported no damage there.
    """
    agrees, damaged = [], []
    for part in folder.parts:
        record = folder.load(part) or PartRecord()
        agrees.append(has_announced_frames(part, record))
        damaged.append(any(record.damage.values()) or bool(record.missing_at_end))
        if not agrees[0]:
            return
    for index, part in enumerate(folder.parts):
        if not agrees[index] and not any(damaged[max(0, index - _NEIGHBORS) : index + _NEIGHBORS + 1]):
            record = folder.load(part) or PartRecord()
            if not record.frames:
                folder.forget(part)
                raise VideoError(f"The source could not be read in {folder.media(part)}; run the upscaling again.")
            raise VideoError(
                f"{folder.media(part)} has {record.frames} frames, but not the {part.expected} that the source "
                "announces there. supertile join makes a file of the frames that were decoded."
            )


def has_announced_frames(part: Part, record: PartRecord) -> bool:
    """Return True if the frames of a part are exactly those whose packets were scanned."""
    return record.frames == part.expected and checksum_of(np.sort(np.array(record.pts, np.int64))) == part.checksum
