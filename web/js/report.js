// Shows what a node of Supertile reports (`text` of its output) in the node itself, in both renderers of the page.
// ComfyUI's page shows such text for a few nodes of its own only.

import { app } from "../../../scripts/app.js";

const NAME = "supertile_report";
const LINE_HEIGHT = 15; // pixels
const LETTER_WIDTH = 6.5; // pixels, on average
const MOST_LINES = 14; // the others by scrolling
const MARGIN = 4; // pixels, around the text's box
const PADDING = 4; // pixels, in it

function heightOf(text, width) {
  const letters = Math.max(16, (width - 50) / LETTER_WIDTH);
  const lines = text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / letters)), 0);
  return LINE_HEIGHT * Math.min(lines, MOST_LINES) + 2 * PADDING;
}

function addWidget(node) {
  const element = document.createElement("div");
  element.style.cssText =
    `white-space: pre-wrap; overflow: auto; overflow-wrap: anywhere; padding: ${PADDING}px 8px; user-select: text;` +
    `font-size: 11px; line-height: ${LINE_HEIGHT}px; color: var(--input-text, #ddd);`;
  const height = () => heightOf(element.textContent, node.size[0]) + 2 * MARGIN;
  const widget = node.addDOMWidget(NAME, NAME, element, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: height,
    getMaxHeight: height,
    getValue: () => element.textContent,
    setValue: () => {},
  });
  widget.serialize = false;
  return widget;
}

function show(node, text) {
  if (!text) return;
  const widget = node.widgets?.find((each) => each.name === NAME) ?? addWidget(node);
  if (widget.element.textContent === text) return;
  widget.element.textContent = text;
  widget.element.style.minHeight = `${heightOf(text, node.size[0])}px`;
  if (window.LiteGraph?.vueNodesMode) return; // nodes of that renderer grow with their content
  requestAnimationFrame(() => {
    // after the page has added its video or image to the node
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1] + LINE_HEIGHT)]);
    node.setDirtyCanvas?.(true, true);
  });
}

app.registerExtension({
  name: "Supertile.Report",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("Supertile")) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.call(this, output);
      show(this, output?.text?.[0]);
    };
  },
});
