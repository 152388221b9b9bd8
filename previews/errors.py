"""The error of previews."""

from __future__ import annotations

from ..errors import SupertileError


class PreviewError(SupertileError, ValueError):
    """There is nothing to preview as requested. The message is one sentence."""

    exit_code = 2
