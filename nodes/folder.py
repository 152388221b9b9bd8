"""The node that upscales the images and videos of a folder, one after the other, as the command line does."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui
from spandrel import ImageModelDescriptor

from ..errors import SupertileError
from ..images.batch import Outcome, upscale_image_files
from ..images.io.warned import warned
from ..images.jobs import FileJob, plan_jobs
from ..images.journal import Journal
from ..inference.errors import UpscaleError
from ..inference.upscaler import Upscaler
from ..version import version
from ..video.batch import VideoOutcome, remove_leftovers, upscale_video_files
from ..video.kinds import VIDEO_SUFFIXES, split_jobs
from ..video.report import VideoProgress
from ..video.write.encoder_options import EncoderOptions
from ..video.write.encoders import CODECS
from ..weights.naming import name_of
from . import folders, host, whole_folders, widgets
from .folder_report import FolderReport
from .progress import FolderProgress
from .size import chosen_size
from .upscaling import upscaler_for

AS_SOURCE = "as the source"
IMAGE_FORMATS = [AS_SOURCE, "png", "jpg", "webp"]
SKIP_FINISHED, SKIP_ALL, OVERWRITE = "skip finished", "skip all", "overwrite"
IMAGE_QUALITY = 95
ROOM = 2048
"""Width and height of an image that ComfyUI frees memory for. Larger ones are computed in tiles if there is no more."""

_incomplete_runs = 0
"""Runs with failures. They change the fingerprint, so that the same prompt tries again."""


class UpscaleFolder(widgets.TiledNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SupertileUpscaleFolder",
            display_name="Upscale Folder (Supertile)",
            category="image/upscaling",
            description="Upscale all images and videos of a folder, one after the other, into a folder below the "
            "output folder. A run that was interrupted goes on where it stopped, and one bad file does not stop the "
            "others.",
            search_aliases=["batch upscale", "upscale directory", "upscale all images", "bulk upscale", "load images "
                            "from folder", "batch video", "image sequence", "supertile"],
            inputs=[
                io.UpscaleModel.Input("upscale_model"),
                io.Combo.Input(
                    "folder", options=whole_folders.source_folders(),
                    tooltip="The folder to upscale: ComfyUI's input or output folder, or one below. Other files than "
                    "images and videos are left alone.",
                ),
                io.Boolean.Input("subfolders", default=True, tooltip="Include the folders in this folder."),
                io.String.Input(
                    "output_folder", default="upscaled",
                    tooltip="Folder below ComfyUI's output folder for the results. They keep the names of their "
                    "sources, and the subfolders.",
                ),
                widgets.size(),
                io.Combo.Input(
                    "image_format", options=IMAGE_FORMATS, default=AS_SOURCE, optional=True,
                    tooltip="Format of the images. as the source: png where that format cannot be written.",
                ),
                io.Int.Input(
                    "image_quality", default=IMAGE_QUALITY, min=1, max=100, step=1, optional=True,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="Quality of JPEG and WebP. WebP is lossless at 100.",
                ),
                io.Combo.Input(
                    "video_codec", options=list(CODECS), default="auto", optional=True,
                    tooltip="auto: h264, in webm vp9. Videos stay mp4, mov, mkv or webm; all others become mkv, which "
                    "holds every codec. nvenc encodes on an NVIDIA GPU.",
                ),
                io.Int.Input(
                    "video_quality", default=int(EncoderOptions.quality), min=1, max=100, step=1, optional=True,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="The same scale for every codec. At 90 the loss from encoding is not visible.",
                ),
                io.Combo.Input(
                    "existing_files", options=[SKIP_FINISHED, SKIP_ALL, OVERWRITE], default=SKIP_FINISHED,
                    optional=True,
                    tooltip="What to do where a result exists. skip finished: skip what was made from the same source "
                    "with the same model and settings; report others and leave them alone. skip all: skip files of "
                    "unknown origin too. overwrite: make all again.",
                ),
                *widgets.computing(),
                *widgets.finishing(),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="How many files were done, skipped or failed, and why.",
                ),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls,
        tile: str | None = None,
        keep_colors: str | None = None,
        size: object = None,
        format: object = None,
        folder: object = None,
        output_folder: str | None = None,
    ) -> bool | str:
        """Check `folder`, instead of ComfyUI, which would accept only what is in the list, and `output_folder`."""
        try:
            if folder is not None and not whole_folders.is_source_folder(folder):  # None: linked
                named = folders.quoted(folder)
                return f"Value not in list: folder: {named} is not a folder below ComfyUI's input or output folder."
            if output_folder is not None:
                whole_folders.target_folder(output_folder)
        except UpscaleError as error:
            return str(error)
        return super().validate_inputs(tile, keep_colors, size, format)

    @classmethod
    def fingerprint_inputs(
        cls, folder: str | None = None, output_folder: str | None = None, **others: object
    ) -> object:
        try:
            places = [whole_folders.source_folder(folder or ""), whole_folders.target_folder(output_folder or "")]
        except UpscaleError:  # linked
            return float("nan")  # never equal: look each time
        return whole_folders.state(places), _incomplete_runs

    @classmethod
    def execute(
        cls,
        upscale_model: ImageModelDescriptor,
        folder: str,
        subfolders: bool = True,
        output_folder: str = "upscaled",
        size: dict[str, Any] | None = None,
        image_format: str = AS_SOURCE,
        image_quality: int = IMAGE_QUALITY,
        video_codec: str = "auto",
        video_quality: int = int(EncoderOptions.quality),
        existing_files: str = SKIP_FINISHED,
        keep_colors: str = "no",
        strength: float = 1.0,
        **computing: str,
    ) -> io.NodeOutput:
        host.check_model(upscale_model)
        of_upscaler = widgets.computing_options(**computing) | widgets.finishing_options(keep_colors, strength)
        source, target = whole_folders.source_folder(folder), whole_folders.target_folder(output_folder)

        def plain(sentence: str) -> str:
            return folders.without_folders(sentence).replace(str(source), folder)

        report = FolderReport(f"{folder} -> {whole_folders.shown(target)}", plain)
        options = {
            "size": chosen_size(size),
            "overwrite": existing_files == OVERWRITE,
            "skip_existing": existing_files == SKIP_ALL,
        }
        with warned(report.note):
            jobs = _jobs(source, target, subfolders, image_format, plain)
            with upscaler_for(upscale_model, ROOM, ROOM, of_upscaler) as upscaler:
                journal = Journal(
                    target, jobs, sources=[source], version=version(), model_name=name_of(upscale_model)
                )  # fmt: skip
                options |= {"journal": journal, "cancelled": host.cancelled}
                encoder = EncoderOptions(codec=video_codec, quality=video_quality)
                _run(jobs, upscaler, report, image_quality, encoder, options)
        global _incomplete_runs
        _incomplete_runs += report.failed > 0
        text = report.text()
        return io.NodeOutput(text, ui=ui.PreviewText(text))


def _jobs(
    source: Path, target: Path, subfolders: bool, image_format: str, plain: Callable[[str], str]
) -> list[FileJob]:
    """Plan the jobs of a folder. Raises UpscaleError."""
    format = None if image_format == AS_SOURCE else image_format
    try:
        jobs = plan_jobs(
            [source], f"{target}{os.sep}", format=format, video_suffixes=VIDEO_SUFFIXES,
            subfolders=subfolders, confined=True,
        )  # fmt: skip
    except SupertileError as error:
        raise UpscaleError(plain(str(error))) from error
    whole_folders.check_targets(jobs)
    remove_leftovers(jobs)
    return jobs


def _run(
    jobs: Sequence[FileJob],
    upscaler: Upscaler,
    report: FolderReport,
    image_quality: int,
    encoder: EncoderOptions,
    options: dict[str, Any],
) -> None:
    """Do the jobs, images first, and report on each. Files that are finished when the user interrupts are kept."""
    images, videos = split_jobs(jobs)
    progress, live = FolderProgress(len(jobs), host.ProgressBar()), host.LiveText()

    def within(done: int, total: int | None) -> None:
        progress.within(done, total)
        live(f"{report.counts()}\n{len(jobs) - progress.finished:,} of {len(jobs):,} files left")

    def within_video(now: VideoProgress) -> None:
        within(now.frames, now.expected)

    def inform(sentence: str) -> None:
        report.note(sentence, videos[progress.finished - len(images)])

    def outcomes() -> Generator[Outcome | VideoOutcome, None, None]:
        yield from upscale_image_files(images, upscaler, quality=image_quality, progress=within, **options)
        yield from upscale_video_files(
            videos, upscaler, encoder=encoder, progress=within_video, warn=_in_report, inform=inform, **options
        )

    with closing(outcomes()) as each:
        for outcome in each:
            report.add(outcome)
            progress.file_finished()
            within(0, None)
            host.cancelled()


def _in_report(sentence: str) -> None:
    """Leave warnings to the report of the video."""
