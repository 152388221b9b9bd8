"""The rules of the house, as docs/architecture.md states them, read from the sources themselves."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import supertile
from safetensors.torch import save_file
from supertile.arch import VapSR, VapSRConfig

ROOT = Path(__file__).resolve().parents[1]

# Folder -> the folders it may import from, besides itself. What is not listed stands on top and may import anything.
ARROWS = {
    "errors": set(),
    "version": set(),
    "kernels": set(),
    "arch": {"kernels"},
    "weights": {"arch"},
    "inference": {"arch", "weights"},
    "images": {"arch", "weights", "inference"},
    "analysis": {"arch", "weights", "inference", "images"},
    "demo": {"weights", "inference", "images", "video"},
    "diagnostics": {"kernels", "arch", "weights", "inference", "video"},
    "previews": {"weights", "inference", "images", "analysis", "video"},
    "training": {"kernels", "arch", "weights", "inference", "images", "analysis", "video"},
    "video": {"arch", "weights", "inference", "images"},
}
ON_TOP = {"__init__", "__main__", "cli", "nodes", "benchmarks"}
ROOT_MODULES = {"errors", "version"}  # which anything may import and which import nothing

# Folder -> what it may import from outside, besides the standard library.
OUTSIDE = {
    "kernels": {"torch", "triton", "einops"},
    "arch": {"torch", "einops"},
    "weights": {"torch", "spandrel", "spandrel_extra_arches", "safetensors"},
    "inference": {"torch", "spandrel", "ray"},
    "images": {"torch", "numpy", "PIL", "pillow_heif", "pillow_jxl"},
    "analysis": {"torch", "numpy", "PIL", "spandrel"},  # what it draws has letters
    "demo": {"torch"},
    "diagnostics": {"torch", "spandrel"},
    "previews": {"torch", "PIL"},
    "training": {"torch", "numpy", "PIL", "typer", "rich", "spandrel"},
    "video": {"torch", "numpy", "PIL", "av"},
    "nodes": {
        "torch",
        "numpy",
        "PIL",
        "spandrel",
        "comfy",
        "comfy_api",
        "comfy_execution",
        "folder_paths",
        "server",
    },
    "cli": {"typer", "rich", "tomli"},
    "__main__": {"typer", "rich"},
    "__init__": set(),
}
HOSTS = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "server"}
# None: used where it happens to be there
PACKAGES = {
    "PIL": "pillow",
    "tomli": None,  # part of Python from 3.11 on
    "pillow_heif": None,
    "pillow_jxl": None,
    "spandrel_extra_arches": None,
    "timm": None,
    "openvino": None,
    "onnxruntime": None,
    "triton": None,
}


class Import(NamedTuple):
    file: Path
    line: int
    outside: str | None  # top-level name of another package
    inside: str | None  # folder or module of ours


def sources() -> list[Path]:
    """Every module of the package: what lies in the root and in the folders that are packages, tests aside."""
    tops = [folder for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()]
    folders = [ROOT, *(init.parent for top in tops for init in top.rglob("__init__.py"))]
    return sorted(file for folder in folders for file in folder.glob("*.py"))


def home(file: Path) -> str:
    """The top folder of a module, or the name of one in the root."""
    parts = file.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else file.stem


def imports(file: Path) -> Iterator[Import]:
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name.partition(".")[0], None)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield Import(file, node.lineno, str(node.module).partition(".")[0], None)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{file}:{node.lineno} leaves the package"
            path = (*package[: len(package) + 1 - node.level], *str(node.module or "").split("."))
            path = tuple(part for part in path if part)
            for alias in node.names:
                yield Import(file, node.lineno, None, (*path, alias.name)[0])


ALL = [each for file in sources() for each in imports(file)]


def where(found: Import) -> str:
    return f"{found.file.relative_to(ROOT)}:{found.line} imports {found.outside or found.inside}"


def test_there_is_something_to_read():
    assert {"arch", "weights", "inference", "images", "cli", "__init__"} <= {home(file) for file in sources()}
    assert any(each.inside == "arch" and home(each.file) == "weights" for each in ALL)


def test_arrows_never_run_back():
    wrong = []
    for each in ALL:
        if each.inside is not None and (mine := home(each.file)) not in ON_TOP:
            wrong += [where(each)] if each.inside not in ARROWS[mine] | ROOT_MODULES | {mine} else []
    assert wrong == []


def test_nothing_imports_what_stands_on_top():
    also = {"benchmarks": {"cli"}}  # `supertile bench`
    wrong = [
        where(e)
        for e in ALL
        if e.inside in ("nodes", "benchmarks", "training")
        and home(e.file) not in {e.inside, "__init__", *also.get(e.inside, ())}
    ]
    assert wrong == []


def test_every_folder_has_its_place():
    assert {home(file) for file in sources()} <= ARROWS.keys() | ON_TOP | ROOT_MODULES


def test_imports_inside_the_package_are_relative():
    """ComfyUI loads the folder under a name of its own."""
    assert [where(each) for each in ALL if each.outside == "supertile"] == []


def test_each_folder_imports_only_what_it_is_about():
    wrong = []
    for each in ALL:
        allowed = OUTSIDE.get(home(each.file))
        if allowed is not None and each.outside is not None:
            known = allowed | set(sys.stdlib_module_names)
            wrong += [where(each)] if each.outside not in known else []
    assert wrong == []


@pytest.mark.parametrize(("names", "place"), [({"av"}, "video"), (HOSTS, "nodes"), ({"typer", "rich"}, "cli")])
def test_who_alone_knows_another_program(names, place):
    also = {"benchmarks"} if place == "video" else {"__main__", "training"} if place == "cli" else set()
    assert [where(e) for e in ALL if e.outside in names and home(e.file) not in {place, *also}] == []


def test_triton_is_left_alone_until_a_tensor_on_cuda_asks():
    """Importing it takes as long as a small image."""
    assert {e.file.parent for e in ALL if e.outside == "triton"} == {ROOT / "kernels" / "cuda"}
    at_import = [node for file in sources() for node in ast.parse(file.read_text(encoding="utf-8")).body]
    assert [
        each for each in at_import if isinstance(each, ast.ImportFrom) and "cuda" in str(each.module).split(".")
    ] == []


def test_ray_is_imported_where_a_cluster_is_used():
    """It is an extra, and importing it takes a second."""
    assert {e.file.parent for e in ALL if e.outside == "ray"} == {ROOT / "inference" / "cluster"}
    at_import = [node for file in sources() for node in ast.parse(file.read_text(encoding="utf-8")).body]
    assert not any("import ray" in ast.unparse(each) for each in at_import if isinstance(each, ast.Import))
    assert not any(str(each.module).startswith("ray") for each in at_import if isinstance(each, ast.ImportFrom))


def test_only_weights_opens_checkpoints():
    wrong = [where(e) for e in ALL if e.outside in ("pickle", "safetensors") and home(e.file) not in ("weights",)]
    for file in sources():
        if home(file) in ("weights", "benchmarks") or file.name == "trainer.py":  # it reads its own, to go on
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            if name in ("torch.load", "torch.jit.load", "ModelLoader", "load_state_dict_from_url"):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} uses {name}")
    assert wrong == []


def test_networks_and_files_leave_the_device_to_the_core():
    wrong = []
    for file in sources():
        if home(file) in ("arch", "weights", "images", "cli"):
            text = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            names = {ast.unparse(node) for node in text if isinstance(node, ast.Attribute)}
            wrong += [f"{file.name}: {n}" for n in names if re.match(r"torch\.(cuda|mps|xpu|backends)\.\w+", n)]
    assert wrong == []


# --- private members and circles ---------------------------------------------------------------------------------

# Private names of other libraries that are used, and why. A name that our classes could define as well is allowed in
# one file only.
OUTSIDE_PRIVATE = {
    "weights/unpickler.py _Unpickler": "pickle: the interpreter of opcodes in Python; the one in C cannot be limited",
    "_version": "torch: counts the writes to a tensor, which tells when weights have changed",
    "_modules": "torch: the children of a module, by name",
    "_parameters": "torch: the parameters of a module without those of its children",
    "_foreach_lerp_": "torch: one step of a running mean over many tensors",
    "_is_avx512_bf16_supported": "torch.cpu: whether the processor multiplies bf16",
    "_is_amx_tile_supported": "torch.cpu: whether the processor multiplies bf16 in tiles",
    "_fields": "collections: public, with an underscore so that it is no field itself",
    "_call_fn": "spandrel: how a descriptor calls its network, needed for a copy of it; there is no public way",
    "nodes/host.py _model": "spandrel: the network of a descriptor, which has no setter",
    "weights/combined.py _model": "spandrel: the network of a descriptor, which has no setter",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_"


def defined_in(tree: ast.Module) -> set[str]:
    """The private names that a module defines: its functions, classes, variables, and the members of its classes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            names.add(node.attr)
    return names


