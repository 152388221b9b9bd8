"""Reach a cluster of Ray, or start one on this machine, without output and without changing the process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UpscaleError

_CONNECT_SECONDS = 10.0
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to Ray's makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # no reports about machines that leave, with hundreds of lines of a log
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no notice about workers without a GPU
}


def import_ray() -> Any:
    """Return the module ray. Raises UpscaleError if it is not installed."""
    for name, value in _ENVIRONMENT.items():  # Ray reads most of them when it is imported
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UpscaleError("A cluster needs Ray; install it with: pip install 'supertile[cluster]'") from error
    return ray


def connect(ray: Any, address: str) -> bool:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        ray: the module.
        address: "local": start Ray on this machine; "auto": the cluster that this machine belongs to; or HOST:PORT.

    Returns:
        True if `ray.shutdown` must undo it.

    Raises:
        UpscaleError: the cluster cannot be reached, or has other versions of Ray or Python.
    """
    if ray.is_initialized():
        return False
    if "://" in address:
        raise UpscaleError(f"{address}: give the cluster as HOST:PORT, on a machine that belongs to it.")
    if address not in ("local", "auto"):
        _check_port(address)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        if "InvalidAuthToken" in f"{error} {error.__cause__} {error.__context__}":
            raise UpscaleError(
                f"The cluster {address} wants a token: set RAY_AUTH_MODE=token, and copy the file ~/.ray/auth_token of "
                "the machine that started it."
            ) from error
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UpscaleError(f"Ray cannot use the cluster {address!r}: {first_line}") from error
    return True


def _check_port(address: str) -> None:
    """Raise UpscaleError if nothing listens at an address, which Ray finds out after minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UpscaleError(f"{address!r} is not the address of a cluster; give HOST:PORT, auto or local.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UpscaleError(f"No Ray cluster answers at {address} ({error.strerror or error}).") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo what the block does to the handler of SIGTERM: Ray sets one that leaves files behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
