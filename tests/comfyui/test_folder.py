"""Upscale Folder in a real ComfyUI: what it makes, skips, reports and refuses, and how it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .server import Result, Server, node

MODEL = {"model": node("SupertileLoadVapSRModel", model_name="two.safetensors")}
SIZE = {"size": "model scale"}


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (30, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


def video(path: Path, frames: int = 6) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 30 * index % 256, np.uint8))))
        output.mux(stream.encode(None))


def pixels(path: Path) -> Tensor:
    """Return an image as (1, C, H, W), 0 to 255."""
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image, np.float32)).movedim(-1, 0)[None]


def mean_luma(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(np.mean([frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]))


@pytest.fixture
def name(server: Server, request: pytest.FixtureRequest) -> str:
    """A folder below the input folder, and by the same name the results: two images, a video, a damaged file."""
    name = f"f{time.monotonic_ns()}"
    folder = server.base / "input" / name
    picture(folder / "a.png")
    picture(folder / "sub" / "b.jpg", 1)
    video(folder / "clip.mp4")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    (folder / "notes.txt").write_text("not an image")
    return name


def nodes_for(name: str, **widgets: Any) -> dict[str, Any]:
    options = {"folder": f"input/{name}", "subfolders": True, "output_folder": name, **SIZE, **widgets}
    return {**MODEL, "folder": node("SupertileUpscaleFolder", upscale_model=["model", 0], **options)}


def lines_of(server: Server, result: Result) -> list[str]:
    assert result.status == "success", (result, server.log_text()[-3000:])
    (text,) = result.outputs["folder"]["text"]
    assert str(server.base) not in text
    return text.splitlines()


def upscaled(server: Server, name: str, **widgets: Any) -> list[str]:
    return lines_of(server, server.run(nodes_for(name, **widgets)))


def files(server: Server, name: str) -> set[str]:
    folder = server.base / "output" / name
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


# --- what it makes -----------------------------------------------------------------------------------------------


def test_images_and_videos_are_upscaled_and_counted(server, name):
    lines = upscaled(server, name)
    assert lines[:2] == ["3 files done, 1 failed.", f"input/{name} -> output/{name}"]
    (failed,) = (line for line in lines if line.startswith("failed: "))
    assert failed.startswith(f"failed: {name}/bad.png ")
    assert files(server, name) == {"a.png", "sub/b.jpg", "clip.mp4"}
    target = server.base / "output" / name
    with Image.open(target / "a.png") as one, Image.open(target / "sub" / "b.jpg") as other:
        assert one.size == other.size == (60, 40)
    with av.open(str(target / "clip.mp4")) as container:
        shapes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert shapes == [(128, 96)] * 6


def test_it_equals_the_command_line_which_skips_what_is_done(server, name, model_files, tmp_path):
    """Also the other way round: both trust one journal."""
    upscaled(server, name)
    source, target = server.base / "input" / name, server.base / "output" / name
    model = str(model_files / "two.safetensors")

    def command_line(to: Path) -> str:
        command = [sys.executable, "-m", "supertile", "upscale", str(source), f"{to}/", "--model", model]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path).stderr

    assert "3 skipped (done before), 1 failed." in command_line(target)
    assert "3 files done, 1 failed." in command_line(tmp_path / "own")
    for each in ("a.png", "sub/b.jpg"):
        with Image.open(target / each) as ours, Image.open(tmp_path / "own" / each) as theirs:
            difference = np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16))
            assert difference.max() <= 1  # two builds of PyTorch
    shutil.rmtree(target)
    shutil.copytree(tmp_path / "own", target)
    assert upscaled(server, name)[0] == "0 files done, 3 skipped (done before), 1 failed."


def test_strength_and_kept_colors_are_those_of_the_command_line(server, name, model_files, tmp_path):
    upscaled(server, name, keep_colors="yes", strength=0.5)
    source, target = server.base / "input" / name, server.base / "output" / name
    command = [sys.executable, "-m", "supertile", "upscale", str(source), f"{target}/"]
    command += ["--model", str(model_files / "two.safetensors"), "--strength", "0.5"]
    run = partial(subprocess.run, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert "3 skipped (done before), 1 failed." in run([*command, "--keep-colors"]).stderr
    assert "0 files done, 4 failed." in run(command).stderr  # made otherwise
    for kept, folder in ((True, name), (False, f"{name} plain")):
        if not kept:
            upscaled(server, name, output_folder=folder, subfolders=False)
        small, large = pixels(source / "a.png"), pixels(server.base / "output" / folder / "a.png")
        reduced = F.interpolate(large, small.shape[2:], mode="bicubic", antialias=True)
        assert ((reduced - small).abs().max() < 0.5) == kept
        brightness = [mean_luma(clip) for clip in (source / "clip.mp4", server.base / "output" / folder / "clip.mp4")]
        assert (abs(brightness[0] - brightness[1]) < 1) == kept


def test_widgets_choose_sizes_and_formats(server, name):
    factor = {"size": "factor", "size.factor": 3.0}
    lines = upscaled(server, name, subfolders=False, image_format="webp", video_codec="hevc", **factor)
    assert lines[0] == "2 files done, 1 failed."
    assert files(server, name) == {"a.webp", "clip.mp4"}
    with Image.open(server.base / "output" / name / "a.webp") as image:
        assert image.size == (90, 60)
    with av.open(str(server.base / "output" / name / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"


def test_a_folder_of_results_is_a_source_as_well(server, name):
    upscaled(server, name)
    lines = upscaled(server, name, folder=f"output/{name}", output_folder=f"{name}/twice")
    assert lines[:2] == ["3 files done.", f"output/{name} -> output/{name}/twice"]
    with Image.open(server.base / "output" / name / "twice" / "a.png") as image:
        assert image.size == (120, 80)
    # and the results inside it are no sources of a further run
    assert upscaled(server, name, folder=f"output/{name}", output_folder=f"{name}/twice")[0].startswith("0 files done")


def test_folders_are_listed(server, name):
    outside = server.base / "outside"
    picture(outside / "secret.png")
    (server.base / "input" / f"{name} link").symlink_to(outside)
    (server.base / "input" / ".hidden").mkdir(exist_ok=True)
    (server.base / "output" / "made").mkdir(exist_ok=True)
    listed = server.options("SupertileUpscaleFolder", "folder")
    assert {"input", f"input/{name}", f"input/{name}/sub", "output", "output/made"} <= set(listed)
    assert not {f"input/{name} link", "input/.hidden"} & set(listed)


# --- going on ----------------------------------------------------------------------------------------------------


def test_a_repeated_prompt_looks_again(server, name):
    """ComfyUI would answer from its cache; a failure is tried again, and what is new or changed is made."""
    assert upscaled(server, name)[0] == "3 files done, 1 failed."
    assert upscaled(server, name)[0] == "0 files done, 3 skipped (done before), 1 failed."
    picture(server.base / "input" / name / "bad.png", 3)
    picture(server.base / "input" / name / "new.png", 4)
    assert upscaled(server, name)[0] == "2 files done, 3 skipped (done before)."
    (server.base / "output" / name / "a.png").unlink()
    assert upscaled(server, name)[0] == "1 file done, 4 skipped (done before)."
    assert upscaled(server, name)[0] == "0 files done, 5 skipped (done before)."


def test_what_was_made_otherwise_is_kept_unless_overwritten(server, name):
    (server.base / "input" / name / "bad.png").unlink()
    upscaled(server, name)
    stranger = server.base / "output" / name / "sub" / "b.jpg"
    picture(stranger, 9)
    before = stranger.read_bytes()
    wanted = {"size": "factor", "size.factor": 3.0}
    lines = upscaled(server, name, **wanted)
    assert lines[0] == "0 files done, 3 failed."
    failed = [line for line in lines if line.startswith("failed: ")]
    assert any("a.png exists already, made with another size (model scale, now " in line for line in failed)
    assert all(line.endswith("choose overwrite to replace it.") for line in failed)
    assert upscaled(server, name, existing_files="skip all")[0] == (
        "0 files done, 2 skipped (done before), 1 skipped (existed already)."
    )
    assert stranger.read_bytes() == before
    assert upscaled(server, name, existing_files="overwrite", **wanted)[0] == "3 files done."
    with Image.open(stranger) as image:
        assert image.size == (90, 60)


def test_an_interruption_keeps_what_is_done_and_the_next_run_goes_on(server, name):
    for index in range(40):
        picture(server.base / "input" / name / f"many{index:02}.png", index, (400, 300))
    nodes = nodes_for(name)
    prompt = server.queue(nodes)
    end = time.monotonic() + 60
    while len(files(server, name)) < 3:
        assert time.monotonic() < end
        assert not server.get(f"/history/{prompt}")
        time.sleep(0.02)
    server.post("/interrupt", {})
    assert server.wait(prompt).status == "interrupted"
    done = len(files(server, name))
    assert 3 <= done < 40
    for path in (server.base / "output" / name).glob("*.png"):
        with Image.open(path) as image:
            image.load()
    assert not list((server.base / "output" / name).rglob("*.part"))
    assert upscaled(server, name)[0] == f"{43 - done} files done, {done} skipped (done before), 1 failed."


def test_progress_covers_the_files_and_what_is_within_them(server, name):
    video(server.base / "input" / name / "clip.mp4", frames=300)
    steps, _ = server.watch(nodes_for(name), "folder")
    assert {total for _, total in steps} == {400}
    done = [value for value, _ in steps]
    assert done == sorted(done)
    assert done[-1] == 400
    assert any(300 < value < 400 for value in done)  # within the video


def test_the_report_is_an_output(server, name):
    nodes = {**nodes_for(name), "shown": node("PreviewAny", source=["folder", 0])}
    result = server.run(nodes)
    assert result.outputs["shown"]["text"][0].splitlines() == lines_of(server, result)


# --- refusals ----------------------------------------------------------------------------------------------------


def test_links_out_of_the_folder_are_not_followed(server, name):
    outside = server.base / "outside"
    picture(outside / "secret.png")
    folder = server.base / "input" / name
    (folder / "file link.png").symlink_to(outside / "secret.png")
    (folder / "folder link").symlink_to(outside)
    (folder / "inner link.png").symlink_to("a.png")
    lines = upscaled(server, name)
    assert lines[0] == "4 files done, 1 failed."
    assert files(server, name) == {"a.png", "sub/b.jpg", "clip.mp4", "inner link.png"}
    (note,) = (line for line in lines if "leads out" in line)
    assert note == (
        f"note: 2 files are left out, as the link leads out of the folder: {name}/file link.png and {name}/folder link."
    )


@pytest.mark.parametrize("folder", ["../x", "input/../..", "/etc", "", "temp", "input/absent", "models", "input/a\0b"])
def test_other_folders_are_refused_as_sources(server, folder):
    result = server.run(nodes_for("x", folder=folder))
    assert result.status == "rejected"
    assert "Value not in list: folder" in result.message


@pytest.mark.parametrize("folder", ["../x", "a/../../x", "/etc/x", "", " ", ".", ".hidden", "x" * 300, "a\0b", "C:\\x"])
def test_other_folders_are_refused_as_targets(server, name, folder):
    before = set(os.listdir(server.base))
    result = server.run(nodes_for(name, output_folder=folder))
    if folder == "C:\\x" and os.name != "nt":
        assert result.status == "success"
        assert files(server, "C:/x") == {"a.png", "sub/b.jpg", "clip.mp4"}
        return
    assert result.status == "rejected"
    assert "folder" in result.message
    assert set(os.listdir(server.base)) == before


def test_a_link_leads_no_result_out_of_the_output_folder(server, name):
    outside = server.base / "elsewhere"
    outside.mkdir(exist_ok=True)
    target = server.base / "output" / name
    target.mkdir()
    (target / "sub").symlink_to(outside)
    result = server.run(nodes_for(name))
    assert result.status == "error"
    assert f"The folder {name}/sub is a link that leads out of the output folder" in result.message
    assert os.listdir(outside) == []


def test_a_folder_without_images_says_so(server):
    (server.base / "input" / "empty").mkdir(exist_ok=True)
    result = server.run(nodes_for("empty"))
    assert result.status == "error"
    assert "empty holds no image or video files." in result.message
    assert str(server.base) not in result.message
    assert result.exception_type == "supertile.UpscaleError"


def test_a_folder_may_not_become_itself(server, name):
    upscaled(server, name)
    result = server.run(nodes_for(name, folder=f"output/{name}", output_folder=name))
    assert result.status == "error"
    assert "would overwrite the source" in result.message
