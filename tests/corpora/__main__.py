"""Run every image and video of folders through Supertile, and compare with Pillow's and PyAV's own decode.

python -m tests.corpora ~/Pillow/Tests/images ~/torchcodec/test/resources
python -m tests.corpora --kind video --all clips/

Made for public test corpora, which are not part of the repository. Each deviation is listed with what Supertile warned
of; one without a warning is a fault of Supertile or of the other reader. The exit code is 1 if a file ended with an
exception that is not a SupertileError, with a crash, or not at all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from PIL import Image
from supertile.images.io.formats import READABLE_SUFFIXES
from supertile.video.kinds import VIDEO_SUFFIXES

from .comparison import EQUAL, FAILURES, REFUSED_BY_BOTH
from .worker import Kind, Worker

_LFS_POINTER = b"version https://git-lfs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--kind", choices=("image", "video"), help="only files of this kind")
    parser.add_argument("--all", action="store_true", help="list equal files and those that both refuse, too")
    arguments = parser.parse_args()
    failures = 0
    with Worker() as worker:
        for folder in arguments.folders:
            counts: dict[str, Counter[str]] = {"image": Counter(), "video": Counter()}
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
                kind = _kind_of(path)
                if kind is None or arguments.kind not in (None, kind):
                    continue
                if _is_pointer(path):
                    counts[kind]["only a pointer"] += 1
                    continue
                result = worker.compare(kind, path)
                counts[kind][result.outcome] += 1
                failures += result.outcome in FAILURES
                if arguments.all or result.outcome not in (EQUAL, REFUSED_BY_BOTH):
                    _print([f"{path}: {result.outcome}", *result.details, *(f"warned: {w}" for w in result.warnings)])
            for kind, counter in counts.items():
                if counter:
                    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counter.most_common())
                    _print([f"{folder}: {counter.total()} {kind}s: {outcomes}"])
    return 1 if failures else 0


def _kind_of(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "video"
    Image.init()
    return "image" if suffix in READABLE_SUFFIXES or suffix in Image.EXTENSION else None


def _is_pointer(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def _print(lines: list[str]) -> None:
    text = "\n    ".join(line.rstrip().replace("\n", "\n        ") for line in lines)
    print(os.fsencode(text).decode("utf-8", "backslashreplace"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
