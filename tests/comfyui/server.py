"""A real ComfyUI server, as a process that is spoken to over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass
class Result:
    """Outcome of a prompt: "success", "error", "interrupted", or "rejected" before it ran."""

    status: str
    message: str = ""
    exception_type: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)


class Server:
    """A running ComfyUI with the folders of `base`."""

    def __init__(self, comfyui: Path, python: str, base: Path, environment: Mapping[str, str] | None = None) -> None:
        self.comfyui, self.base, self.python, self.log = comfyui, base, python, base / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(base), "--database-url", f"sqlite:///{base}/user/comfyui.db",
            "--disable-auto-launch", "--disable-api-nodes",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip

    def wait_until_ready(self, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.3)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log_text()[-3000:]}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def options(self, node: str, name: str) -> list[str]:
        """Return the options of a combo of a node."""
        inputs = self.get(f"/object_info/{node}")[node]["input"]
        return next(group[name][1]["options"] for group in inputs.values() if name in group)

    def queue(self, prompt: dict[str, Any]) -> str:
        return self.post("/prompt", {"prompt": prompt})["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 120) -> Result:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI died:\n{self.log_text()[-3000:]}")
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                messages = dict(entry["status"]["messages"])
                if "execution_interrupted" in messages:
                    return Result("interrupted")
                if "execution_error" in messages:
                    error = messages["execution_error"]
                    return Result("error", error["exception_message"], error["exception_type"])
                return Result(entry["status"]["status_str"], outputs=entry["outputs"])
            time.sleep(0.1)
        raise TimeoutError(f"no result within {seconds} s:\n{self.log_text()[-3000:]}")

    def watch(self, prompt: dict[str, Any], node_id: str) -> tuple[list[tuple[int, int]], int]:
        """Run nodes as a browser would; return every (done, total) of one of them, and the number of previews."""
        seen = self.seen(prompt, node_id)
        return [tuple(step) for step in seen["steps"]], seen["previews"]

    def seen(self, prompt: dict[str, Any], node_id: str) -> dict[str, Any]:
        """Run nodes as a browser would; return what it is told of one of them, as browser.py collects it."""
        script = [self.python, str(HERE / "browser.py"), str(self.port), json.dumps(prompt), node_id]
        done = subprocess.run(script, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, prompt: dict[str, Any], seconds: float = 120) -> Result:
        try:
            return self.wait(self.queue(prompt), seconds)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
            details = [e for node in answer.get("node_errors", {}).values() for e in node["errors"]]
            return Result("rejected", "; ".join(f"{e['message']}: {e['details']}" for e in details))


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt."""
    return {"class_type": kind, "inputs": inputs}
