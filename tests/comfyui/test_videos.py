"""The video nodes in a real ComfyUI: what they keep and accept, and how other nodes handle the result."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from .server import node

MODEL = {"model": node("SupertileLoadVapSRModel", model_name="two.safetensors")}
SIZE = {"size": "model scale"}


@pytest.fixture(scope="session")
def clip(server) -> str:
    """Ten frames of 64x48 at 25 a second, a moving edge, with a tone of 0.4 s."""
    name = "clip.mp4"
    with av.open(str(server.base / "input" / name), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"crf": "10"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("aac", rate=48000)
        for index in range(10):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, : 6 * index] = (200, 60 + 10 * index, 90)
            output.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        tone = 0.3 * np.sin(np.arange(19200) * 2 * np.pi * 440 / 48000, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), "fltp", "stereo")
        frame.sample_rate = 48000
        output.mux(sound.encode(frame))
        for stream in (video, sound):
            output.mux(stream.encode(None))
    return name


def upscaled(video: list[Any], **widgets: Any) -> dict[str, Any]:
    return {
        **MODEL,
        "upscale": node("SupertileUpscaleVideo", upscale_model=["model", 0], video=video, **SIZE, **widgets),
    }


def upscaled_file(name: str, **widgets: Any) -> dict[str, Any]:
    options = {**SIZE, "format": "mp4", "format.codec": "auto", **widgets}
    return {**MODEL, "upscale": node("SupertileUpscaleVideoFile", upscale_model=["model", 0], file=name, **options)}


def saved(server, nodes: dict[str, Any], **widgets: Any) -> Path:
    """Run nodes and save the output of "upscale" with Save Video; return the file."""
    prefix = f"saved{time.monotonic_ns()}"
    options = {
        "format": "auto",
        "format.codec": "auto",
        "codec": "auto",
        **widgets,
    }  # two ways, of newer and older cores
    save = node("SaveVideo", video=["upscale", 0], filename_prefix=prefix, **options)
    result = server.run({**nodes, "save": save})
    assert result.status == "success", (result, server.log_text()[-3000:])
    return server.base / "output" / result.outputs["save"]["images"][0]["filename"]


def packets(path: Path, kind: str) -> list[tuple[Fraction, Fraction, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        packets = [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]
    return sorted(packets)


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def temp_video(server, result) -> Path:
    shown = result.outputs["upscale"]["images"][0]
    assert shown["type"] == "temp"
    return server.base / "temp" / shown["filename"]


def left_in_temp(server) -> set[str]:
    return {name for name in os.listdir(server.base / "temp") if "supertile" in name}


# --- Upscale Video -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["auto", "h264", "hevc", "av1", "vp9", "ffv1"])
def test_save_video_copies_the_result_without_encoding_it_again(server, clip, codec):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec=codec)}
    path = saved(server, nodes)
    before = max((server.base / "temp").glob("supertile_[0-9]*.mp4"), key=os.path.getmtime)
    for kind in ("video", "audio"):
        ours, copied = packets(before, kind), packets(path, kind)
        assert [data for _, data in ours] == [data for _, data in copied]
        assert len(ours) > 5
    result = frames(path)
    assert len(result) == 10
    assert result[0].shape == (96, 128, 3)


def test_the_result_equals_the_librarys(server, clip, by_library_video, model_files):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec="ffv1")}
    path = saved(server, nodes)
    expected = by_library_video(model_files / "two.safetensors", server.base / "input" / clip, codec="ffv1")
    for ours, theirs in zip(frames(path), frames(expected), strict=True):
        assert np.array_equal(ours, theirs)


def test_it_is_shown_and_reported(server, clip):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], quality=70)}
    nodes["text"] = node("PreviewAny", source=["upscale", 1])
    nodes["frames"] = node("GetVideoComponents", video=["upscale", 0])
    nodes["seen"] = node("PreviewImage", images=["frames", 0])
    result = server.run(nodes)
    assert result.status == "success", result
    assert len(frames(temp_video(server, result))) == 10
    assert len(result.outputs["seen"]["images"]) == 10
    (text,) = result.outputs["text"]["text"]
    assert "frames: 10" in text.splitlines()
    assert "size: 64x48 -> 128x96" in text.splitlines()


@pytest.mark.parametrize("codec", ["ffv1", "hevc"])
def test_a_small_copy_is_shown_of_what_no_browser_plays(server, clip, codec):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec=codec, quality=91)}
    nodes["save"] = node("SaveVideo", video=["upscale", 0], filename_prefix="x", format="auto", codec="auto")
    result = server.run(nodes)
    assert result.status == "success", result
    assert result.outputs["upscale"]["images"][0]["filename"].startswith("supertile_preview")
    with av.open(str(temp_video(server, result))) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert len(list(container.decode(video=0))) == 10
    assert "note: Browsers do not play this file." in result.outputs["upscale"]["text"][0]


def test_the_node_shows_what_was_done(server, clip):
    """By web/js/report.js, which takes the first text."""
    nodes = upscaled_file(clip, filename_prefix="shown/%width%", quality=93)
    *_, output = server.seen(nodes, "upscale")["shown"]  # after live messages, if the machine is busy
    assert output["text"][0].startswith(
        "file: shown/128_00001_.mp4\nframes: 10\nsize: 64x48 -> 128x96\nencoder: libx264, yuv420p\ntime: "
    )


def test_a_long_video_is_seen_while_it_runs(server, model_files):
    """Text and a picture about once a second, as a video, since the page takes it for one; the result comes last."""
    name = "slow.mp4"
    with av.open(str(server.base / "input" / name), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for index in range(40):
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.random.default_rng(index).integers(
                0, 256, (240, 320, 3), dtype=np.uint8))))  # fmt: skip
        output.mux(video.encode(None))
    nodes = {**upscaled_file(name, filename_prefix="slow"), "model": node(
        "SupertileLoadHATModel", model_name="one.safetensors")}  # fmt: skip
    seen = server.seen(nodes, "upscale")
    *live, result = seen["shown"]
    assert len(live) >= 2
    assert all(each["text"][0].startswith("frames: ") and " of 40, " in each["text"][0] for each in live)
    assert {each["images"][0]["filename"][:14] for each in live} == {"supertile_live"}
    assert all(each["animated"] == [True] for each in seen["shown"])
    assert result["images"][0]["filename"] == "slow_00001_.mp4"
    assert not any("supertile_live" in left for left in left_in_temp(server))


def test_trims_are_honoured(server, clip):
    nodes = {
        "loaded": node("LoadVideo", file=clip),
        "video": node("Video Slice", video=["loaded", 0], start_time=0.12, duration=0.16, strict_duration=False),
        **upscaled(["video", 0], codec="ffv1"),
    }
    path = saved(server, nodes)
    whole = saved(server, {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec="ffv1")})
    part, all_frames = frames(path), frames(whole)
    assert len(part) == 4  # frames 3 to 6: at 0.12, 0.16, 0.20 and 0.24 seconds
    for ours, theirs in zip(part, all_frames[3:7], strict=True):
        assert np.array_equal(ours, theirs)
    sound = packets(path, "audio")
    assert sound[-1][0] - sound[0][0] < 0.2


@pytest.mark.parametrize("depth", [8, 10])
def test_images_and_sound_become_a_video(server, clip, depth):
    nodes = {
        "loaded": node("LoadVideo", file=clip),
        "parts": node("GetVideoComponents", video=["loaded", 0]),
        "video": node("CreateVideo", images=["parts", 0], audio=["parts", 1], fps=29.97, bit_depth=depth),
        **upscaled(["video", 0]),
    }
    with av.open(str(saved(server, nodes))) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.frames) == ("h264", 10)
        assert video.format.name == ("yuv420p" if depth == 8 else "yuv420p10le")
        assert abs(float(video.average_rate) - 29.97) < 0.001
        assert sound.codec_context.name == "aac"
        assert abs(float(sound.duration * sound.time_base) - 10 / 29.97) < 0.03


def test_a_video_in_memory_is_read_as_it_is(server, clip):
    nodes = {"video": node("ProbeVideoInMemory", name=clip), **upscaled(["video", 0], codec="ffv1")}
    from_file = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], codec="ffv1")}
    ours, theirs = frames(saved(server, nodes)), frames(saved(server, from_file))
    assert len(ours) == 10
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one, other)


def test_of_two_default_streams_a_video_is_the_first_and_a_file_the_larger(server, nasa):
    """The core's nodes read the first; everything else here takes the larger, which is the second."""
    (server.base / "input" / nasa.name).write_bytes(nasa.read_bytes())
    cut = {
        "loaded": node("LoadVideo", file=nasa.name),
        "video": node("Video Slice", video=["loaded", 0], start_time=0.0, duration=0.2, strict_duration=False),
    }
    assert frames(saved(server, {**cut, **upscaled(["video", 0])}))[0].shape == (360, 640, 3)
    result = of_a_file(server, nasa.name, duration=0.2)
    assert result.status == "success", result
    assert frames(written(server, result))[0].shape == (540, 960, 3)


