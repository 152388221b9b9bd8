"""Compare one file after the other in a child process, which is started again when a file ends or blocks it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Literal

from .comparison import CRASH, HANG, WRONG_EXCEPTION, Comparison

Kind = Literal["image", "video"]
TIMEOUT_S = 300
MEMORY_LIMIT = 12 << 30
_START_TIMEOUT_S = 300


class Worker:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._answers: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def compare(self, kind: Kind, path: Path) -> Comparison:
        """Return the outcome of one file, whatever it does to the process."""
        if self._answers is None:
            self._start()
        assert self._answers is not None
        self._answers.send((kind, path))
        if not self._answers.poll(TIMEOUT_S):
            self._end()
            return Comparison(HANG, [f"no answer within {TIMEOUT_S} s"])
        try:
            comparison: Comparison = self._answers.recv()
        except EOFError:
            return Comparison(CRASH, [f"the process ended with code {self._end()}"])
        return comparison

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if self._answers.poll(_START_TIMEOUT_S):
            self._answers.recv()  # it is ready: its imports count for no file

    def _end(self) -> int | None:
        code = None
        if self._process is not None:
            self._process.join(1)
            self._process.kill()
            self._process.join()
            code = self._process.exitcode
        self._process = self._answers = None
        return code


def _serve(questions: Connection) -> None:
    os.environ["SUPERTILE_KERNELS"] = "off"
    import torch

    from .comparison import doubling_upscaler
    from .images import compare_image
    from .videos import compare_video

    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries print what they think of files
    upscaler = doubling_upscaler()
    questions.send("ready")
    while True:
        try:
            kind, path = questions.recv()
        except EOFError:
            return
        compare = compare_image if kind == "image" else compare_video
        with tempfile.TemporaryDirectory(prefix="corpora-") as folder:
            try:
                answer = compare(path, Path(folder) / "result", upscaler)
            except BaseException as error:
                answer = Comparison(WRONG_EXCEPTION, ["".join(traceback.format_exception(error))[-2000:]])
            if left := sorted(each.name for each in Path(folder).iterdir() if each.name.endswith(".part")):
                answer = Comparison(WRONG_EXCEPTION, [f"left behind: {', '.join(left)}", *answer.details])
        questions.send(answer)
