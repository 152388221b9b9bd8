"""Write the English texts of the nodes, locales/en/nodeDefs.json, from their schemas.

    python -m supertile.nodes.locale http://127.0.0.1:8188

reads the schemas from a running ComfyUI. Its page prefers this file to the schemas, so run it whenever a schema
changes; a test compares the two. The translations in locales/ have the same keys.
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
    """Return the texts of Supertile's nodes in ComfyUI's /object_info, in the form of nodeDefs.json."""
    return {name: _node(object_info[name]) for name in sorted(object_info) if name.startswith(PREFIX)}


def file_text(texts: Mapping[str, Any]) -> str:
    """Return the contents of nodeDefs.json."""
    return json.dumps(texts, ensure_ascii=False, indent=2) + "\n"


def escaped(text: str) -> str:
    """Escape the characters that vue-i18n would take for syntax."""
    return re.sub(r"[{}@|]", lambda match: f"{{'{match[0]}'}}", text)


def _node(info: Mapping[str, Any]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for key, name, options in _inputs(info["input"]):
        texts = _texts(options.get("display_name") or name, options.get("tooltip"))
        if inputs.setdefault(key, texts) != texts:  # inputs of several choices share this key but not their tooltip
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
    """Yield (key, name, options) of every input; inputs of a DynamicCombo's choices have keys like "size_factor"."""
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