def test_what_is_no_video_is_refused(server, clip):
    nodes = {"video": node("ProbeNoVideo"), **upscaled(["video", 0])}
    nodes["save"] = node("SaveVideo", video=["upscale", 0], filename_prefix="x", format="auto", codec="auto")
    result = server.run(nodes)
    assert result.status == "error"
    assert "The video input is a dict" in result.message
    assert result.exception_type == "supertile.UpscaleError"  # no module path of the server


# --- Upscale Video File ------------------------------------------------------------------------------------------


def of_a_file(server, clip: str, **widgets: Any) -> Any:
    options = {"format": "mkv", "format.codec": "auto", "filename_prefix": f"{time.monotonic_ns()}"}
    return server.run(upscaled_file(clip, **{**options, **widgets}))


def written(server, result) -> Path:
    first, *_ = result.outputs["upscale"]["text"][0].splitlines()
    return server.base / "output" / first.removeprefix("file: ")


@pytest.mark.parametrize(
    ("format", "codec", "encoder"),
    [
        ("mp4", "auto", "h264"), ("mkv", "ffv1", "ffv1"), ("mov", "prores", "prores"), ("webm", "auto", "vp9"),
        ("mkv", "hevc", "hevc"), ("webm", "av1", "av1"), ("mkv", "prores", "prores"), ("mp4", "hevc_nvenc", "hevc"),
    ],
)  # fmt: skip
def test_every_format_is_written_with_all_streams_and_the_workflow(server, clip, format, codec, encoder):
    result = of_a_file(server, clip, **{"format": format, "format.codec": codec})
    assert result.status == "success", (result, server.log_text()[-3000:])
    path = written(server, result)
    assert path.suffix == f".{format}"
    with av.open(str(path)) as container:
        assert encoder in container.streams.video[0].codec_context.name.replace("libdav1d", "av1")
        assert len(container.streams.audio) == 1
        prompt = next(value for name, value in container.metadata.items() if name.lower() == "prompt")
    assert json.loads(prompt)["upscale"]["class_type"] == "SupertileUpscaleVideoFile"
    assert len(frames(path)) == 10


