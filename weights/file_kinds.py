"""Recognize the kind of a file from its content, never from its name or extension.

Three kinds hold networks. For everything else that people choose by mistake (a web page saved instead of a model, a
git-LFS pointer, an ONNX model) an error says what it is. Nothing beyond 512 bytes is read.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Literal

from .errors import UnreadableCheckpointError, UnsafeCheckpointError
from .model_folders import hint_for
from .tensor_info import human_size

FileKind = Literal["safetensors", "PyTorch zip", "PyTorch legacy pickle"]

_DOWNLOAD_AGAIN = "download it again"
_HEAD = 512
_SMALLEST = 256  # bytes; a network of a single 3x3 convolution already needs more in any of the formats

_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF model"),
    (b"\x89HDF", "an HDF5 (Keras) model"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it and choose the file inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it and choose the file inside"),
    (b"Rar!", "a RAR archive: unpack it and choose the file inside"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7767517", "an ncnn model"),
)


def file_kind(path: Path) -> FileKind:
    """Recognize the container of a checkpoint.

    Raises:
        UnreadableCheckpointError: no regular file, an empty one, or one that is no checkpoint.
        UnsafeCheckpointError: a pickle in the text protocol, which PyTorch never wrote and which calls a function.
    """
    size = _size_of_regular_file(path)
    if size == 0:
        raise UnreadableCheckpointError(path, f"the file is empty (0 bytes); {_DOWNLOAD_AGAIN}")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UnreadableCheckpointError(path, f"the file cannot be opened ({error.strerror or error})") from error

    # safetensors first: the length of its header can look like any other format's first bytes
    if head[8:9] == b"{" and not _is_text(head[:8]):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "PyTorch zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "PyTorch legacy pickle"
    if match := re.match(rb"\(?[ci]([\w.]+)\n([\w.]+)\n", head):
        called = b".".join(match.groups()).decode("ascii", "replace")
        raise UnsafeCheckpointError(path, f"it is a pickle that would call {called}, so it was not opened; delete it")
    raise UnreadableCheckpointError(path, _what_else(head, size))


def _size_of_regular_file(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        if isinstance(error, FileNotFoundError):
            raise UnreadableCheckpointError(path, f"there is no such file; {hint_for(path)}") from error
        raise UnreadableCheckpointError(path, f"the file cannot be reached ({error})") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableCheckpointError(path, "it is a folder; choose a checkpoint file inside it")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise UnreadableCheckpointError(path, "it is not a regular file; choose a checkpoint file")
    return status.st_size


def _is_text(data: bytes) -> bool:
    return all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data)


def _what_else(head: bytes, size: int) -> str:
    """Describe a file that is no checkpoint, in words that complete an error."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "it is a git-LFS pointer, not the model itself; run 'git lfs pull' or download the file from the site"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "it looks like a web page: the download failed; download the model itself"
    for magic, words in _OTHER_FORMATS:
        if head.startswith(magic):
            return f"it is {words}" if "archive" in words else f"it is {words}, not a PyTorch or safetensors checkpoint"
    if head[:1] == b"\x08" and (b"pytorch" in head[:64] or b"onnx" in head[:64].lower()):
        return "it is an ONNX model; get the PyTorch or safetensors checkpoint that it was made from"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it, or save the model again with a present PyTorch"
    if size < _SMALLEST:
        return f"it holds only {human_size(size)}, which no checkpoint does; {_DOWNLOAD_AGAIN}"
    if _is_text(head):
        return f"it is a text file that begins with {head[:24].decode('ascii')!r}; {_DOWNLOAD_AGAIN}"
    if not any(head):
        return f"it begins with nothing but zeros: the download was interrupted; {_DOWNLOAD_AGAIN}"
    return "it is neither a safetensors nor a PyTorch checkpoint, or its beginning is damaged; " + _DOWNLOAD_AGAIN
