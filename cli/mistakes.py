"""Mistakes in the arguments of `supertile upscale` that are refused."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from ..errors import SupertileError

_CODEC_ALIASES = {
    "h265": "hevc", "h.265": "hevc", "x265": "hevc", "libx265": "hevc", "hvc1": "hevc", "h.264": "h264", "x264": "h264",
    "libx264": "h264", "avc": "h264", "avc1": "h264", "libvpx-vp9": "vp9", "vp8": "vp9", "libsvtav1": "av1",
    "svtav1": "av1", "aom": "av1", "libaom-av1": "av1", "prores_ks": "prores", "nvenc": "h264_nvenc",
    "h265_nvenc": "hevc_nvenc",
}  # fmt: skip


class UsageMistakeError(SupertileError):
    """Arguments that cannot be meant. The message is one sentence."""

    exit_code = 2


def check_encoder_names(codec: str, preset: str | None) -> None:
    """Refuse unknown codecs and presets, with the nearest known name. Raises UsageMistakeError."""
    from ..video.write.encoder_options import PRESETS
    from ..video.write.encoders import CODECS

    if codec not in CODECS:
        _refuse("codec", codec, CODECS, _CODEC_ALIASES)
    if preset is not None and preset not in PRESETS:
        _refuse("preset", preset, PRESETS, {"slowest": "veryslow", "fastest": "ultrafast"})


def check_combination(model: bool, options: Mapping[str, bool]) -> None:
    """Refuse to combine other models with one that each source would choose. Raises UsageMistakeError.

    Args:
        model: whether the first model is given.
        options: whether each option that names another one was given, by its name.
    """
    for name, is_given in options.items():
        if is_given and not model:
            raise UsageMistakeError(f"{name} needs --model, which says what the first model is.")


def _refuse(kind: str, name: str, known: Collection[str], aliases: Mapping[str, str]) -> None:
    near = aliases.get(name.lower()) or next(iter(difflib.get_close_matches(name.lower(), known, n=1)), None)
    hint = f"did you mean {near}? The" if near else "the"
    raise UsageMistakeError(f"The {kind} {name!r} is unknown; {hint} {kind}s are {', '.join(known)}.")
