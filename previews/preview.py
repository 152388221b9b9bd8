"""`preview`: a few crops of an image or a video, by one or several models, and the estimate of the whole job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import SupertileError
from ..images.jobs import FileJob
from ..images.region import Box
from ..images.size import Size
from ..inference.errors import Cancelled
from ..inference.spec import UpscalerSpec
from ..video.frames import Span
from ..video.source_kind import source_kind
from ..weights.bundle import bundled_for
from ..weights.model_folders import MODEL_SUFFIXES
from .errors import PreviewError
from .estimates import JobEstimate, Pace, estimate_image_job, estimate_video_job
from .places import choose_places, place_at
from .sources import Opened, open_views
from .views import ImageView, View, bicubic, flat, luma_of, size_of, thumbnail

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)

RESULT_SIDE = 512
"""Pixels of a crop's result along a side, if the side is not given."""
_LEAST_SIDE, _LARGEST_SIDE = 48, 256  # of the source
_THUMBNAIL_SIDE = 360


@dataclass(frozen=True)
class Method:
    """One model of a preview.

    Attributes:
        name: as it is shown.
        target_size: (width, height) of the whole result.
        estimate: of the whole job.
    """

    name: str
    target_size: tuple[int, int]
    estimate: JobEstimate


@dataclass(frozen=True, eq=False)
class Crop:
    """One place.

    Attributes:
        box: of the source, upright.
        seconds: time of the frame; None for an image.
        whole: index of the frame's, or the image's, thumbnail.
        bicubic: (3, h, w) in [0, 1] for each method, in its size.
        results: (3, h, w) in [0, 1] of each method.
    """

    box: Box
    seconds: Fraction | None
    whole: int
    bicubic: tuple[Tensor, ...]
    results: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Preview:
    """Crops of a source beside bicubic. `sheet.draw_sheet` and `page.page_of` show it.

    Attributes:
        source: the file.
        source_size: (width, height), upright.
        frames: number of frames of a video; None for an image, or if it is unknown.
        methods: the models.
        crops: in the order in which they are shown.
        thumbnails: (3, h, w) in [0, 1] of the image, or of each frame.
        icc: color profile that describes all of them; None for sRGB.
        notes: sentences about how it is shown.
    """

    source: Path
    source_size: tuple[int, int]
    frames: int | None
    methods: tuple[Method, ...]
    crops: tuple[Crop, ...]
    thumbnails: tuple[Tensor, ...]
    icc: bytes | None
    notes: tuple[str, ...]


def preview(
    source: str | Path,
    models: Sequence[str | Path] = (),
    *,
    size: Size | str | None = None,
    denoise: Sequence[float] = (),
    at: Sequence[tuple[int, int]] = (),
    crops: int = 3,
    side: int | None = None,
    span: Span = Span(),
    mean: tuple[float, ...] | None = None,
    base_window: Any = None,
    device: str = "auto",
    estimate: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str], None] | None = None,
    **settings: Any,
) -> Preview:
    """Upscale a few crops as `upscale_image_file` and `upscale_video` would, before the encoder.

    A crop is computed with a margin that is cut off, so it equals that place of the whole result as closely as tiles
    do. Of an image, crops are chosen where it has texture and edges. A video, an animation and numbered images give one
    crop of each of a few frames, spread over them.

    Args:
        source: path of an image, a video, an animation or numbered images (frames/%06d.png).
        models: paths or names of models. None: the bundled network that the source decides, as `supertile upscale`.
        size: of the whole result, as `Size.parse` takes it; None: the scale of each model.
        denoise: strengths as `load_model` takes them; each model is shown with each of them.
        at: (x, y) of the centers of crops in the upright source, in pixels. None: chosen.
        crops: number of crops of an image unless `at` is given, or of frames.
        side: of a crop, in pixels of the source. None: so that its largest result has about 512.
        span: of a video, in which frames are taken.
        mean, base_window: as `load_model` takes them.
        device: to compute on.
        estimate: estimate time and size of the whole job, by computing some of it for up to half a minute.
        progress: called with the steps done, of how many, and what is done next.
        cancelled: called before every batch of tiles; if it returns True, `Cancelled` is raised.
        warn: called with sentences about the source. Default: the log.
        **settings: of `Upscaler`: precision, tile, overlap, batch, self_ensemble, compile.

    Returns:
        The preview. All images of it have 8 bits or more and the color of the source.

    Raises:
        PreviewError: a center lies outside, or `source` is a folder.
        PlanError, ImageFileError, VideoError: the source cannot be read.
        CheckpointError, UpscaleError, SizeError, ValueError: as loading and upscaling.
        Cancelled: `cancelled` returned True.
    """
    if crops < 1 or (side is not None and side < 1):
        raise ValueError(f"crops and side are at least 1, not {crops} and {side}")
    size = Size.coerce(size)
    opened = open_views(Path(source), crops, span, warn or _log.warning)
    names = list(models) or [_default_model(opened.job.source, size, denoise)]
    specs = [
        UpscalerSpec(name, mean, base_window, strength, tuple(settings.items()))
        for name in names
        for strength in (list(denoise) or [None])
    ]
    total = len(specs) * (_count(opened, at, crops) + (1 if estimate else 0))
    report = _Progress(progress, total)
    places: list[_Place] = []
    methods: list[Method] = []
    parts: list[list[tuple[Tensor, Tensor]]] = []  # bicubic and result of each place
    for spec, name in zip(specs, _names(specs), strict=True):
        report.next(name)
        upscaler = spec.build(device)
        if not places:
            places = _places(opened, at, crops, side or _side(opened.views[0], upscaler, size))
        method, pairs = _computed(opened, places, upscaler, size, span, name, estimate, report, cancelled)
        methods.append(method)
        parts.append(pairs)
    return Preview(
        source=opened.job.source,
        source_size=size_of(opened.views[0]),
        frames=opened.frames,
        methods=tuple(methods),
        crops=tuple(
            Crop(
                place.box,
                opened.views[place.view].seconds,
                place.view,
                tuple(pairs[number][0] for pairs in parts),
                tuple(pairs[number][1] for pairs in parts),
            )
            for number, place in enumerate(places)
        ),
        thumbnails=tuple(thumbnail(view, _THUMBNAIL_SIDE) for view in opened.views),
        icc=opened.icc,
        notes=opened.notes,
    )