def is_own(node: ast.expr) -> bool:
    """Tell whether an expression is `self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_uses(file: Path) -> Iterator[str]:
    path = file.relative_to(ROOT).as_posix()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    allowed = defined_in(tree) | {name.removeprefix(f"{path} ") for name in OUTSIDE_PRIVATE}
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            found = [ast.unparse(node)] if node.attr not in allowed else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            found = [ast.unparse(node)] if is_private(str(name)) and name not in allowed else []
        elif isinstance(node, ast.ImportFrom):
            found = [f"import {alias.name}" for alias in node.names if is_private(alias.name)]
        for each in found:
            yield f"{path}:{node.lineno} {each}"


def test_nothing_uses_the_private_members_of_another_module():
    assert [use for file in sources() for use in private_uses(file)] == []


def test_the_check_of_private_members_finds_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "module.py"
    file.write_text(
        textwrap.dedent(
            """
            from .other import _hidden, shown
            class Own:
                _field: int = 0
                def __init__(self, other):
                    self._mine = other._theirs
                    self._mine, super()._inherited, cls._mine, other.__dict__
                def same(self, other: "Own"):
                    return other._mine == self._mine and other._field and other._version
            def _function():
                return shown._private, Own._field, shown._model, getattr(shown, "_by_name"), shown._version
            """
        )
    )
    assert {use.partition(" ")[2] for use in private_uses(file)} == {
        "import _hidden",
        "other._theirs",
        "shown._private",
        "shown._model",
        "getattr(shown, '_by_name')",
    }


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements of a module outside of functions; those for type checkers count too."""
    for node in body:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from statements_at_import(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from statements_at_import(handler.body)


def imported_modules(file: Path, modules: set[str]) -> set[str]:
    """The modules of the package that a module imports when it is imported itself."""
    package = file.relative_to(ROOT).parts[:-1]
    found = set()
    for node in statements_at_import(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join((*package[: len(package) + 1 - node.level], *filter(None, [node.module])))
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                found.add(inner if inner in modules else base)
    return found - {module_name(file)}


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return the modules that lie on circles: those left after removing, again and again, the ends of the graph."""
    left = {name: set(targets) for name, targets in arrows.items()}
    while True:
        targets = set().union(*left.values()) if left else set()
        loose = {name for name, its in left.items() if not its & left.keys() or name not in targets}
        if not loose:
            return sorted(left)
        left = {name: its - loose for name, its in left.items() if name not in loose}


def test_no_module_imports_itself_through_others():
    """Inside folders too, and for type checkers: two modules that need each other are one."""
    files = {module_name(file): file for file in sources()}
    arrows = {name: imported_modules(file, set(files)) & files.keys() for name, file in files.items()}
    arrows.pop("")  # the root only lists names, for type checkers
    assert sum(map(len, arrows.values())) > 300
    assert circles(arrows) == []


def test_the_search_for_circles_finds_them():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


# --- packaging ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_shipped_but_tests_training_and_benchmarks(project):
    folders = {file.parent.relative_to(ROOT) for file in sources() if file.name == "__init__.py"}
    packages = {".".join(("supertile", *folder.parts)) for folder in folders}
    packages -= {"supertile.training", "supertile.benchmarks"}
    assert set(project["tool"]["setuptools"]["packages"]) == packages
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_what_is_imported_is_declared(project):
    def names(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", each)[0] for each in requirements}

    always, optional = names(project["project"]["dependencies"]), project["project"]["optional-dependencies"]
    used = {each.outside for each in ALL} - set(sys.stdlib_module_names) - HOSTS - {None}
    needed = {PACKAGES.get(name, name) for name in used} - {None}
    assert needed <= always | names(optional["cli"]) | names(optional["bench"] + optional["cluster"])
    only_cli = {each.outside for each in ALL if home(each.file) not in ("cli", "__main__", "training")} & names(
        optional["cli"]
    )
    assert only_cli == set()
    for requirement in (ROOT / "requirements.txt").read_text().splitlines():
        if requirement and not requirement.startswith("#"):
            assert requirement in project["project"]["dependencies"]


def test_the_version_is_that_of_the_project(project):
    assert supertile.__version__ == project["project"]["version"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from a checkout
        assert importlib.metadata.version("supertile") == supertile.__version__


def test_every_public_name_is_found_where_it_is_said_to_be():
    assert supertile.__all__ == sorted(supertile.__all__)
    assert set(supertile.__all__) == set(supertile._HOMES)
    for name in supertile.__all__:
        value = getattr(supertile, name)
        assert value.__name__ == name
        is_error = isinstance(value, type) and issubclass(value, supertile.SupertileError)
        assert value.__module__ == ("supertile" if is_error else f"supertile.{supertile._HOMES[name]}")
        assert value.__doc__, name
    with pytest.raises(AttributeError, match=r"module 'supertile' has no attribute 'upscale_everything'"):
        supertile.upscale_everything  # noqa: B018


def test_the_entry_point_of_the_nodes_is_for_comfyui_alone(monkeypatch):
    assert not hasattr(supertile, "comfy_entrypoint")
    for host in ("comfy_api", "folder_paths"):
        monkeypatch.setitem(sys.modules, host, types.ModuleType(host))
    with pytest.raises(ModuleNotFoundError, match="comfy_api"):  # what is missing in ComfyUI is said, not hidden
        supertile.comfy_entrypoint  # noqa: B018
    assert not hasattr(supertile, "NODE_CLASS_MAPPINGS")  # even an empty one would switch the nodes off


def test_no_committed_file_names_a_path_of_a_machine():
    """Somebody's home, a temporary folder, a disk: they mean nothing anywhere else."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git cannot list the files ({error})")
    pattern = re.compile(r"(?<![\w.~$}>)/-])/(work|tmp|root|opt|mnt|home|Users|var/folders)/\w|\b[A-Z]:\\Users\b")
    wrong = []
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
            wrong += [f"{name}: {match[0]}" for match in pattern.finditer(text)]
    assert wrong == []


def test_importing_costs_no_torch_and_no_cuda():
    """`import supertile` leaves torch out, and all of its names together leave CUDA alone."""
    run_python(
        """
        import supertile
        assert "torch" not in sys.modules and "spandrel" not in sys.modules
        import torch
        asked = []
        torch.cuda._lazy_init = lambda: asked.append("CUDA")
        for name in supertile.__all__:
            getattr(supertile, name)
        assert "supertile.inference.upscaler" in sys.modules
        assert asked == [] and not torch.cuda.is_initialized()
        """
    )


# --- under another name ------------------------------------------------------------------------------------------

LOAD_AND_UPSCALE = """
    import importlib, importlib.util, sys
    from pathlib import Path

    def load(name, folder):
        if "/" not in name and "\\\\" not in name:
            sys.path.insert(0, str(folder.parent))
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")  # as ComfyUI does
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def use(package, model):
        import torch
        upscaler = package.Upscaler(package.load_model(model), device="cpu")
        result = upscaler(torch.full((1, 3, 7, 5), 0.5))
        assert result.shape == (1, 3, 14, 10), result.shape
        return result
"""


@pytest.fixture
def model_file(tmp_path, randomized) -> Path:
    net = randomized(VapSR(VapSRConfig(scale=2, num_feat=8, num_blocks=1, attention_dim=8)))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def linked(tmp_path) -> Path:
    """The package's folder under a name of its own."""
    folder = tmp_path / "custom_nodes" / "another_name"
    folder.parent.mkdir()
    try:
        folder.symlink_to(ROOT, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"no links can be made here ({error})")
    return folder


def run_python(code: str, *arguments: object) -> None:
    """In a process that knows nothing of how this one finds the package."""
    code = textwrap.dedent(LOAD_AND_UPSCALE) + textwrap.dedent(code)
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=180
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("comfyui", [False, True], ids=["as a module", "as ComfyUI loads a folder"])
def test_the_package_works_under_another_name(linked, model_file, comfyui):
    name = str(linked).replace(".", "_x_") if comfyui else linked.name
    run_python(
        """
        name, folder, model = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
        package = load(name, folder)
        use(package, model)
        assert package.load_model.__module__ == name + ".weights.loader"
        assert "supertile" not in sys.modules
        """,
        name,
        linked,
        model_file,
    )


def test_two_copies_live_beside_each_other(linked, model_file):
    """Installed, and once more among ComfyUI's nodes: spandrel is joined once, and both work."""
    second = linked.with_name("one_more")
    second.symlink_to(ROOT, target_is_directory=True)
    run_python(
        """
        folder, second, model = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
        one, other = load(folder.name, folder), load(second.name, second)
        from spandrel import MAIN_REGISTRY, ModelLoader
        ids = [support.architecture.id for support in MAIN_REGISTRY]
        assert ids.count("VapSR") == ids.count("HiT-SR") == ids.count("Supertile/HAT") == 1, ids
        assert ModelLoader().load_from_file(model).scale == 2
        assert one.Upscaler is not other.Upscaler
        assert use(one, model).equal(use(other, model))
        """,
        linked,
        second,
        model_file,
    )


# --- inside images/ ----------------------------------------------------------------------------------------------


def test_pixels_know_nothing_of_image_files():
    """`images/io` stands alone, and video/ and nodes/ use alpha, channels, resize, imresize and size without it."""
    above = {
        "__init__.py", "upscale.py", "jobs.py", "journal.py", "batch.py", "pool_batch.py", "estimate.py",
        "source_kind.py", "choice.py", "arrays.py", "folder_files.py", "region.py", "mask_file.py",
    }  # fmt: skip
    io = ROOT / "images" / "io"
    pixels = {file for file in (ROOT / "images").glob("*.py") if file.name not in above}
    assert {"alpha.py", "channels.py", "resize.py", "imresize.py", "size.py"} <= {file.name for file in pixels}
    wrong = []
    for file in (*pixels, *io.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                outside_io = file.parent == io and node.level > 1 and node.module != "errors"
                into_io = file.parent != io and str(node.module).split(".")[0] == "io"
                wrong += [f"{file.name} imports {node.module}"] if outside_io or into_io else []
    assert wrong == []


# --- the rooms of video/ -----------------------------------------------------------------------------------------

# Room or module of video/ -> those it may import from. Modules that are not listed are the job above the rooms.
VIDEO_GROUND = {
    "errors",
    "kinds",
    "frames",
    "container",
    "encryption",
    "joined",
    "matroska",
    "broadcast",
    "clock",
    "priority",
}
VIDEO_ARROWS = {
    **{module: VIDEO_GROUND for module in VIDEO_GROUND},
    "color": VIDEO_GROUND,
    "read": VIDEO_GROUND,
    "remux": VIDEO_GROUND | {"color", "read"},
    "write": VIDEO_GROUND | {"color", "read", "remux"},
}


def video_imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, room or module of video/) of each import inside video/."""
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[: len(package) + 1 - node.level], *filter(None, str(node.module or "").split(".")))
            for alias in node.names:
                path = (*base, alias.name)
                if path[0] == "video":
                    yield node.lineno, path[1]


def test_arrows_inside_video_never_run_back():
    wrong = []
    for file in (ROOT / "video").rglob("*.py"):
        parts = file.relative_to(ROOT / "video").parts
        room = parts[0] if len(parts) > 1 else file.stem
        for line, target in video_imports(file):
            if room in VIDEO_ARROWS and target not in VIDEO_ARROWS[room] | {room}:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {target}")
    assert wrong == []
    assert {room for _, room in video_imports(ROOT / "video" / "upscale.py")} >= {"read", "write"}


# --- words -------------------------------------------------------------------------------------------------------


def test_docstrings_begin_with_what_is_done():
    """The first line alone shows in an editor, where "The same" or "What ..." says nothing."""
    documented = ast.Module, ast.ClassDef, ast.FunctionDef
    nodes = ((file, node) for file in sources() for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    found = ((file, ast.get_docstring(node)) for file, node in nodes if isinstance(node, documented))
    wrong = [
        f"{file.name}: {text}" for file, text in found if (text or "").startswith(("The same", "What ", "Whether "))
    ]
    assert wrong == []