def test_names_are_counted_and_may_hold_the_size(server, clip):
    for number in (1, 2):
        result = of_a_file(server, clip, filename_prefix="sub/%width%x%height%", quality=80 + number)
        assert result.outputs["upscale"]["text"][0].startswith(f"file: sub/128x96_{number:05}_.mkv\n")


def test_a_part_of_a_file(server, clip):
    result = of_a_file(server, clip, start=0.12, duration=0.16)
    assert len(frames(written(server, result))) == 4


def test_its_result_is_a_video(server, clip):
    nodes = {
        **MODEL,
        "file": node(
            "SupertileUpscaleVideoFile", upscale_model=["model", 0], file=clip, filename_prefix="twice",
            **SIZE, **{"format": "mp4", "format.codec": "h264"},
        ),
        "upscale": node("SupertileUpscaleVideo", upscale_model=["model", 0], video=["file", 0], **SIZE),
    }  # fmt: skip
    assert frames(saved(server, nodes))[0].shape == (192, 256, 3)


# --- refusals and interruption -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["../clip.mp4", "/etc/hostname", "absent.mp4", "", "clip.mp4 [nowhere]", "folder", "a\0b", "x" * 5000]
)
def test_files_outside_of_the_input_folder_are_refused(server, clip, file):
    (server.base / "input" / "folder").mkdir(exist_ok=True)
    (server.base / "clip.mp4").write_bytes((server.base / "input" / clip).read_bytes())
    result = of_a_file(server, file)
    assert result.status == "rejected"
    assert "Value not in list: file" in result.message
    assert len(result.message) < 1000


def test_links_out_of_the_input_folder_are_not_listed(server, clip):
    (server.base / "outside.mp4").write_bytes((server.base / "input" / clip).read_bytes())
    (server.base / "input" / "inside link.mp4").symlink_to(clip)
    (server.base / "input" / "outside link.mp4").symlink_to(server.base / "outside.mp4")
    names = server.options("SupertileUpscaleVideoFile", "file")
    assert clip in names
    assert "inside link.mp4" in names
    assert "outside link.mp4" not in names
    assert of_a_file(server, "outside link.mp4").status == "rejected"


@pytest.mark.parametrize("name", ["sub/clip.mp4", "written/clip.mp4 [output]", "clip.mp4 [input]"])
def test_names_with_folders_are_taken_as_load_video_takes_them(server, clip, name):
    for folder in ("input/sub", "output/written"):
        (server.base / folder).mkdir(exist_ok=True)
        (server.base / folder / "clip.mp4").write_bytes((server.base / "input" / clip).read_bytes())
    result = of_a_file(server, name, duration=0.1)
    assert result.status == "success", result


@pytest.mark.parametrize("prefix", ["", " ", ".", "./"])
def test_an_empty_prefix_makes_no_hidden_file(server, clip, prefix):
    result = of_a_file(server, clip, filename_prefix=prefix, duration=0.1)
    assert written(server, result).name.startswith("Supertile_0000")


