"""Deinterlace frames with FFmpeg's bwdif: one progressive frame for each, in the same pixel format."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import av
from av.filter import Graph

from .timestamps import Timed

_MIN_COLUMNS, _MIN_LINES = 3, 4  # of each plane, chroma included: bwdif refuses smaller ones


class Deinterlacer:
    """Deinterlacer of a stream. mode: "auto" for frames flagged as interlaced, "yes" for all, "no" for none.

    bwdif (Bob Weaver deinterlacing: the taps of w3fdif, the checks of yadif) needs the previous and the next frame, so
    one frame is held back. In "auto" it starts at the first flagged frame, and anew where the format of frames changes.
    Frames with a plane of less than 4 lines or 3 columns are passed on.

    Attributes:
        previous: the frame before the next one. A reader that starts in mid-stream sets it, so that its first frame
            comes out as it would in a pass over the whole stream.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.previous: av.VideoFrame | None = None

    def __call__(self, frames: Iterable[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
        graph: Graph | None = None
        properties: tuple[object, ...] = ()
        waiting: deque[Timed[av.VideoFrame]] = deque()  # keeps the times: bwdif counts in half ticks
        for entry in frames:
            if graph is not None and properties != _properties(entry.item):  # a graph would convert the frame
                graph.push(None)
                yield from _finished(graph, waiting)
                graph = None
            previous, self.previous = self.previous, None if self._mode == "no" else entry.item
            if graph is None:
                if self._mode == "no" or not self._wants(entry.item):
                    yield entry
                    continue
                graph, properties = self._graph(entry.item), _properties(entry.item)
                if previous is not None and _properties(previous) == properties:
                    waiting.append(Timed(previous, None))
                    previous.pts = 0
                    graph.push(previous)
            waiting.append(entry)
            entry.item.pts = len(waiting)  # bwdif needs any pts
            graph.push(entry.item)
            yield from _finished(graph, waiting)
        if graph is not None:
            graph.push(None)
            yield from _finished(graph, waiting)

    def _wants(self, frame: av.VideoFrame) -> bool:
        format = frame.format
        if format.chroma_width(frame.width) < _MIN_COLUMNS or format.chroma_height(frame.height) < _MIN_LINES:
            return False
        return bool(frame.interlaced_frame) or self._mode == "yes"

    def _graph(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        only = "interlaced" if self._mode == "auto" else "all"
        bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={only}")
        # bwdif takes planar formats only: NV12 and others are converted, and back.
        same_format = graph.add("format", f"pix_fmts={frame.format.name}")
        graph.link_nodes(source, bwdif, same_format, graph.add("buffersink")).configure()
        return graph


def _properties(frame: av.VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name, int(frame.colorspace or 0), int(frame.color_range or 0)


def _finished(graph: Graph, waiting: deque[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        entry = waiting.popleft()
        assert isinstance(frame, av.VideoFrame)
        if entry.pts is None:  # the frame before the first: only to be seen by it
            continue
        yield Timed(frame, entry.pts, entry.duration)
