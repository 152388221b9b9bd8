"""An interrupted video goes on, and one that is finished is not computed again for another name, in a real ComfyUI."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from .server import Server, node
from .test_videos import SIZE, frames

JOBS = ".supertile-jobs"
MODEL = {"model": node("SupertileLoadHATModel", model_name="one.safetensors")}


@pytest.fixture(scope="session")
def film(server) -> str:
    """24 seconds of moving noise at 5 frames a second, with key frames every second and a tone: three parts."""
    path = server.base / "input" / "film.mp4"
    noise = np.random.default_rng(1).integers(0, 255, (72, 96 + 120, 3), np.uint8)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=5, options={"g": "5", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 72, "yuv420p"
        sound = output.add_stream("aac", rate=48000, layout="mono")
        for index in range(120):
            image = np.ascontiguousarray(noise[:, index : index + 96])
            output.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        tone = 0.3 * np.sin(np.arange(24 * 48000) * 2 * np.pi * 440 / 48000, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        frame.sample_rate = 48000
        output.mux(sound.encode(frame))
        for stream in (video, sound):
            output.mux(stream.encode(None))
    return path.name


def of_a_file(film: str, **widgets: Any) -> dict[str, Any]:
    options = {"file": film, "format": "mkv", "format.codec": "ffv1"}
    nodes = {
        **MODEL,
        "upscale": node("SupertileUpscaleVideoFile", upscale_model=["model", 0], **{**SIZE, **options, **widgets}),
        "report": node("PreviewAny", source=["upscale", 1]),
    }
    return nodes


def of_a_video(film: str, **widgets: Any) -> dict[str, Any]:
    return {
        **MODEL,
        "video": node("LoadVideo", file=film),
        "upscale": node(
            "SupertileUpscaleVideo", upscale_model=["model", 0], video=["video", 0], codec="ffv1",
            **SIZE, **widgets,
        ),
        "report": node("PreviewAny", source=["upscale", 1]),
        "save": node("SaveVideo", video=["upscale", 0], filename_prefix="saved/film", format="auto", codec="auto"),
    }  # fmt: skip


def done_parts(server: Server) -> list[Path]:
    return list((server.base / "output" / JOBS).rglob("0*.json"))


def wait_for_a_part(server: Server, prompt: str, parts: int = 1) -> None:
    end = time.monotonic() + 60
    while len(done_parts(server)) < parts:
        assert time.monotonic() < end
        assert not server.get(f"/history/{prompt}")
        time.sleep(0.05)


def interrupt(server: Server, nodes: dict[str, Any]) -> None:
    """Run nodes until a part is done, then interrupt them."""
    prompt = server.queue(nodes)
    wait_for_a_part(server, prompt)
    server.post("/interrupt", {})
    assert server.wait(prompt).status == "interrupted"


def report_of(server: Server, nodes: dict[str, Any]) -> list[str]:
    """Run nodes to the end, and return the lines of the report."""
    result = server.run(nodes)
    assert result.status == "success", (result, server.log_text()[-3000:])
    (text,) = result.outputs["report"]["text"]
    return text.splitlines()


def pts_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return sorted(packet.pts for packet in container.demux(container.streams.video[0]) if packet.size)


def is_whole(path: Path, reference: Path) -> bool:
    """Return True if a file has the frames of a reference, and sound as long as they are."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        *_, last = (packet for packet in container.demux(sound) if packet.size)
        assert abs(float(last.pts * last.time_base) - 24) < 0.1
    pairs = zip(frames(path), frames(reference), strict=True)
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs) and len(set(pts_of(path))) == 120


@pytest.fixture(scope="session")
def reference(server, film) -> Path:
    """The film as one run makes it, with nothing left of that run but the file."""
    report_of(server, of_a_file(film, filename_prefix="reference"))
    return server.base / "output" / "reference_00001_.mkv"


@pytest.fixture(autouse=True)
def no_jobs_before(server):
    """Let no test use what another has left."""
    shutil.rmtree(server.base / "output" / JOBS, ignore_errors=True)


