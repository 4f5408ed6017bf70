// Opens workflow files in ComfyUI's front end and tells, a JSON line each, what it shows of them.
// node open_workflows.cjs ADDRESS CHROMIUM PROFILE < [{name, workflow, picture?}, …]; needs playwright-core.
const { chromium } = require("playwright-core");
const fs = require("node:fs");

const [address, executablePath, profile] = process.argv.slice(2);
const QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PATIENCE = 180000; // ms

async function shown(page, { name, workflow, picture }) {
  const found = await page.evaluate(async ([name, workflow]) => {
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    const problem = {};
    try {
      await window.app.loadGraphData(workflow, true, true, name);
    } catch (error) {
      problem.load = String(error);
    }
    await pause(1500);
    const nodes = window.app.graph._nodes ?? window.app.graph.nodes;
    const inside = (canvas) => (canvas._nodes ?? canvas.nodes).flatMap(
      (node) => [node, ...(node.subgraph ? inside(node.subgraph) : [])]);
    const all = inside(window.app.graph);
    const known = window.LiteGraph.registered_node_types;
    const texts = (selector) => [...document.querySelectorAll(selector)].map((part) => part.innerText.trim());
    try {
      problem.prompt = (await window.app.graphToPrompt()).output;
    } catch (error) {
      problem.convert = String(error);
    }
    const stages = nodes.filter((node) => node.subgraph);
    const given = (node) => node.inputs.filter((slot) => slot.link != null).map((slot) => slot.widget?.name);
    const free = stages.flatMap((node) => node.widgets.filter(
      (widget) => typeof widget.value === "number" && !given(node).includes(widget.name)));
    free.forEach((widget) => (widget.value += 1));
    const changed = (await window.app.graphToPrompt()).output;
    free.forEach((widget) => (widget.value -= 1));
    return {
      ...problem,
      nodes: nodes.length,
      changed,
      untold: stages.flatMap((node) => node.widgets).filter((widget) => !widget.tooltip).map((widget) => widget.name),
      unknown: all.filter((node) => !known[node.type] && !node.subgraph).map((node) => node.type),
      marked: all.filter((node) => node.has_errors).map((node) => node.title),
      dialogs: texts('[data-testid="error-overlay"], [role="dialog"], .p-dialog, .p-toast-message-error').filter(Boolean),
    };
  }, [name, workflow]);
  if (picture) {
    await page.keyboard.press("."); // the whole graph in view
    await page.waitForTimeout(1000);
    await page.evaluate(() => {
      Object.assign(window.app.canvas, { min_font_size_for_lod: 0, show_info: false }); // all words, no frame rate
      window.app.canvas.setDirty(true, true);
    });
    await page.waitForTimeout(500);
    const { width, height } = page.viewportSize();
    await page.screenshot({ path: picture, clip: { x: 60, y: 96, width: width - 60, height: height - 96 } });
  }
  return { name, ...found };
}

async function main() {
  const args = [...QUIET, "--no-proxy-server"];
  const viewport = { width: 1600, height: 900 };
  const context = await chromium.launchPersistentContext(profile, { executablePath, args, viewport, timeout: PATIENCE });
  await context.route((url) => url.origin !== new URL(address).origin, (route) => route.abort());
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(PATIENCE);
  const failures = [];
  page.on("pageerror", (error) => failures.push(String(error)));
  await page.goto(address, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100
      && window.app.extensions.some((extension) => extension.name === "OpenLTX.StageTooltips"));
  await page.waitForTimeout(2000);
  for (const task of JSON.parse(fs.readFileSync(0, "utf8"))) {
    failures.length = 0;
    const answer = await shown(page, task);
    console.log(JSON.stringify({ ...answer, failures: [...failures] }));
  }
  await context.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