@dataclass(frozen=True)
class _Place:
    view: int
    box: Box


class _Progress:
    """Counts steps; exceptions of the callback propagate."""

    def __init__(self, callback: Callable[[int, int, str], None] | None, total: int) -> None:
        self._callback, self._total, self._done = callback, total, 0

    def next(self, what: str, steps: int = 0) -> None:
        self._done += steps
        if self._callback is not None:
            self._callback(min(self._done, self._total), self._total, what)


def _computed(
    opened: Opened,
    places: list[_Place],
    upscaler: Upscaler,
    size: Size,
    span: Span,
    name: str,
    estimate: bool,
    report: _Progress,
    cancelled: Callable[[], bool] | None,
) -> tuple[Method, list[tuple[Tensor, Tensor]]]:
    """Compute all crops with one model, then the estimate."""
    results, times = [], []
    for place in places:
        view = opened.views[place.view]
        before = bicubic(view, place.box, view.target(upscaler, size))
        started = time.perf_counter()
        after = view.upscaled(place.box, upscaler, size, cancelled)
        work, whole = view.works(place.box, upscaler, size)
        times.append((time.perf_counter() - started) / work)
        results.append((before, after))
        report.next(name, 1)
    job_estimate = JobEstimate()
    if estimate:
        report.next(f"{name}: estimate of the whole job")
        warm = times[1:] or times  # the first crop loads kernels and fills caches
        pace = Pace(sum(warm) / len(warm), whole)
        try:
            if isinstance(view, ImageView):
                job_estimate = estimate_image_job(opened.job, view, upscaler, size, pace, results)
            else:
                job_estimate = estimate_video_job(
                    opened.job, upscaler, size, pace, opened.frames, span=span, source_options=opened.options
                )
        except Cancelled:
            raise
        except SupertileError as error:  # the crops are worth seeing all the same
            job_estimate = JobEstimate(problem=str(error))
        report.next(name, 1)
    method = Method(name, opened.views[0].target(upscaler, size), job_estimate)
    return method, [(flat(before), flat(after)) for before, after in results]


def _default_model(source: Path, size: Size, denoise: Sequence[float]) -> str:
    return bundled_for(size.common_factor, degraded=not denoise and source_kind(source).is_degraded)


def _names(specs: Sequence[UpscalerSpec]) -> list[str]:
    """Return names to show: without folder and suffix, unless two would be alike."""
    short = []
    for spec in specs:
        path = Path(spec.model)
        known = path.suffix.lower() in MODEL_SUFFIXES
        short.append(replace(spec, model=path.stem if known else path.name).name)
    return [
        name if short.count(name) == 1 else f"{spec.model}{name[len(Path(name).name) :]}"
        for name, spec in zip(short, specs, strict=True)
    ]


def _count(opened: Opened, at: Sequence[tuple[int, int]], crops: int) -> int:
    return len(opened.views) * (len(at) or (1 if len(opened.views) > 1 else crops))


def _side(view: View, upscaler: Upscaler, size: Size) -> int:
    """Return the side of a crop in pixels of the source whose result has about `RESULT_SIDE`."""
    width, _ = size_of(view)
    side = round(RESULT_SIDE * width / view.target(upscaler, size)[0])
    return min(max(side, _LEAST_SIDE), _LARGEST_SIDE)


def _places(opened: Opened, at: Sequence[tuple[int, int]], crops: int, side: int) -> list[_Place]:
    width, height = size_of(opened.views[0])
    for x, y in at:
        if not (0 <= x < width and 0 <= y < height):
            raise PreviewError(f"{x},{y} lies outside of {opened.job.source}, which has {width}x{height} pixels.")
    places = []
    for number, view in enumerate(opened.views):
        if at:
            places += [_Place(number, place_at(center, side, size_of(view))) for center in at]
        else:
            count = crops if isinstance(view, ImageView) else 1
            places += [_Place(number, box) for box, _ in choose_places(luma_of(view), count, side)]
    return places
