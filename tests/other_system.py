"""Take away from this Python what another system lacks, then do something with Supertile.

    python other_system.py win32 import             import every module
    python other_system.py darwin upscale a.png ...  the command line

Other programs are imported first, as they are built for this system.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import pkgutil
import signal
import sys
from typing import Any

LAZILY_IMPORTED = """
    PIL.Image av einops multiprocessing.popen_spawn_posix numpy rich.console rich.progress safetensors.torch spandrel
    subprocess tempfile torch torch.multiprocessing.reductions typer.rich_utils
"""
MODULES = {"win32": "fcntl grp pty pwd readline resource syslog termios tty", "darwin": ""}
OF_OS = {
    "win32": """
        EX_OK O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK PRIO_PROCESS SCHED_FIFO SCHED_OTHER SCHED_RR WNOHANG
        chown copy_file_range fchmod fchown fork geteuid getgid getloadavg getpgid getpriority getuid killpg
        lchown mkfifo mknod nice posix_fadvise posix_fallocate pread preadv pwrite pwritev register_at_fork
        sched_getaffinity sched_getscheduler sched_param sched_setaffinity sched_setscheduler sched_yield
        sendfile setpriority setsid statvfs sync sysconf uname
    """,
    "darwin": """
        O_DIRECT O_TMPFILE SCHED_BATCH copy_file_range eventfd getxattr listxattr memfd_create posix_fadvise
        posix_fallocate sched_getaffinity sched_getscheduler sched_param sched_setaffinity sched_setscheduler
        setxattr
    """,
}
OF_SIGNAL = {
    "win32": """
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH alarm
        pthread_kill pthread_sigmask setitimer sigwait
    """,
    "darwin": "SIGPWR SIGRTMIN SIGSTKFLT sigtimedwait sigwaitinfo",
}
NOT_THERE = ("tests", "training", "benchmarks", "nodes", "kernels.cuda", "__main__")
"""Modules that people do not use there, that need ComfyUI or a GPU, or that run."""


def become(system: str) -> None:
    """Take away modules, functions, signals, and the files by which Linux tells about itself."""
    for name in LAZILY_IMPORTED.split():
        importlib.import_module(name)
    for name in MODULES[system].split():
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in ((os, OF_OS[system]), (signal, OF_SIGNAL[system])):
        for name in names.split():
            vars(module).pop(name, None)
    if system == "win32":
        signal.SIGBREAK = 10  # type: ignore[attr-defined]
    opened = io.open

    def without_proc(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and os.fspath(file).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return opened(file, *arguments, **options)

    builtins.open = io.open = without_proc
    sys.platform = system


def import_all() -> None:
    """Import the modules of the package and print how many there are."""
    import supertile

    left_out = tuple(f"supertile.{name}" for name in NOT_THERE)
    names = [each.name for each in pkgutil.walk_packages(supertile.__path__, "supertile.", onerror=lambda _: None)]
    names = [name for name in names if not any(name == each or name.startswith(f"{each}.") for each in left_out)]
    for name in names:
        importlib.import_module(name)
    print(len(names))


if __name__ == "__main__":
    become(sys.argv.pop(1))
    if sys.argv[1:] == ["import"]:
        import_all()
    else:
        from supertile.__main__ import main

        main()
