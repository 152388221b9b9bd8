// Gives an example workflow its inputs when it is opened: of those that are missing, ours are put into the folder
// `supertile` below ComfyUI's input folder, as the page's own upload does.
//
// `extra.supertile_inputs` of a workflow says which file of web/examples stands for which value of a widget.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const FOLDER = "supertile";
const supplied = new Set([`input/${FOLDER}`]); // which the page's lists do not have before it is loaded again

async function exists(value) {
  const [name, ...folders] = value.split("/").reverse();
  const place = new URLSearchParams({ filename: name, subfolder: folders.reverse().join("/"), type: "input" });
  return (await api.fetchApi(`/view?${place}`, { method: "HEAD" })).ok;
}

async function upload(file) {
  const answer = await fetch(new URL(`../examples/${file}`, import.meta.url));
  if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
  const form = new FormData();
  form.append("image", new File([await answer.blob()], file));
  form.append("subfolder", FOLDER);
  const stored = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!stored.ok) throw new Error(`${file}: ${stored.status}`);
  return `${FOLDER}/${(await stored.json()).name}`; // not the same name if another file has it
}

app.registerExtension({
  name: "Supertile.ExampleInputs",
  async beforeConfigureGraph(workflow) {
    for (const [value, file] of Object.entries(workflow?.extra?.supertile_inputs ?? {})) {
      try {
        const there = (await exists(value)) ? value : await upload(file);
        supplied.add(there);
        for (const node of workflow.nodes) {
          if (!Array.isArray(node.widgets_values)) continue;
          node.widgets_values = node.widgets_values.map((each) => (each === value ? there : each));
        }
      } catch (error) {
        console.warn("Supertile: the example lacks an input:", error);
      }
    }
  },
  loadedGraphNode(node) {
    for (const widget of node.widgets ?? []) {
      const listed = widget.options?.values;
      if (supplied.has(widget.value) && Array.isArray(listed) && !listed.includes(widget.value)) {
        listed.push(widget.value);
      }
    }
  },
});
