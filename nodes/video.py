"""The nodes that upscale videos: one for a video in a workflow, one for a file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from comfy_api.latest import Input, InputImpl, io, ui
from spandrel import ImageModelDescriptor

from ..images.size import runs_of_the_model
from ..inference.eight_bits import sentence
from ..inference.errors import UpscaleError
from ..video.container import CONTAINERS, SUFFIXES
from ..video.kinds import VIDEO_SUFFIXES
from ..video.memory import frame_shortage
from ..video.parts.job import JobOptions
from ..video.read.open import SourceOptions
from ..video.report import VideoProgress
from ..video.transcode import expected_frames
from ..video.upscale import target_framing, upscale_video
from ..video.write.encoder_options import PRESETS, EncoderOptions
from ..video.write.encoders import HARDWARE
from ..video.write.open import wants_even_sides
from . import folders, host, shown, widgets
from .size import chosen_size
from .upscaling import upscaler_for
from .video_input import VideoInput, trim, video_input
from .video_report import notes_of, report_text

DEPTHS = ["auto", "8", "10", "12"]
MUXERS = {suffix[1:]: muxer for muxer, suffix in SUFFIXES.items()}  # "mkv" -> "matroska"
SOURCES = (*VIDEO_SUFFIXES, ".gif")
MAX_SECONDS = 1_000_000.0
DEFAULT = EncoderOptions()


class UpscaleVideo(widgets.TiledNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleVideo",
            display_name="Upscale Video (Supertile)",
            category="video",
            description="Upscale a video with an upscale model, frame by frame: the whole video is never in memory. "
            "Keeps every frame and its time, the sound and the colors. Save Video copies the result without encoding "
            "it again.",
            search_aliases=["video upscale", "video upscaler", "enlarge video", "4k video", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Video.Input("video"),
                widgets.size(),
                _codec("mp4"),
                _quality(),
                _bit_depth(),
                _preset(),
                *widgets.computing(),
                *widgets.finishing(),
            ],
            outputs=[io.Video.Output(), _report_output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            has_intermediate_output=True,
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> object:
        return folders.count_of_vanished()

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        video: Any,
        size: dict[str, Any] | None = None,
        **chosen: Any,
    ) -> io.NodeOutput:
        host.check_model(upscale_model)
        source = video_input(video, Input.Video, lossless_sound=chosen.get("codec") == "ffv1")
        if source.from_images and chosen.get("bit_depth", "auto") == "auto":
            chosen["bit_depth"] = str(video.get_bit_depth() if hasattr(video, "get_bit_depth") else 8)  # older cores
        place = folders.Place(io.FolderType.temp, "supertile", ".mp4")
        return _upscaled(cls, upscale_model, source, place, size, chosen)


class UpscaleVideoFile(widgets.TiledNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        formats = [io.DynamicCombo.Option(name, [_codec(name)]) for name in MUXERS]
        return io.Schema(
            node_id="SupertileUpscaleVideoFile",
            display_name="Upscale Video File (Supertile)",
            category="video",
            description="Upscale a video file from the input folder into the output folder. For long videos: keeps all "
            "audio tracks, subtitles, chapters and attachments, and offers more formats than Save Video.",
            search_aliases=["video upscaler", "long video", "save video", "prores", "ffv1", "mkv", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Combo.Input(
                    "file", options=folders.input_files(SOURCES), upload=io.UploadType.video,
                    tooltip="A video or an animation in ComfyUI's input folder.",
                ),
                widgets.size(),
                io.String.Input(
                    "filename_prefix", default="video/Supertile",
                    tooltip="Start of the file name in the output folder. %width%, %height%, %year%, %month%, %day%, "
                    "%hour%, %minute% and %second% are replaced by their values.",
                ),
                io.DynamicCombo.Input(
                    "format", options=formats, tooltip="Container. mkv can hold everything in the source.",
                ),
                _quality(),
                _bit_depth(),
                _preset(),
                *widgets.computing(),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=MAX_SECONDS, step=0.1, advanced=True, optional=True,
                    tooltip="Where to start, in seconds from the first frame.",
                ),
                io.Float.Input(
                    "duration", default=0.0, min=0.0, max=MAX_SECONDS, step=0.1, advanced=True, optional=True,
                    tooltip="Seconds to upscale. 0: to the end.",
                ),
                widgets.advanced(
                    "deinterlace", ["auto", "yes", "no"], "auto: only frames that the source marks as interlaced. "
                    "yes: all frames. no: none.",
                ),
                *widgets.finishing(),
            ],
            outputs=[io.Video.Output(), _report_output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls,
        tile: str | None = None,
        keep_colors: str | None = None,
        size: object = None,
        format: object = None,
        file: object = None,
    ) -> bool | str:
        """Check `file`, instead of ComfyUI, which would accept only what is in the list."""
        if file is not None and not folders.is_input(file, SOURCES):  # None: linked
            return f"Value not in list: file: {folders.quoted(file)} is not a video in the input folder."
        return super().validate_inputs(tile, keep_colors, size, format)

    @classmethod
    def fingerprint_inputs(cls, file: str, **others: object) -> object:
        return folders.input_state(file)

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        file: str,
        size: dict[str, Any] | None = None,
        filename_prefix: str = "video/Supertile",
        format: dict[str, Any] | None = None,
        start: float = 0.0,
        duration: float = 0.0,
        deinterlace: str = "auto",
        **chosen: Any,
    ) -> io.NodeOutput:
        host.check_model(upscale_model)
        chosen_format = format or {}
        container = chosen_format.get("format")
        if container not in MUXERS:
            raise UpscaleError(f"The format {container!r} is not offered; choose {', '.join(MUXERS)}.")
        source = VideoInput(folders.input_path(file), SourceOptions(deinterlace=deinterlace), trim(start, duration))
        place = folders.Place(io.FolderType.output, filename_prefix, f".{container}")
        chosen["codec"] = chosen_format.get("codec", "auto")
        return _upscaled(cls, upscale_model, source, place, size, chosen)


@folders.naming_files()
def _upscaled(
    cls: Any,
    model: ImageModelDescriptor,
    source: VideoInput,
    place: folders.Place,
    size: dict[str, Any] | None,
    chosen: dict[str, Any],
) -> io.NodeOutput:
    """Run `upscale_video` for a node, with its progress bar. An incomplete file is never left behind.

    Parts that are done when the run is interrupted are kept, and the next run with the same source, model and settings
    goes on from there.

    chosen: values of the encoder's widgets, of `widgets.computing` and of `widgets.finishing`; missing ones have their
    default.
    """
    options = widgets.computing_options(**{name: chosen[name] for name in widgets.COMPUTING if name in chosen})
    options |= widgets.finishing_options(**{name: chosen[name] for name in widgets.FINISHING if name in chosen})
    depth = chosen.get("bit_depth", "auto")
    encoder = EncoderOptions(
        codec=chosen.get("codec", DEFAULT.codec),
        quality=chosen.get("quality", DEFAULT.quality),
        preset=chosen.get("preset", DEFAULT.preset),
        bit_depth=None if depth == "auto" else int(depth),
    )
    info = source.info()
    wanted = chosen_size(size)
    even = wants_even_sides(f"video{place.suffix}", info, encoder)
    framing = target_framing(wanted, info, model.scale, even=even)
    width, height = framing.size
    *_, largest = runs_of_the_model(info.width, info.height, framing.scaled, model.scale)
    sizes = (info.width, info.height), framing.scaled
    finished = options["keep_colors"] or options["strength"] < 1
    shortage = frame_shortage(
        *sizes, model.scale, host.device_of(model), finished=finished, free=host.free_ram()
    )  # fmt: skip
    if shortage is not None:
        raise UpscaleError(shortage)
    if source.from_images:
        encoder = replace(encoder, pixel_format=_format_of_images(encoder.codec, depth, width, height))
    target = folders.new_file(place, width, height)

    bar = host.ProgressBar()
    bar(0, expected_frames(info) or 1)
    notes: list[str] = []

    def inform(sentence: str) -> None:
        sentence = folders.without_folders(sentence.replace(f" {target.path}", ""))
        notes.append(sentence)
        folders.log.info("Upscale Video: %s", sentence)

    def progress(now: VideoProgress) -> None:
        bar(now.frames, now.expected or now.frames + 1)
        live(now)

    with upscaler_for(model, *largest, options) as upscaler, shown.LiveVideo() as live:
        report = upscale_video(
            source.source, target.path, upscaler, encoder=encoder, size=wanted, span=source.span,
            source_options=source.options, streams_from=source.streams_from, metadata=_metadata(cls),
            progress=progress, cancelled=host.cancelled,
            job=JobOptions(folder=folders.jobs_folder(place), numbered=True), inform=inform,
        )  # fmt: skip
        if upscaler.agreement is not None:
            inform(f"The {sentence(upscaler.agreement)}")
    if place.folder is io.FolderType.temp:
        folders.note_temporary(target.path)
    played, note = shown.video(target, place.folder, report)
    notes = [*notes_of(report, notes), *([note] if note else [])]
    text = report_text(report, notes)
    video = InputImpl.VideoFromFile(str(target.path))
    return io.NodeOutput(video, text, ui=ui.PreviewText(text).as_dict() | played)


def _format_of_images(codec: str, depth: str, width: int, height: int) -> str:
    """Return 4:2:0 where it is possible: images are 4:4:4, which hardly any player decodes."""
    if codec == "ffv1" or width % 2 or height % 2 or depth not in ("8", "10"):
        return "auto"
    if codec == "vp9" and depth != "8":  # not every build of its encoder supports more
        return "auto"
    if codec.endswith("_nvenc"):
        return "auto"
    return "yuv420p" if depth == "8" else "yuv420p10le"


def _metadata(cls: Any) -> dict[str, str]:
    """Return prompt and workflow as Save Video writes them; nothing if ComfyUI runs with --disable-metadata."""
    if not folders.writes_metadata():
        return {}
    given = cls.hidden.extra_pnginfo  # whatever a client of the API sends
    facts = dict(given) if isinstance(given, dict) else {}
    if cls.hidden.prompt is not None:
        facts["prompt"] = cls.hidden.prompt
    return {name: json.dumps(value) for name, value in facts.items()}


# --- widgets -----------------------------------------------------------------------------------------------------


def _codec(suffix: str) -> Any:
    holds = CONTAINERS[MUXERS[suffix]]
    hardware = [encoder for encoder, codec in HARDWARE.items() if codec in holds]
    return io.Combo.Input(
        "codec",
        options=["auto", *holds, *hardware],
        default="auto",
        optional=True,
        tooltip=f"auto: {holds[0]}. h264 plays everywhere; hevc, av1 and vp9 make smaller files; prores is for "
        "editing; ffv1 is lossless; nvenc encodes on an NVIDIA GPU.",
    )


def _quality() -> Any:
    return io.Int.Input(
        "quality", default=int(DEFAULT.quality), min=1, max=100, step=1, optional=True,
        display_mode=io.NumberDisplay.slider,
        tooltip="The same scale for every codec. At 90 the loss from encoding is not visible.",
    )  # fmt: skip


def _bit_depth() -> Any:
    tooltip = "Bits per color channel. auto: as in the source. 10 gives smoother gradients."
    return widgets.advanced("bit_depth", DEPTHS, tooltip)


def _preset() -> Any:
    tooltip = "Speed of the encoder: slower presets make smaller files."
    return io.Combo.Input(
        "preset", options=list(PRESETS), default=DEFAULT.preset, advanced=True, optional=True, tooltip=tooltip
    )


def _report_output() -> Any:
    return io.String.Output(display_name="report", tooltip="What was done, and what could not be kept.")