def test_the_file_node_goes_on_after_an_interruption(server, film, reference):
    nodes = of_a_file(film, filename_prefix="go/on")
    interrupt(server, nodes)
    # What is done is in no list and no folder that the page shows.
    assert os.listdir(server.base / "output" / "go") == []
    listed = server.get("/internal/files/output") + server.options("SupertileUpscaleVideoFile", "file")
    assert not [name for name in listed if "supertile-jobs" in name or ".media" in name or name.startswith(".")]
    lines = report_of(server, nodes)
    assert "file: go/on_00001_.mkv" in lines
    assert "frames: 120" in lines
    (note,) = (line for line in lines if "Continuing" in line)
    assert note.startswith("note: Continuing at 0:00:08: 1 of 3 parts are done (40 frames)") or "2 of 3" in note
    assert is_whole(server.base / "output" / "go" / "on_00001_.mkv", reference)
    assert os.listdir(server.base / "output" / JOBS) == ["finished.jsonl"]


def test_it_goes_on_under_another_name_in_another_folder(server, film):
    interrupt(server, of_a_file(film, filename_prefix="go/first"))
    lines = report_of(server, of_a_file(film, filename_prefix="elsewhere/second"))
    assert "file: elsewhere/second_00001_.mkv" in lines
    assert any(line.startswith("note: Continuing at 0:00:") for line in lines)


def test_another_name_alone_computes_nothing(server, film):
    lines = report_of(server, of_a_file(film, filename_prefix="names/first"))
    assert not any("Nothing was computed" in line for line in lines)
    begin = time.monotonic()
    lines = report_of(server, of_a_file(film, filename_prefix="names/second"))
    assert time.monotonic() - begin < 5
    assert "file: names/second_00001_.mkv" in lines
    assert "frames: 120" in lines
    assert any("Nothing was computed: names/first_00001_.mkv has the same source" in line for line in lines)
    assert not any("frames per second" in line for line in lines)
    first, second = (server.base / "output" / "names" / f"{name}_00001_.mkv" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("widgets", [{"tile": "64"}, {"start": 0.2}, {"format": "mov", "format.codec": "prores"}])
def test_another_setting_computes_everything(server, film, widgets):
    settings = {"duration": 2.0, "size": "factor", "size.factor": 0.5}
    report_of(server, of_a_file(film, filename_prefix="settings", **settings))
    lines = report_of(server, of_a_file(film, filename_prefix="settings", **{**settings, **widgets}))
    assert not any("Nothing was computed" in line for line in lines)


def test_the_video_node_goes_on_after_an_interruption(server, film, reference):
    nodes = of_a_video(film)
    before = set(os.listdir(server.base / "temp"))
    interrupt(server, nodes)
    assert set(os.listdir(server.base / "temp")) == before
    lines = report_of(server, nodes)
    assert any(line.startswith("note: Continuing at 0:00:") for line in lines)
    (saved,) = (server.base / "output" / "saved").glob("film_*.mp4")
    assert is_whole(saved, reference)


def test_a_killed_server_goes_on_after_its_restart(server, film, reference):
    base = server.base / "second base"
    for name in ("input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes").mkdir()
    os.symlink((server.base / "custom_nodes" / "ComfyUI-Supertile").resolve(), base / "custom_nodes" / "Supertile")
    os.symlink(server.base / "models", base / "models")
    os.link(server.base / "input" / film, base / "input" / film)
    nodes = of_a_file(film, filename_prefix="killed")
    first = Server(server.comfyui, server.python, base)
    try:
        first.wait_until_ready()
        wait_for_a_part(first, first.queue(nodes))
    finally:
        first.process.kill()
        first.process.wait()
    assert not list((base / "output").glob("killed*"))
    second = Server(server.comfyui, server.python, base)
    try:
        second.wait_until_ready()
        lines = report_of(second, nodes)
    finally:
        second.stop()
    assert any(line.startswith("note: Continuing at 0:00:") for line in lines)
    assert is_whole(base / "output" / "killed_00001_.mkv", reference)
    records = (base / "output" / JOBS / "finished.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["path"]).name for line in records] == ["killed_00001_.mkv"]
    assert not list(base.rglob("*.part"))
