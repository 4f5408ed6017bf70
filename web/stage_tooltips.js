// ComfyUI's front end looks up the tooltip of a widget by its node's type; the block of a stage (a subgraph) has none.
// So widgets of our nodes carry their tooltips, in the user's language, and blocks that show them do too.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const PREFIX = "OpenLTX"; // of our node ids
let translated = {};

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
});
