"""The nodes that make videos larger: one for a graph, one for a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import Input, InputImpl, io, ui
from spandrel import ImageModelDescriptor

from ..images.size import runs_of_the_model
from ..video.container import CONTAINERS, SUFFIXES
from ..video.frames import is_turned
from ..video.kinds import VIDEO_SUFFIXES
from ..video.read.open import SourceOptions
from ..video.report import VideoProgress, VideoReport
from ..video.upscale import expected_frames, target_size, upscale_video
from ..video.write.encoder_options import PRESETS, EncoderOptions
from ..video.write.encoders import HARDWARE
from . import folders, host, widgets
from .size import size_words
from .upscaling import upscaler_for
from .video_input import VideoInput, trim, video_input

DEPTHS = ["auto", "8", "10", "12"]
MUXERS = {suffix[1:]: muxer for muxer, suffix in SUFFIXES.items()}  # "mkv" -> "matroska"
BYTES_PER_PIXEL = 200  # of the result, while a job runs: frames between the stages and in the encoder, as measured
LONGEST = 1_000_000.0  # seconds
DEFAULT = EncoderOptions()


class UpscaleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleVideo",
            display_name="Upscale Video",
            category="video",
            description="Make a video larger with an upscale model, frame by frame: it is never in memory as a whole. "
            "Keeps every frame and its time, the sound and the colors. Save Video copies the result as it is.",
            search_aliases=["video upscaler", "enlarge video", "super resolution", "4k video", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Video.Input("video"),
                widgets.size(),
                _codec("mp4"),
                _quality(),
                _bit_depth(),
                _preset(),
                *widgets.computing(),
            ],
            outputs=[io.Video.Output(), _report()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            has_intermediate_output=True,
        )  # fmt: skip

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
            chosen["bit_depth"] = str(video.get_bit_depth())
        place = folders.Place(io.FolderType.temp, "supertile", ".mp4")
        return _upscaled(cls, upscale_model, source, place, size, chosen)


class UpscaleVideoFile(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        formats = [io.DynamicCombo.Option(name, [_codec(name)]) for name in MUXERS]
        return io.Schema(
            node_id="SupertileUpscaleVideoFile",
            display_name="Upscale Video File",
            category="video",
            description="Make a video file larger, from the input folder into the output folder. For long videos: "
            "keeps all sound tracks, subtitles, chapters and attachments, and knows more formats than Save Video.",
            search_aliases=["video upscaler", "batch video", "save video", "prores", "ffv1", "mkv", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Combo.Input(
                    "file", options=folders.input_files((*VIDEO_SUFFIXES, ".gif")), upload=io.UploadType.video,
                    tooltip="A video or an animation in ComfyUI's input folder.",
                ),
                widgets.size(),
                io.String.Input(
                    "filename_prefix", default="video/Supertile",
                    tooltip="How the name in the output folder begins. %width%, %height%, %year%, %month%, %day%, "
                    "%hour%, %minute% and %second% are filled in.",
                ),
                io.DynamicCombo.Input("format", options=formats, tooltip="Container. mkv holds whatever a source has."),
                _quality(),
                _bit_depth(),
                _preset(),
                *widgets.computing(),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=LONGEST, step=0.1, advanced=True, optional=True,
                    tooltip="Seconds from the first frame at which to begin.",
                ),
                io.Float.Input(
                    "duration", default=0.0, min=0.0, max=LONGEST, step=0.1, advanced=True, optional=True,
                    tooltip="Seconds to be upscaled; 0 is all there is.",
                ),
                widgets.advanced(
                    "deinterlace", ["auto", "yes", "no"], "auto: frames that the source marks as interlaced. yes: all. "
                    "no: none.",
                ),
            ],
            outputs=[io.Video.Output(), _report()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

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
            raise ValueError(f"That format is not offered; choose {', '.join(MUXERS)}.")
        source = VideoInput(folders.input_path(file), SourceOptions(deinterlace=deinterlace), trim(start, duration))
        place = folders.Place(io.FolderType.output, filename_prefix, f".{container}")
        chosen["codec"] = chosen_format.get("codec", "auto")
        return _upscaled(cls, upscale_model, source, place, size, chosen)


def _upscaled(
    cls: Any,
    model: ImageModelDescriptor,
    source: VideoInput,
    place: folders.Place,
    size: dict[str, Any] | None,
    chosen: dict[str, Any],
) -> io.NodeOutput:
    """Run `upscale_video` for a node, and show what it does and what it did. All is written or nothing.

    chosen: the widgets for the encoder, and those of `widgets.computing`; what is not there is the default.
    """
    options = widgets.computing_options(**{name: chosen[name] for name in widgets.COMPUTING if name in chosen})
    depth = chosen.get("bit_depth", "auto")
    encoder = EncoderOptions(
        codec=chosen.get("codec", DEFAULT.codec),
        quality=chosen.get("quality", DEFAULT.quality),
        preset=chosen.get("preset", DEFAULT.preset),
        bit_depth=None if depth == "auto" else int(depth),
    )
    info = source.info()
    turned = is_turned(info.display_matrix)
    words = size_words(size, *((info.height, info.width) if turned else (info.width, info.height)))
    width, height = target_size(words, info, model.scale)
    runs = list(runs_of_the_model(info.width, info.height, (width, height), model.scale))
    largest = max(width * height, runs[-1][0] * runs[-1][1] * model.scale**2)
    host.check_ram(BYTES_PER_PIXEL * largest, f"frames of {width}x{height}", "choose a smaller size")
    if source.from_images:
        encoder = replace(encoder, pixel_format=_format_of_images(encoder.codec, depth, width, height))
    target = folders.new_file(place, width, height)

    bar = host.ProgressBar()
    bar(0, expected_frames(info) or 1)

    def progress(now: VideoProgress) -> None:
        bar(now.frames, now.expected or now.frames + 1)

    with upscaler_for(model, *runs[-1], options) as upscaler:
        report = upscale_video(
            source.source, target.path, upscaler, encoder=encoder, size=words, span=source.span,
            source_options=source.options, streams_from=source.streams_from, metadata=_metadata(cls),
            progress=progress, cancelled=host.cancelled,
        )  # fmt: skip
    # No images on the way: the page puts whatever a node of videos shows into a player, and keeps the last preview in
    # place of the result. For the same reason nothing is shown of what a browser does not play.
    playable = _plays_in_a_browser(report)
    shown = [ui.SavedResult(target.path.name, target.subfolder, place.folder)] if playable else []
    video = InputImpl.VideoFromFile(str(target.path))
    return io.NodeOutput(video, _told(report), ui=ui.PreviewVideo(shown))  # nothing, too, clears what was shown before


def _format_of_images(codec: str, depth: str, width: int, height: int) -> str:
    """Images have their colors in full; films do not, and hardly a player knows others."""
    if codec == "ffv1" or width % 2 or height % 2 or depth not in ("8", "10"):
        return "auto"
    if codec == "vp9" and depth != "8":  # not every build of its encoder has more
        return "auto"
    if codec.endswith("_nvenc"):
        return "auto"
    return "yuv420p" if depth == "8" else "yuv420p10le"


def _plays_in_a_browser(report: VideoReport) -> bool:
    if "264" in report.encoder:
        return report.pixel_format == "yuv420p"
    return "av1" in report.encoder or "vp9" in report.encoder


def _told(report: VideoReport) -> str:
    """The report in lines, by names without folders."""
    before, after = ("x".join(map(str, size)) for size in (report.source_size, report.target_size))
    lines = [
        f"file: {Path(report.target).name}",
        f"frames: {report.frames}",
        f"size: {before} -> {after}",
        f"encoder: {report.encoder}, {report.pixel_format}",
        f"time: {report.times.total:.1f} s, {report.fps:.2f} frames a second",
        *(f"note: {sentence}" for sentence in report.warnings),
    ]
    return "\n".join(lines)


def _metadata(cls: Any) -> dict[str, str]:
    """The workflow, as Save Video writes it, unless ComfyUI was told to write none."""
    if not folders.writes_metadata():
        return {}
    facts = {**(cls.hidden.extra_pnginfo or {})}
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
        tooltip=f"auto: {holds[0]}. h264 plays everywhere; hevc, av1 and vp9 are smaller; prores is for editing; ffv1 "
        "loses nothing; nvenc encodes on an NVIDIA card.",
    )


def _quality() -> Any:
    return io.Int.Input(
        "quality", default=int(DEFAULT.quality), min=1, max=100, step=1, optional=True,
        display_mode=io.NumberDisplay.slider,
        tooltip="The same scale for every codec; at 90 a viewer does not tell the file from what was encoded.",
    )  # fmt: skip


def _bit_depth() -> Any:
    return widgets.advanced("bit_depth", DEPTHS, "Bits a color. auto: as the source. 10 keeps gradients smoother.")


def _preset() -> Any:
    tooltip = "How long the encoder may take: slower files are smaller."
    return io.Combo.Input(
        "preset", options=list(PRESETS), default=DEFAULT.preset, advanced=True, optional=True, tooltip=tooltip
    )


def _report() -> Any:
    return io.String.Output(display_name="report", tooltip="What was done, and what could not be kept as it was.")
