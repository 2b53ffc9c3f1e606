// Drives a headless Chromium over its debugging pipe: opens pages, does what a person would, takes pictures.
//
//   node browse.mjs PROFILE SCRIPT.json     prints a line of JSON for each step that tells something
//
// BROWSE_FLAGS: more flags of Chromium's, with a space between them; \t stands for a space in one.
//
// A step is one of: {size: [w, h], phone: bool}, {scheme: "dark"}, {open: URL}, {until: JS, seconds: n}, {say: NAME, js: JS},
// {do: JS}, {keys: ["Tab", …]}, {picture: FILE, whole: bool}. What the page says in its console as an error is told as {console: …}.
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const [profile, script] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(script, "utf8"));
const browser = spawn("chromium", [
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
  ...(process.env.BROWSE_FLAGS || "").split(" ").filter(Boolean).map((flag) => flag.replaceAll("\\t", " ")),
  "--user-data-dir=" + profile, "--remote-debugging-pipe", "about:blank",
], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [, , , writes, reads] = browser.stdio;
const limit = setTimeout(() => { tell({ failed: "too slow" }); browser.kill("SIGKILL"); process.exit(1); }, 240000);

let last = 0, text = "";
const asked = new Map();
const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
reads.setEncoding("utf8");
reads.on("data", (piece) => {
  text += piece;
  for (let end = text.indexOf("\0"); end >= 0; end = text.indexOf("\0")) {
    const message = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    if (message.id) {
      const { resolve, reject } = asked.get(message.id);
      asked.delete(message.id);
      if (message.error) reject(new Error(message.error.message)); else resolve(message.result);
    } else if (message.method === "Runtime.exceptionThrown") {
      tell({ console: message.params.exceptionDetails.exception?.description || message.params.exceptionDetails.text });
    } else if (message.method === "Log.entryAdded" && message.params.entry.level === "error") {
      tell({ console: message.params.entry.text + " " + (message.params.entry.url || "") });
    }
  }
});
let session;
function send(method, params = {}) {
  last += 1;
  const id = last;
  writes.write(JSON.stringify({ id, method, params, sessionId: session }) + "\0");
  return new Promise((resolve, reject) => asked.set(id, { resolve, reject }));
}
async function run(js) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression: js, awaitPromise: true, returnByValue: true, userGesture: true });
  if (exceptionDetails) throw new Error(js + ": " + (exceptionDetails.exception?.description || exceptionDetails.text));
  return result.value;
}

async function step(one) {
  if (one.size) {
    const [width, height] = one.size;
    await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: one.phone ? 2 : 1, mobile: !!one.phone });
  }
  if (one.scheme) await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: one.scheme }] });
  if (one.open) {
    await send("Page.navigate", { url: one.open });
    await until("document.readyState === 'complete' && location.href !== 'about:blank'", 30);
  }
  if (one.until) await until(one.until, one.seconds || 30);
  if (one.do) await run(one.do);
  if (one.keys) {
    for (const key of one.keys) {
      const code = { Tab: 9, Enter: 13, Escape: 27, ArrowRight: 39, ArrowDown: 40, " ": 32 }[key];
      const event = { key, code: key === " " ? "Space" : key, windowsVirtualKeyCode: code, text: key === "Enter" ? "\r" : key === " " ? " " : undefined };
      await send("Input.dispatchKeyEvent", { type: event.text ? "keyDown" : "rawKeyDown", ...event });
      await send("Input.dispatchKeyEvent", { type: "keyUp", key, code: event.code, windowsVirtualKeyCode: code });
    }
  }
  if (one.say) tell({ [one.say]: await run(one.js) });
  if (one.picture) {
    const { data } = await send("Page.captureScreenshot", { format: "png", captureBeyondViewport: !!one.whole });
    writeFileSync(one.picture, Buffer.from(data, "base64"));
  }
}
async function until(js, seconds) {
  for (let left = seconds * 10; left > 0; left -= 1) {
    if (await run("!!(" + js + ")").catch(() => false)) return;
    await new Promise((go) => setTimeout(go, 100));
  }
  throw new Error("never: " + js);
}

let failed = 0;
try {
  const { targetInfos } = await send("Target.getTargets");
  const page = targetInfos.find((target) => target.type === "page");
  ({ sessionId: session } = await send("Target.attachToTarget", { targetId: page.targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log"]) await send(domain + ".enable");
  for (const one of steps) await step(one);
} catch (error) {
  tell({ failed: error.message });
  failed = 1;
}
session = undefined;
await send("Browser.close").catch(() => {});
clearTimeout(limit);
browser.on("exit", () => process.exit(failed));