@pytest.mark.parametrize("extra", [["a list"], "text", 7, {"workflow": {"nodes": []}}])
def test_extra_pnginfo_may_be_anything(server, clip, extra):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], quality=31)}
    nodes["save"] = node("PreviewAny", source=["upscale", 1])
    body = {"prompt": nodes, "extra_data": {"extra_pnginfo": extra}}
    result = server.wait(server.post("/prompt", body)["prompt_id"])
    assert result.status == "success", result


def test_a_temporary_file_that_was_deleted_is_made_again(server, clip):
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], quality=33)}
    first = server.run({**nodes, "text": node("PreviewAny", source=["upscale", 1])})
    temp_video(server, first).unlink()
    assert len(frames(saved(server, nodes))) == 10


@pytest.mark.parametrize(
    ("widgets", "status", "message"),
    [
        ({"filename_prefix": "x" * 300}, "error", "cannot be part of a file name"),
        ({"filename_prefix": "a\0b"}, "error", "cannot be part of a file name"),
        ({"filename_prefix": "../../x"}, "error", "leads out of the output folder"),
        ({"filename_prefix": "/etc/x"}, "error", "leads out of the output folder"),
        ({"filename_prefix": "%date:yyyy%"}, "error", "has an unknown variable"),
        ({"format": "exe", "format.codec": "auto"}, "error", "not offered"),
        ({"format": "mov", "format.codec": "vp9"}, "rejected", "not in list"),
        (
            {"size": "exact", "size.width": 30_000, "size.height": 22_500},
            "error",
            "GiB are free; choose a smaller size",
        ),
        ({"quality": 101}, "rejected", "bigger than max"),
        ({"start": 5.0}, "error", ""),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(server, clip, widgets, status, message):
    before = set(os.listdir(server.base / "output"))
    result = of_a_file(server, clip, **widgets)
    assert result.status == status, result
    assert message in result.message
    assert "\n" not in result.message.strip()
    assert set(os.listdir(server.base / "output")) == before


def test_a_file_that_is_no_video_is_refused(server):
    (server.base / "input" / "text.mp4").write_text("not a video")
    result = of_a_file(server, "text.mp4")
    assert result.status == "error"
    assert result.exception_type == "supertile.VideoError"
    assert result.message.strip() == "text.mp4 is a text file, not a video."  # without the folders of the server


def test_progress_is_shown(server):
    nodes = {"video": node("LoadVideo", file=long_clip(server)), **upscaled(["video", 0])}
    nodes["save"] = node("SaveVideo", video=["upscale", 0], filename_prefix="watched", format="auto", codec="auto")
    steps, _ = server.watch(nodes, "upscale")
    assert steps[-1] == (120, 120)
    assert steps == sorted(steps)
    assert len(steps) > 3


def test_an_interruption_leaves_nothing_and_the_next_prompt_runs(server, clip):
    slow = {
        "model": node("SupertileLoadHATModel", model_name="one.safetensors"),
        "video": node("LoadVideo", file=long_clip(server)),
        "upscale": node(
            "SupertileUpscaleVideo", upscale_model=["model", 0], video=["video", 0], **SIZE, tile="64", batch="1"
        ),
        "save": node("SaveVideo", video=["upscale", 0], filename_prefix="never", format="auto", codec="auto"),
    }
    before = left_in_temp(server)
    prompt = server.queue(slow)
    end = time.monotonic() + 20
    while left_in_temp(server) == before and time.monotonic() < end:  # the half-written file has a name of its own
        time.sleep(0.1)
    time.sleep(1)
    assert not server.get(f"/history/{prompt}")  # it is still running
    begin = time.monotonic()
    server.post("/interrupt", {})
    assert server.wait(prompt).status == "interrupted"
    assert time.monotonic() - begin < 10  # of minutes
    assert left_in_temp(server) == before
    assert not list((server.base / "output").glob("never*"))
    nodes = {"video": node("LoadVideo", file=clip), **upscaled(["video", 0], quality=55)}
    assert len(frames(saved(server, nodes))) == 10


def long_clip(server) -> str:
    """Noise that moves: no tile is the same in two frames."""
    path = server.base / "input" / "long.mp4"
    if not path.exists():
        noise = np.random.default_rng(0).integers(0, 255, (240, 320 + 120, 3), np.uint8)
        with av.open(str(path), "w") as output:
            video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
            for index in range(120):
                image = np.ascontiguousarray(noise[:, index : index + 320])
                output.mux(video.encode(av.VideoFrame.from_ndarray(image)))
            output.mux(video.encode(None))
    return path.name
