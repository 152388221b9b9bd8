"""Read frames from numbered images and animated WebP files."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...images.io.errors import ImageFileError
from ...images.io.files import read_image
from ...images.io.picture import Picture
from ...images.io.sixteen_bit import is_sixteen_bit_color
from ..container import check_dimensions
from ..errors import VideoError
from ..frames import Color, Frame, Layout, ReadReport, Span, VideoInfo
from ..kinds import NUMBER
from .file import python_warning

_GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


def exact_rate(rate: Fraction | float | str) -> Fraction:
    """Return frames per second as a fraction. NTSC rates such as 23.976 and 29.97 become 24000/1001 and 30000/1001.

    A string may be "25", "23.976" or "24000/1001".

    Raises:
        ValueError: the rate is not a number above 0 and up to 100,000.
    """
    try:
        exact = Fraction(rate)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        exact = Fraction(0)
    if not 0 < exact <= 100_000:
        raise ValueError(f"frame_rate must be a positive number of frames per second, not {rate!r}.")
    nearest = round(exact * Fraction(1001, 1000))
    ntsc = Fraction(nearest * 1000, 1001)
    if exact.denominator not in (1, 2) and nearest and abs(exact - ntsc) < exact / 20_000:
        return ntsc
    return exact.limit_denominator(1_000_000)


class ImageSource:
    """Base of sources without a video file: subclasses set `info` and `_frames`."""

    info: VideoInfo
    report: ReadReport

    def __init__(self) -> None:
        self.report = ReadReport()
        self._frames: Iterator[Frame] = iter(())

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.report.frames += 1
            yield frame

    def close(self) -> None:
        """Close the source. Frames that were returned stay valid."""
        with suppress(AttributeError, ValueError):
            self._frames.close()  # type: ignore[attr-defined]
        self._frames = iter(())

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ImageSequenceReader(ImageSource):
    """RGB or gray frames from image files, at their full depth, with alpha.

    The layout has color, alpha or 16 bits if any of the images has. EXIF orientation is applied.

    Args:
        source: a pattern with one %d or %06d in its file name, such as "frames/%06d.png", which stands for all
            existing numbers in rising order; or a list of files in order.
        frame_rate: frames per second, as `exact_rate` takes it.
        span: seconds; images with start <= time < end are returned.
        warn: called once if numbers are missing. Later images move up.

    Raises:
        VideoError: the pattern or the span matches no image, or an image is missing, damaged or of another size than
            the first. The message names the file.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        frame_rate: Fraction | float | str,
        *,
        span: Span = Span(),
        warn: Callable[[str], None] = python_warning,
    ) -> None:
        super().__init__()
        rate = exact_rate(frame_rate)
        span.validate()
        if isinstance(source, (str, Path)):
            name, files = str(source), _numbered(Path(source), warn)
        else:
            files = [Path(each) for each in source]
            name = f"the list that starts with {files[0]}" if files else "the empty list"
        first = math.ceil((span.start or 0) * rate)
        last = len(files) if span.end is None else min(len(files), math.ceil(span.end * rate))
        files = files[first:last]
        if not files:
            raise VideoError(f"{name} matches no image{' in the given time span' if span != Span() else ''}.")
        layout, width, height = _common_layout(files)
        self.info = VideoInfo(
            name=name, width=width, height=height, layout=layout, color=Color(0, True), time_base=1 / rate,
            frame_rate=rate, codec=files[0].suffix.lower().lstrip("."), start_pts=first, duration=len(files),
            frames=len(files),
        )  # fmt: skip
        self._frames = self._read(files)

    def _read(self, files: list[Path]) -> Iterator[Frame]:
        for pts, path in enumerate(files, self.info.start_pts):
            yield Frame(_planes_of_image(_picture(path), self.info, path), pts, 1)


def _numbered(pattern: Path, warn: Callable[[str], None]) -> list[Path]:
    """Return the files of a pattern, by number; warn once about missing numbers."""
    if len(NUMBER.findall(pattern.name)) != 1:
        raise VideoError(f"{pattern} must contain exactly one number such as %06d, in its file name.")
    before, after = NUMBER.split(pattern.name)[0], NUMBER.split(pattern.name)[2]
    digits = int(NUMBER.findall(pattern.name)[0] or 0)
    regular = re.compile(re.escape(before.replace("%%", "%")) + r"(\d+)" + re.escape(after.replace("%%", "%")))
    try:
        names = [path.name for path in pattern.parent.iterdir()]
    except OSError as error:
        raise VideoError(f"{pattern}: the folder {pattern.parent} cannot be read: {error.strerror}.") from None
    found = {}
    for name in names:
        match = regular.fullmatch(name)
        if match and f"{int(match[1]):0{digits}d}" == match[1]:
            found[int(match[1])] = pattern.parent / name
    numbers = sorted(found)
    missing = [a + 1 for a, b in itertools.pairwise(numbers) if b != a + 1]
    if missing:
        count = numbers[-1] - numbers[0] + 1 - len(numbers)
        warn(f"{pattern}: {count} numbers are missing, first {missing[0]}. Later images move up to close the gap.")
    return [found[number] for number in numbers]


