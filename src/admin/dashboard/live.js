// The node's events, and the page around them.

let watching = null;
function askForToken(why) {
  $("token-form").hidden = false;
  if (why) put("token-why", why);
}

async function watch() {
  for (let failures = 0; ; ) {
    if (view.paused || document.hidden) { await new Promise((go) => { view.go = go; }); }
    const began = performance.now();
    try {
      await follow();
    } catch (error) {
      if (view.paused || document.hidden) continue;
      view.silent = true;
      said("bad", error.message || "no answer");
    }
    failures = performance.now() - began > 5000 ? 0 : failures + 1;
    await new Promise((go) => { setTimeout(go, Math.min(10000, 1000 * failures)); view.retry = go; });
  }
}
// Reads events until they end; what is silent for long has gone.
async function follow() {
  const token = sessionStorage.getItem("token");
  watching = new AbortController();
  let silence = setTimeout(() => watching.abort(), 10000);
  let answer;
  try {
    answer = await fetch("/v1/stream?only=history,stat,top,errors", {
      cache: "no-store", signal: watching.signal, headers: token ? { authorization: "Bearer " + token } : {},
    });
  } catch {
    throw new Error("no answer");
  }
  if (answer.status === 401 || answer.status === 403) {
    const told = await answer.json().catch(() => ({}));
    askForToken(token ? "This token was refused: " + (told.detail || "") : "");
    throw new Error(token ? "token refused" : "token needed");
  }
  if (!answer.ok) throw new Error(((await answer.json().catch(() => ({}))).detail) || "answered " + answer.status);
  $("token-form").hidden = true;
  view.silent = false;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the node has ended");
      clearTimeout(silence);
      silence = setTimeout(() => watching.abort(), 10000);
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        take(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  } catch (error) {
    throw new Error(error.name === "AbortError" ? "silent" : error.message === "the node has ended" ? error.message : "no answer");
  } finally {
    clearTimeout(silence);
  }
}
const shows = { history: remember, stat: showStat, top: showTop, errors: showErrors };
function take(event) {
  const parts = /^event: (\w+)\ndata: (.*)$/s.exec(event);
  if (parts && shows[parts[1]]) shows[parts[1]](JSON.parse(parts[2]));
}

function pause(paused) {
  view.paused = paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  put("pause", paused ? "Go on" : "Pause");
  if (paused) { watching?.abort(); said("warn", "paused"); } else { view.go?.(); view.retry?.(); }
}
const themes = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  put("theme", name[0].toUpperCase() + name.slice(1));
  localStorage.setItem("theme", name);
}

charts.rate = new Chart("chart-rate", [
  { of: "requests", name: "requests", colour: "c-sea", fill: true },
  { of: "origin_requests", name: "to the origins", colour: "c-warm", fill: true },
  { of: "errors", name: "5xx", colour: "c-bad", quiet: true },
], { name: "Requests a second", format: rate, nothing: "No requests in this time." });
charts.time = new Chart("chart-time", [
  { of: "p50", name: "half within", colour: "c-sea" },
  { of: "p90", name: "90 %", colour: "c-violet" },
  { of: "p99", name: "99 %", colour: "c-warm" },
], { name: "Time to answer", format: time, log: true, nothing: "No answers in this time." });

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  view.retry?.();
});
$("pause").addEventListener("click", () => pause(!view.paused));
$("theme").addEventListener("click", () => theme(themes[(themes.indexOf(localStorage.getItem("theme") || "auto") + 1) % 3]));
$("span").addEventListener("change", (event) => { view.seconds = Number(event.target.value); draw(); });
$("by").addEventListener("change", (event) => { view.by = event.target.value; $("most").replaceChildren(); showTop(view.top); });
$("what").addEventListener("change", changed);
$("selected").addEventListener("input", changed);
$("soft").addEventListener("change", changed);
$("purge-form").addEventListener("submit", lookFirst);
$("purge-now").addEventListener("click", purgeNow);
$("explain-form").addEventListener("submit", askWhy);
// A page that nobody sees asks for nothing.
let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => watching?.abort(), 30000); else { view.go?.(); view.retry?.(); }
});
const links = [...document.querySelectorAll("nav a")];
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const link = links.find((one) => one.hash === "#" + entry.target.id);
    if (entry.isIntersecting) { links.forEach((one) => one.removeAttribute("aria-current")); link.setAttribute("aria-current", "true"); link.parentElement.scrollLeft = link.offsetLeft - 60; }
  }
}, { rootMargin: "-20% 0px -70% 0px" });
document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
theme(localStorage.getItem("theme") || "auto");
watch();
