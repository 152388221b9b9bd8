"""Texts of the nodes as a running ComfyUI serves them to its page."""

from __future__ import annotations

import urllib.request

from supertile.nodes.locale import ENGLISH, file_text, node_defs


def test_the_english_texts_are_those_of_the_schemas(server):
    """If they differ, run python -m supertile.nodes.locale ADDRESS, then update the translations."""
    assert ENGLISH.read_text(encoding="utf-8") == file_text(node_defs(server.get("/object_info")))


def test_the_page_gets_every_language(server):
    languages = server.get("/i18n")
    for language in ("en", "zh", "ja"):
        nodes = {name for name in languages[language]["nodeDefs"] if name.startswith("Supertile")}
        assert nodes == {name for name in server.get("/object_info") if name.startswith("Supertile")}
        assert "info" in languages[language]["nodeCategories"]


def test_the_page_finds_help_and_its_images(server):
    """The page requests them under the name of the pack's folder."""
    address = f"http://127.0.0.1:{server.port}/extensions/ComfyUI-Supertile/docs"
    for node in server.get("/i18n")["ja"]["nodeDefs"]:
        for page in (f"{node}.md", f"{node}/zh.md", f"{node}/ja.md", f"images/{node}.png"):
            with urllib.request.urlopen(f"{address}/{page}", timeout=30) as answer:
                assert len(answer.read()) > 500, page


def test_the_page_gets_our_scripts(server):
    scripts = {path.rsplit("/", 1)[1]: path for path in server.get("/extensions") if "Supertile" in path}
    assert set(scripts) == {"report.js", "example_inputs.js"}
    for path in scripts.values():
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as answer:
            assert answer.headers["Content-Type"].split(";")[0].endswith("javascript")
            assert "app.registerExtension" in answer.read().decode()
