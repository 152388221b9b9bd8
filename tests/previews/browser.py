"""A headless Chromium that is driven through a pipe, by its DevTools protocol; no package is needed."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

if os.name == "posix":
    import fcntl

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_START = """
import os, sys
for name, end in zip((3, 4), sys.argv[1:3]):
    os.dup2(int(end), name)
os.execv(sys.argv[3], sys.argv[3:])
"""  # Chromium reads from 3 and writes to 4
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"


def chromium() -> str | None:
    """The path of a Chromium; None if there is none, or none that can be started with a pipe."""
    if os.name != "posix":
        return None
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. Close it."""

    def __init__(self, program: str, folder: Path) -> None:
        for_browser, self._to = os.pipe()
        self._from, of_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", OFFLINE]
        command = [program, *options, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (for_browser, of_browser)]  # out of the way of 3 and 4
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, ends), *command], pass_fds=ends, stderr=subprocess.DEVNULL
        )
        for end in ends:
            os.close(end)
        os.close(for_browser)
        os.close(of_browser)
        self._unread, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            received = os.read(self._from, 1 << 16)
            assert received, "the browser has ended"
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path, width: int, height: int, *, dark: bool = False, touch: bool = False) -> None:
        """Open a file and wait until it has loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.value("Promise.all([...document.images].map((image) => image.decode()))")

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def center(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is on the screen."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        return tuple(self.value(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})"))

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Press, move or release the mouse: "mousePressed", "mouseMoved", "mouseReleased"."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Put down, move or lift a finger: "touchStart", "touchMove", "touchEnd"."""
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def press(self, key: str, code: int) -> None:
        """Press and release a key, by its name and its Windows code."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)
            text = {}

    def screenshot(self) -> Image.Image:
        """Take a screenshot of the page."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return Image.open(io.BytesIO(data)).convert("RGB")

    def requests(self) -> list[str]:
        """Addresses that the page has asked for, images inside of it aside."""
        sent = [each for each in self.events if each.get("method") == "Network.requestWillBeSent"]
        return [url for each in sent if not (url := each["params"]["request"]["url"]).startswith("data:")]

    def problems(self) -> list[dict[str, Any]]:
        """Errors of the page's script, and what the browser complains of."""
        return [e for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._to)
        os.close(self._from)
