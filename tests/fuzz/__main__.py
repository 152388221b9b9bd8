"""Open thousands of damaged checkpoints, images, animations and videos, and report whatever is not a clean result or
refusal: crashes, hangs, other exceptions, code that ran, files left behind, memory beyond 1 GB.

python -m tests.fuzz --minutes 10 --seed 1
python -m tests.fuzz --files 10000 --kind image --keep findings/
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .run import fuzz
from .seeds import KINDS, make_seeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (default: 10 without --files)")
    parser.add_argument("--files", type=int, help="stop after so many files")
    parser.add_argument("--seed", type=int, default=0, help="of the random changes (default: 0)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind of file; repeatable")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep files with a bad outcome here")
    parser.add_argument("--also", type=Path, metavar="FOLDER", help="change the files in this folder too; needs --kind")
    arguments = parser.parse_args()
    if arguments.also is not None and len(arguments.kind or ()) != 1:
        parser.error("--also needs one --kind, which all files in its folder are opened as")
    minutes = 10 if arguments.minutes is None and arguments.files is None else arguments.minutes
    kinds = tuple(arguments.kind or KINDS)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary)
        seeds = make_seeds(folder, kinds)
        if arguments.also is not None:
            seeds[kinds[0]] += sorted(path for path in arguments.also.iterdir() if path.is_file())
        counts = fuzz(
            folder, seeds, seed=arguments.seed, files=arguments.files,
            seconds=None if minutes is None else 60 * minutes, kinds=kinds,
        )  # fmt: skip
        print(f"{counts.total} files\n{counts.table()}")
        for finding in counts.findings:
            print(f"\n{finding.outcome}: {finding.path.name} (from {finding.seed_file})\n{finding.detail}")
            if arguments.keep is not None:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / finding.path.name).write_bytes(finding.path.read_bytes())
    return 1 if counts.findings else 0


if __name__ == "__main__":
    sys.exit(main())
