// ComfyUI's front end looks up the tooltip of a widget by its node's type; the block of a stage (a subgraph) has none.
// So widgets of our nodes carry their tooltips, in the user's language, and blocks that show them do too.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const PREFIX = "OpenLTX"; // of our node ids
const kept = new WeakMap(); // widgets of blocks: newer front ends hold them weakly, and make others without tooltips
let translated = {};

/** The tooltip of the widget that an input of a stage's block leads to. */
function inside(block, name) {
  const place = block.inputs.findIndex((slot) => slot.widget?.name === name);
  const link = block.subgraph.links.get(block.subgraph.inputs[place]?.linkIds[0]);
  const node = link && block.subgraph.getNodeById(link.target_id);
  const widget = node?.inputs[link.target_slot].widget?.name;
  return node?.widgets?.find((shown) => shown.name === widget)?.tooltip;
}

app.registerExtension({
  name: "OpenLTX.StageTooltips",
  async init() {
    const answer = await api.fetchApi("/i18n");
    const language = app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en";
    translated = answer.ok ? ((await answer.json())[language]?.nodeDefs ?? {}) : {};
  },
  nodeCreated(node) {
    const { name, input } = node.constructor.nodeData ?? {};
    if (!name?.startsWith(PREFIX)) return;
    for (const widget of node.widgets ?? []) {
      const given = input?.required?.[widget.name] ?? input?.optional?.[widget.name];
      widget.tooltip ??= translated[name]?.inputs?.[widget.name]?.tooltip ?? given?.[1]?.tooltip;
    }
  },
  loadedGraphNode(node) {
    if (!node.subgraph) return;
    kept.set(node, node.widgets);
    for (const widget of kept.get(node) ?? []) {
      const tooltip = inside(node, widget.name);
      if (tooltip && !widget.tooltip) widget.tooltip = tooltip; // older front ends pass it on themselves
    }
  },
});
