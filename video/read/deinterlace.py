"""Interlaced images made progressive by FFmpeg's bwdif, one image for each, whatever their pixel format."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import av
from av.filter import Graph

from .timestamps import Timed


class Deinterlacer:
    """mode: "auto" treats what is flagged interlaced, "yes" everything, "no" nothing.

    bwdif (Bob Weaver: w3fdif's taps with yadif's checks) looks one image back and one ahead, so one is held back
    once it runs; in "auto" it starts to run at the first flagged image.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def __call__(self, images: Iterable[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
        graph: Graph | None = None
        waiting: deque[Timed[av.VideoFrame]] = deque()  # their times are ours: bwdif counts in half ticks
        for entry in images:
            if graph is None:
                if self._mode == "no" or (self._mode == "auto" and not entry.item.interlaced_frame):
                    yield entry
                    continue
                graph = self._graph(entry.item)
            waiting.append(entry)
            entry.item.pts = len(waiting)  # anything that is not missing
            graph.push(entry.item)
            yield from _finished(graph, waiting)
        if graph is not None:
            graph.push(None)
            yield from _finished(graph, waiting)

    def _graph(self, image: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=image.width, height=image.height, format=image.format, time_base=image.time_base
        )
        only = "interlaced" if self._mode == "auto" else "all"
        bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={only}")
        same = graph.add("format", f"pix_fmts={image.format.name}")  # NV12 and the like are shuffled and back
        graph.link_nodes(source, bwdif, same, graph.add("buffersink")).configure()
        return graph


def _finished(graph: Graph, waiting: deque[Timed[av.VideoFrame]]) -> Iterator[Timed[av.VideoFrame]]:
    while True:
        try:
            image = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        entry = waiting.popleft()
        assert isinstance(image, av.VideoFrame)
        yield Timed(image, entry.pts, entry.duration)
