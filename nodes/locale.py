"""The English texts of the nodes as ComfyUI's page reads them: locales/en/nodeDefs.json, from their schemas.

    python -m supertile.nodes.locale http://127.0.0.1:8188

asks a running ComfyUI that has loaded the nodes, and writes the file. Translations beside it have the same keys. The
page prefers this file to what the schema says, so it is written anew whenever a schema changes; a test compares them.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PREFIX = "Supertile"
ENGLISH = Path(__file__).parents[1] / "locales" / "en" / "nodeDefs.json"


def node_defs(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """What /object_info says of our nodes, in the form of nodeDefs.json."""
    ours = sorted(name for name in object_info if name.startswith(PREFIX))
    return {name: _node(object_info[name]) for name in ours}


def file_text(texts: Mapping[str, Any]) -> str:
    return json.dumps(texts, ensure_ascii=False, indent=2) + "\n"


def escaped(text: str) -> str:
    """A text that means itself to vue-i18n, which reads messages and would take some characters for syntax."""
    return re.sub(r"[{}@|]", lambda found: f"{{'{found[0]}'}}", text)


def _node(info: Mapping[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for key, name, options in _inputs(info["input"]):
        texts = _texts(options.get("display_name") or name, options.get("tooltip"))
        if inputs.setdefault(key, texts) != texts:  # several choices of a group share it: only the schema can tell
            inputs[key] = _texts(name, None)
    outputs = {
        str(index): _texts(name if name != kind else None, tooltip)
        for index, (kind, name, tooltip) in enumerate(
            zip(info["output"], info["output_name"], info["output_tooltips"], strict=True)
        )
    }
    return {
        **_texts(info["display_name"], None, key="display_name"),
        "description": escaped(info["description"]),
        "inputs": inputs,
        "outputs": {index: texts for index, texts in outputs.items() if texts},
    }


def _inputs(groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(key, name, options) of every input, and after a DynamicCombo of its choices' inputs, by keys as size_factor."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in groups.get(group, {}).items():
            options = rest[0] if rest else {}
            yield prefix + name, name, options
            if kind == "COMFY_DYNAMICCOMBO_V3":
                for choice in options["options"]:
                    yield from _inputs(choice["inputs"], f"{prefix}{name}_")


def _texts(name: str | None, tooltip: str | None, key: str = "name") -> dict[str, str]:
    texts = {key: name, "tooltip": tooltip}
    return {key: escaped(text) for key, text in texts.items() if text}


def main(address: str) -> None:
    with urllib.request.urlopen(f"{address.rstrip('/')}/object_info", timeout=60) as answer:
        texts = node_defs(json.load(answer))
    ENGLISH.write_text(file_text(texts), encoding="utf-8")
    print(f"{len(texts)} nodes: {ENGLISH}")


if __name__ == "__main__":
    main(sys.argv[1])
