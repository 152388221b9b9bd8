"""Translate tags from one container to another: drop, rename, and find those that MP4 has no field for."""

from __future__ import annotations

from collections.abc import Mapping

# Tags that muxers write about the file itself, which are wrong in another file.
_ABOUT_THE_FILE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "handler_name",
    "bps", "number_of_frames", "number_of_bytes", "_statistics_writing_app", "_statistics_writing_date_utc",
    "_statistics_tags", "source_id", "variant_bitrate", "alpha_mode", "rotate",
}  # fmt: skip
# Tags that MP4 and MOV have fields for. One other tag, and all are written as "mdta" keys, which fewer programs show.
_MOV_TAGS = frozenset({
    "title", "artist", "album", "date", "comment", "genre", "copyright", "location", "creation_time", "timecode",
})  # fmt: skip
_MP4_TAGS = _MOV_TAGS | {
    "album_artist", "composer", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network",
    "keywords", "episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation", "track",
    "disc",
}  # fmt: skip


_MOV_LANGUAGES = {
    "deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac", "hye": "arm",
    "kat": "geo", "bod": "tib", "mya": "bur", "msa": "may", "fre": "fra", "rum": "ron", "cze": "ces", "slo": "slk",
}  # fmt: skip


def custom_tags(metadata: Mapping[str, str], container: str) -> list[str]:
    """Return the keys of global tags that MP4 or MOV (FFmpeg's muxer name) has no field for."""
    if container not in ("mp4", "mov"):
        return []
    plain = _MP4_TAGS if container == "mp4" else _MOV_TAGS
    return [key for key in metadata if key.lower() not in plain]


def global_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a file that are valid for its upscaled version."""
    return {
        key: value
        for key, value in metadata.items()
        # MP4 reports a tag twice, with and without its language: "location-eng".
        if not _is_about_the_file(key) and not (key[-4:-3] == "-" and metadata.get(key[:-4]) == value)
    }


def stream_tags(metadata: Mapping[str, str], container: str = "") -> dict[str, str]:
    """Return the tags of a stream for a container (FFmpeg's muxer name).

    A title is read from MP4 as "name" and written as "title". For languages with two codes, MOV knows only one.
    """
    tags = {key: value for key, value in metadata.items() if not _is_about_the_file(key)}
    name = tags.pop("name", None)
    handler = metadata.get("handler_name", "")
    if "title" not in tags:
        if name:
            tags["title"] = name
        elif handler and not handler.endswith(("Handler", "handler", "Handle")) and not handler.startswith("\x00"):
            tags["title"] = handler
    if container == "mov" and (language := tags.get("language")):
        tags["language"] = _MOV_LANGUAGES.get(language, language)
    return tags


def _is_about_the_file(key: str) -> bool:
    key = key.lower()
    # Matroska adds a language to its statistics: "BPS-eng".
    return key in _ABOUT_THE_FILE or (key[-4:-3] == "-" and key[:-4] in _ABOUT_THE_FILE)
