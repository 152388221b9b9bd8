"""Metadata on its way from one container to another: what is dropped, renamed, and what MP4 has no field for."""

from __future__ import annotations

from collections.abc import Mapping

# What muxers write about the file itself, true of the old file only.
_OF_THE_FILE = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "handler_name",
    "bps", "number_of_frames", "number_of_bytes", "_statistics_writing_app", "_statistics_writing_date_utc",
    "_statistics_tags", "source_id", "variant_bitrate", "alpha_mode", "rotate",
}  # fmt: skip
# The tags that MP4 and MOV hold as such; with any other, all are written as "mdta" keys, which fewer programs show.
_MP4_TAGS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort", "season_number",
    "media_type", "hd_video", "gapless_playback", "compilation", "track", "disc", "creation_time", "sort_name",
    "sort_artist", "sort_album", "sort_album_artist", "sort_composer", "sort_show", "author", "performer", "location",
    "timecode", "language", "publisher", "podcast", "rating", "category",
}  # fmt: skip


def is_custom(key: str) -> bool:
    """Whether MP4 holds a tag only as a key of its own."""
    return key.lower() not in _MP4_TAGS


def global_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """The tags of a file that are true of its upscaled version too."""
    return {key: value for key, value in metadata.items() if not _is_of_the_file(key)}


def stream_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """The tags of a stream; MP4 calls a title "name" when it is read, and wants "title" when it is written."""
    tags = {key: value for key, value in metadata.items() if not _is_of_the_file(key)}
    name = tags.pop("name", None)
    handler = metadata.get("handler_name", "")
    if "title" not in tags:
        if name:
            tags["title"] = name
        elif handler and not handler.endswith(("Handler", "handler", "Handle")) and not handler.startswith("\x00"):
            tags["title"] = handler
    return tags


def _is_of_the_file(key: str) -> bool:
    key = key.lower()
    # Matroska's statistics carry a language: "BPS-eng".
    return key in _OF_THE_FILE or (key[-4:-3] == "-" and key[:-4] in _OF_THE_FILE)
