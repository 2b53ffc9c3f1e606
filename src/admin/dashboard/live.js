// Polls /v1/stat and shows it. Text only ever enters the page as text: names come from settings.
"use strict";

const every = 2000;
const kept = 120;
const outcomes = ["hit", "stale", "collapsed", "revalidated", "miss", "pass", "generated"];
const history = { rate: [], origin: [] };
let before = null;

const $ = (id) => document.getElementById(id);
const put = (id, text) => { $(id).textContent = text; };

const whole = new Intl.NumberFormat("en");
function count(n) {
  if (n < 100000) return whole.format(Math.round(n));
  const units = ["k", "M", "G", "T"];
  let unit = -1;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return n.toPrecision(3) + " " + units[unit];
}
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return (unit === 0 || n >= 100 ? n.toFixed(0) : n.toPrecision(3)) + " " + units[unit];
}
function share(n) { return n === null || n === undefined ? "–" : (n * 100).toFixed(n > 0.9995 ? 2 : 1) + " %"; }
function rate(n) { return n === null ? "–" : n >= 100 ? count(n) : n.toFixed(1); }
function time(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return us + " µs";
  if (us < 1000000) return +(us / 1000).toPrecision(3) + " ms";
  return +(us / 1000000).toPrecision(3) + " s";
}
function span(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  if (d > 0) return d + " d " + h + " h";
  if (h > 0) return h + " h " + m + " min";
  if (m > 0) return m + " min";
  return seconds + " s";
}
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
function rows(id, list, none) {
  const body = $(id);
  body.replaceChildren(...(list.length ? list : [[none]]).map((cells) => {
    const row = make("tr");
    cells.forEach((cell, index) => {
      const td = make("td", index > 0 && typeof cell !== "object" ? "n" : "");
      if (typeof cell === "object") td.append(...cell); else td.textContent = cell;
      if (!list.length) { td.colSpan = 9; td.className = "none"; }
      row.append(td);
    });
    return row;
  }));
}
function spark(id, values) {
  const top = Math.max(1, ...values);
  const step = 240 / (kept - 1);
  const from = kept - values.length;
  const points = values.map((v, i) => ((from + i) * step).toFixed(1) + "," + (54 - (v / top) * 50).toFixed(1));
  const [area, line] = $(id).children;
  if (points.length < 2) return;
  line.setAttribute("d", "M" + points.join("L"));
  area.setAttribute("d", "M" + (from * step).toFixed(1) + ",56L" + points.join("L") + "L240,56Z");
}
function state(good, text) {
  $("dot").className = "dot " + (good ? "good" : "bad");
  put("state", text);
}
function perSecond(now, then, seconds) { return Math.max(0, now - then) / seconds; }

function show(stat, when) {
  document.title = share(stat.hit_ratio) + " · " + stat.node;
  put("node", stat.node);
  put("version", stat.version);
  state(stat.ready, stat.ready ? "ready" : "not ready");
  put("hit-ratio", share(stat.hit_ratio));

  const total = outcomes.reduce((sum, name) => sum + stat.cache[name], 0);
  const seen = outcomes.filter((name) => stat.cache[name] > 0);
  $("outcomes").replaceChildren(...seen.map((name) => {
    const part = make("span", name);
    part.style.flexGrow = stat.cache[name] / total;
    return part;
  }));
  $("legend").replaceChildren(...seen.map((name) => {
    const item = make("li");
    item.append(make("i", name), name + " " + count(stat.cache[name]));
    return item;
  }));

  if (before && stat.uptime_seconds >= before.stat.uptime_seconds) {
    const seconds = (when - before.when) / 1000;
    history.rate.push(perSecond(stat.requests, before.stat.requests, seconds));
    history.origin.push(perSecond(stat.origin_requests, before.stat.origin_requests, seconds));
    for (const list of [history.rate, history.origin]) if (list.length > kept) list.shift();
    put("rate", rate(history.rate.at(-1)));
    put("origin-rate", rate(history.origin.at(-1)));
    spark("rate-line", history.rate);
    spark("origin-line", history.origin);
  }
  before = { stat, when };

  put("requests", count(stat.requests));
  put("bytes", bytes(stat.bytes));
  put("origin-requests", count(stat.origin_requests));
  put("saved", share(stat.requests ? Math.max(0, 1 - stat.origin_requests / stat.requests) : null));
  put("p50", time(stat.duration_us.p50));
  put("p90", time(stat.duration_us.p90));
  put("p99", time(stat.duration_us.p99));
  put("hit-p99", time(stat.hit_duration_us.p99));
  put("sequence", stat.purges.sequence ? "no. " + whole.format(stat.purges.sequence) : "none yet");
  put("purges", count(stat.purges.count));
  put("connections", count(stat.listeners.reduce((sum, one) => sum + one.http1 + one.http2, 0)));
  put("dropped", count(stat.log.dropped_lines));
  put("uptime", span(stat.uptime_seconds));

  $("tiers").replaceChildren(...stat.tiers.map((tier) => {
    const box = make("div", "tier");
    const label = make("p");
    label.append(
      make("span", "", tier.tier + ": " + bytes(tier.bytes) + " of " + bytes(tier.bytes_max)),
      make("span", "", count(tier.objects) + " responses, " + count(tier.evictions) + " evicted"),
    );
    const bar = make("div", "bar");
    const fill = make("span");
    fill.style.width = Math.min(100, tier.bytes_max ? (tier.bytes / tier.bytes_max) * 100 : 0) + "%";
    bar.append(fill);
    box.append(label, bar);
    return box;
  }));
  rows("origins", stat.origins.map((one) => {
    const name = [make("span", "dot " + (one.healthy ? "good" : "bad")), one.origin + (one.drained ? " (drained)" : one.healthy ? "" : " (left out)")];
    return [one.pool, name, count(one.requests), count(one.failed), time(one.duration_us.p50)];
  }), "No pools are configured.");
  rows("sites", stat.sites.map((one) => [one.site, count(one.requests), share(one.hit_ratio), bytes(one.bytes)]), "No sites.");
  const reasons = Object.entries(stat.reasons).sort((a, b) => b[1] - a[1]).slice(0, 12);
  rows("reasons", reasons.map(([name, n]) => [name, count(n)]), "Nothing to explain yet.");
}

async function poll() {
  try {
    const token = sessionStorage.getItem("token");
    const answer = await fetch("/v1/stat", {
      cache: "no-store",
      headers: token ? { authorization: "Bearer " + token } : {},
      signal: AbortSignal.timeout(5000),
    });
    if (answer.status === 401 || answer.status === 403) {
      $("token-form").hidden = false;
      state(false, token ? "token refused" : "token needed");
    } else if (answer.ok) {
      $("token-form").hidden = true;
      show(await answer.json(), performance.now());
    } else {
      state(false, "answered " + answer.status);
    }
  } catch {
    state(false, "no answer");
  }
  setTimeout(poll, document.hidden ? every * 5 : every);
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
});
poll();