def _common_layout(files: Sequence[Path]) -> tuple[Layout, int, int]:
    """Return (layout that holds all images, width, height), from the headers of the files."""
    first = _picture(files[0])
    width, height = first.width, first.height
    check_dimensions(width, height, str(files[0]))
    color, alpha, deep = not first.is_gray, first.alpha is not None, first.bit_depth > 8
    for path in files[1:]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(path) as image:
                    own = image.size
                    color |= image.mode not in _GRAY_MODES
                    alpha |= image.has_transparency_data
                    deep |= is_sixteen_bit_color(image) or image.mode.startswith("I")
            except Exception:  # read_image raises the error with a message
                picture = _picture(path)
                own = (picture.width, picture.height)
                color, alpha = color or not picture.is_gray, alpha or picture.alpha is not None
                deep |= picture.bit_depth > 8
        if sorted(own) != sorted((width, height)):  # rotation is known only after reading
            _check_size(own, (width, height), path)
    return Layout("rgb" if color else "gray", 16 if deep else 8, alpha=alpha), width, height


def _check_size(own: tuple[int, int], size: tuple[int, int], path: Path) -> None:
    if own != size:
        raise VideoError(f"{path} has {own[0]}x{own[1]} pixels, but the images before it have {size[0]}x{size[1]}.")


def _picture(path: Path) -> Picture:
    try:
        return read_image(path)
    except ImageFileError as error:
        raise VideoError(str(error)) from error


def _planes_of_image(picture: Picture, info: VideoInfo, path: Path) -> tuple[Tensor, ...]:
    layout = info.layout
    _check_size((picture.width, picture.height), (info.width, info.height), path)
    if (layout.model == "gray" and not picture.is_gray) or (picture.alpha is not None and not layout.alpha):
        raise VideoError(f"{path} changed while it was read.")
    codes = torch.from_numpy(picture.codes(layout.depth))  # (H, W, channels)
    color = [codes[..., 0]] * 3 if picture.is_gray else [codes[..., i] for i in range(3)]
    planes = color[: 1 if layout.model == "gray" else 3]
    if layout.alpha:
        opaque = np.full((info.height, info.width), 2**layout.depth - 1, np.uint8 if layout.depth == 8 else np.uint16)
        planes = [*planes, codes[..., -1] if picture.alpha is not None else torch.from_numpy(opaque)]
    return tuple(plane.contiguous() for plane in planes)


class AnimatedWebpReader(ImageSource):
    """The composed frames of an animated WebP with their delays: RGB with alpha, 8 bits.

    Read with Pillow, because FFmpeg cannot decode animated WebP. A delay of 0, which players interpret differently,
    becomes 0.1 s and is counted in `repaired_pts`.

    Args:
        path: the file.
        span: seconds; frames with start <= time < end are returned.

    Raises:
        VideoError: the file cannot be read, or has no frame in the span.
    """

    def __init__(self, path: str | Path, *, span: Span = Span()) -> None:
        super().__init__()
        span.validate()
        self._path = Path(path)
        try:
            delays = webp_delays(self._path)
            self._image = Image.open(self._path, formats=("WEBP",))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VideoError(f"{path} cannot be read as an animated WebP: {error}.") from error
        width, height = self._image.size
        self.report.repaired_pts = delays.count(0)
        delays = [delay or 100 for delay in delays]
        times = np.cumsum([0, *delays]).tolist()
        last = times[-1] if span.end is None else min(times[-1], math.ceil(span.end * 1000))
        chosen = [i for i, time in enumerate(times[:-1]) if (span.start or 0) * 1000 <= time < last]
        if not chosen:
            self.close()
            raise VideoError(f"{path} has no frame in the given time span.")
        self.info = VideoInfo(
            name=str(path), width=width, height=height, layout=Layout("rgb", 8, alpha=True), color=Color(0, True),
            time_base=Fraction(1, 1000), frame_rate=Fraction(1000 * len(delays), times[-1]).limit_denominator(1001),
            codec="webp", start_pts=times[chosen[0]], duration=last - times[chosen[0]], frames=len(chosen),
        )  # fmt: skip
        self._frames = self._read([(i, times[i], min(times[i + 1], last) - times[i]) for i in chosen])

    def _read(self, wanted: list[tuple[int, int, int]]) -> Iterator[Frame]:
        for index, pts, duration in wanted:
            try:
                self._image.seek(index)
                codes = torch.from_numpy(np.array(self._image.convert("RGBA")))
            except (OSError, ValueError, EOFError, SyntaxError) as error:
                raise VideoError(f"{self._path} is damaged at frame {index + 1}: {error}.") from error
            yield Frame(tuple(codes[..., channel].contiguous() for channel in range(4)), pts, duration)

    def close(self) -> None:
        super().close()
        self._image.close()


def webp_delays(path: str | Path) -> list[int]:
    """Return the milliseconds of each frame of an animated WebP, from its ANMF chunks; [] for any other file.

    Format: developers.google.com/speed/webp/docs/riff_container. Raises OSError.
    """
    delays = []
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return []
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            begin = file.tell()
            if chunk[:4] == b"ANMF" and len(frame := file.read(16)) == 16:
                delays.append(int.from_bytes(frame[12:15], "little"))
            file.seek(begin + size + size % 2)
    return delays
