"""`preview`: a few crops of an image or a video, by one or several models, and the estimate of the whole job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import SupertileError
from ..images.region import Box
from ..images.size import Size
from ..inference.errors import Cancelled
from ..inference.spec import UpscalerSpec
from ..video.frames import Span
from ..video.source_kind import source_kind
from ..weights.bundle import bundled_for
from ..weights.loader import inspect_checkpoint
from ..weights.model_folders import MODEL_SUFFIXES
from .errors import PreviewError
from .estimates import JobEstimate, Pace, estimate_image_job, estimate_video_job
from .places import choose_places, place_at
from .result import Crop, Method, Preview
from .sources import Opened, open_views
from .views import ImageView, Planes, bicubic, flat, luma_of, thumbnail

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_log = logging.getLogger(__name__)

RESULT_SIDE = 512
"""Pixels of a crop's result along a side, if the side is not given."""
_LEAST_SIDE, _LARGEST_SIDE = 16, 256  # of the source
_THUMBNAIL_SIDE = 360


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
        models: paths or names of models. Empty: the bundled network that the source decides, as `supertile upscale`.
        size: of the whole result, as `Size.parse` takes it; None: the scale of each model.
        denoise: strengths as `load_model` takes them; each model is shown with each of them.
        at: (x, y) of the centers of crops in the upright source, in pixels. Empty: chosen.
        crops: number of crops of an image unless `at` is given, or of frames.
        side: of a crop, in pixels of the source. None: so that its largest result has about 512.
        span: of a video, in which frames are taken.
        mean, base_window: as `load_model` takes them.
        device: to compute on.
        estimate: estimate time and size of the whole job, by computing some of it for up to half a minute.
        progress: called with the steps done, of how many, and what is done next.
        cancelled: called before every batch of tiles of the crops; if it returns True, `Cancelled` is raised.
        warn: called with sentences about the source. Default: the log.
        **settings: of `Upscaler`: precision, tile, overlap, batch, self_ensemble, compile.

    Returns:
        The preview.

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
    names: list[str | Path] = list(models)
    chosen: tuple[str, ...] = ()
    if not names:
        name, reason = _default_model(opened.job.source, size, denoise)
        names, chosen = [name], (reason,) if reason else ()
    strengths: Sequence[float | None] = denoise or (None,)
    specs = [
        UpscalerSpec(name, mean, base_window, strength, tuple(settings.items()))
        for name in names
        for strength in strengths
    ]
    # The headers also tell of wrong names before anything is computed.
    scale = max(inspect_checkpoint(name, mean=mean, base_window=base_window).scale for name in names)
    places = _places(opened, at, crops, side or _side(opened.views[0].size, size, scale))
    total = len(specs) * (len(places) + estimate)
    run = _Run(opened, places, size, span, estimate, progress, cancelled, total)
    methods: list[Method] = []
    parts: list[list[tuple[Tensor, Tensor]]] = []  # bicubic and result of each place
    for spec, name in zip(specs, _names(specs), strict=True):
        run.report(name, 0)
        upscaler = spec.build(device)
        method, pairs = run.compute(upscaler, name)
        methods.append(method)
        parts.append(pairs)
    return Preview(
        source=opened.job.source,
        source_size=opened.views[0].size,
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
        notes=(*chosen, *opened.notes),
    )


@dataclass(frozen=True)
class _Place:
    view: int
    box: Box


@dataclass
class _Run:
    """Computes the crops and the estimate of one model after another."""

    opened: Opened
    places: list[_Place]
    size: Size
    span: Span
    estimate: bool
    progress: Callable[[int, int, str], None] | None
    cancelled: Callable[[], bool] | None
    total: int
    done: int = 0

    def report(self, what: str, steps: int) -> None:
        self.done += steps
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total, what)

    def compute(self, upscaler: Upscaler, name: str) -> tuple[Method, list[tuple[Tensor, Tensor]]]:
        results, times = [], []
        for place in self.places:
            view = self.opened.views[place.view]
            before = bicubic(view, place.box, view.target(upscaler, self.size))
            started = time.perf_counter()
            after = view.upscaled(place.box, upscaler, self.size, self.cancelled)
            work, whole = view.works(place.box, upscaler, self.size)
            times.append((time.perf_counter() - started) / work)
            results.append((before, after))
            self.report(name, 1)
        job_estimate = JobEstimate()
        if self.estimate:
            self.report(f"{name}, the whole job", 0)
            warm = times[1:] or times  # the first crop loads kernels and fills caches
            job_estimate = self._estimate(upscaler, Pace(sum(warm) / len(warm), whole), results)
            self.report(name, 1)
        method = Method(name, self.opened.views[0].target(upscaler, self.size), job_estimate)
        return method, [(flat(before), flat(after)) for before, after in results]

    def _estimate(self, upscaler: Upscaler, pace: Pace, results: list[tuple[Planes, Planes]]) -> JobEstimate:
        opened, view = self.opened, self.opened.views[0]
        try:
            if isinstance(view, ImageView):
                return estimate_image_job(opened.job, view, upscaler, self.size, pace, results)
            return estimate_video_job(
                opened.job, upscaler, self.size, pace, opened.frames, span=self.span, source_options=opened.options
            )
        except Cancelled:
            raise
        except SupertileError as error:  # the crops are worth seeing all the same
            return JobEstimate(problem=str(error))


def _default_model(source: Path, size: Size, denoise: Sequence[float]) -> tuple[str, str]:
    """Return the name of the network that `supertile upscale` would take, and why, as a sentence or ""."""
    if denoise:
        return bundled_for(size.common_factor), ""
    kind = source_kind(source)
    name = bundled_for(size.common_factor, degraded=kind.is_degraded)
    return name, f"{source.name} {kind.reason}: {name}." if kind.reason else ""


def _names(specs: Sequence[UpscalerSpec]) -> list[str]:
    """Return names to show: without folder and suffix, unless two models would be alike."""
    short = [
        Path(spec.model).stem if Path(spec.model).suffix.lower() in MODEL_SUFFIXES else Path(spec.model).name
        for spec in specs
    ]
    models = {
        name: {str(spec.model) for spec, each in zip(specs, short, strict=True) if each == name} for name in short
    }
    names = []
    for spec, name in zip(specs, short, strict=True):
        strength = "" if spec.denoise is None else f", denoise {spec.denoise:g}"
        names.append((name if len(models[name]) == 1 else str(spec.model)) + strength)
    return names


def _side(source: tuple[int, int], size: Size, scale: int) -> int:
    """Return the side of a crop in pixels of the source whose largest result has about `RESULT_SIDE`."""
    side = round(RESULT_SIDE * source[0] / size.framing(*source, scale).scaled[0])
    return min(max(side, _LEAST_SIDE), _LARGEST_SIDE)


def _places(opened: Opened, at: Sequence[tuple[int, int]], crops: int, side: int) -> list[_Place]:
    width, height = opened.views[0].size
    for x, y in at:
        if not (0 <= x < width and 0 <= y < height):
            raise PreviewError(f"{x},{y} lies outside of {opened.job.source}, which has {width}x{height} pixels.")
    places = []
    for number, view in enumerate(opened.views):
        if at:
            places += [_Place(number, place_at(center, side, view.size)) for center in at]
        else:
            count = crops if isinstance(view, ImageView) else 1
            places += [_Place(number, box) for box, _ in choose_places(luma_of(view), count, side)]
    return places
