"""A report on a machine, as values and as a document for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .privacy import public, public_path

if TYPE_CHECKING:
    from .cuda import CudaCheck
    from .kernels import Kernel
    from .networks import MeasuredNetwork
    from .processor import Processor
    from .software import Device, Software
    from .system import Card, Folder, System

FORM = 1
"""Number of the form of `document`; it changes when a key is renamed or removed."""


@dataclass(frozen=True)
class Problem:
    """A problem, and what to do about it.

    Attributes:
        id: a word for programs.
        is_broken: True if results are wrong, something fails, or a GPU is not used; False if it only costs time or
            something that is rarely needed.
        text, advice: a sentence each.
    """

    id: str
    is_broken: bool
    text: str
    advice: str


@dataclass
class Report:
    """All that was found; what comes after `software` is empty where spandrel cannot be imported.

    Attributes:
        supertile: version of this package.
        device: on which networks were measured, as torch names it.
        encoders, decoders: FFmpeg's name -> why it cannot be used; "" if it can.
        verified_for: the card, driver and versions for which `cuda` is remembered; "" for none.
        seconds: that it took.
    """

    supertile: str
    software: Software
    device: str = ""
    system: System | None = None
    processor: Processor | None = None
    folders: list[Folder] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    encoders: dict[str, str] = field(default_factory=dict)
    decoders: dict[str, str] = field(default_factory=dict)
    kernels: list[Kernel] = field(default_factory=list)
    networks: list[MeasuredNetwork] = field(default_factory=list)
    cuda: list[CudaCheck] = field(default_factory=list)
    verified_for: str = ""
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_broken(self) -> bool:
        return any(each.is_broken for each in self.problems)


def document(report: Report) -> dict[str, Any]:
    """Return a report for JSON, without what is private. docs/command-line.md says what its keys are."""
    found = asdict(report)
    for folder in found["folders"]:
        folder["path"] = public_path(folder["path"])
    its = found["software"]
    its["comfyui"] = [public_path(path) for path in its["comfyui"]]
    its["models"] = [{"folder": public_path(path), "files": count} for path, count in its["models"].items()]
    return {"form": FORM, "ok": not report.is_broken, **public(found)}
