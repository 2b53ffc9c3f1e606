// What the node told, shown.

const outcomes = ["hit", "stale", "collapsed", "revalidated", "miss", "pass", "generated"];
const stateWords = {
  "healthy": ["good", "healthy"], "on-trial": ["warn", "on trial"], "ejected": ["bad", "left out"],
  "unhealthy": ["bad", "down"], "drained": ["warn", "drained"],
};

const view = { seconds: 300, by: "requests", columns: {}, stat: null, top: null, counts: [], offset: 0 };
const charts = {};

// Columns are lists of [milliseconds, value].
function remember(history) {
  view.columns = {};
  for (const [name, list] of Object.entries(history)) {
    if (name !== "time") view.columns[name] = list.map((value, at) => [history.time[at], value]);
  }
}
function noted(now) {
  if (!now) return;
  const last = (view.columns.requests || []).at(-1);
  if (last && last[0] >= now.time) return;
  for (const [name, value] of Object.entries(now)) {
    if (name === "time") continue;
    const column = view.columns[name] ||= [];
    column.push([now.time, value]);
    if (column.length > 600) column.shift();
  }
}
// The mean of the last few seconds.
function lately(name, seconds = 5) {
  const values = (view.columns[name] || []).slice(-seconds).map((point) => point[1]).filter((value) => value !== null);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
function shareLately(part, all) {
  const sum = (name) => (view.columns[name] || []).slice(-5).reduce((total, point) => total + (point[1] || 0), 0);
  return sum(all) > 0 ? sum(part) / sum(all) : null;
}

function draw() {
  const stat = view.stat;
  if (!stat) return;
  const columns = view.columns;
  const to = (columns.requests || []).at(-1)?.[0] ?? Date.now();
  // A node that has just begun has little to show yet.
  if (!view.chosen) {
    view.seconds = (columns.requests || []).length < 75 ? 60 : 300;
    document.querySelector("input[name=span][value='" + view.seconds + "']").checked = true;
  }
  const from = to - view.seconds * 1000;
  const ratio = lately("hit_ratio");
  put("hit-ratio", share(ratio));
  put("hit-ratio-all", share(stat.hit_ratio));
  put("rate", rate(lately("requests")));
  put("origin-rate", rate(lately("origin_requests")));
  put("requests", count(stat.requests));
  put("saved", share(shareLately("bytes_from_cache", "bytes")));
  put("bytes-rate", bytes(lately("bytes")));
  put("bytes-cache", bytes(stat.bytes_from_cache));
  put("p50", time(lately("p50")));
  put("p99", time(lately("p99")));
  document.title = (ratio === null ? "" : share(ratio) + " · ") + stat.node + " · Tidegate";
  spark($("spark-hits"), columns.hit_ratio || [], from, to, "c-sea", 0, 1);
  spark($("spark-rate"), columns.requests || [], from, to, "c-sea", 1);
  spark($("spark-bytes"), columns.bytes_from_cache || [], from, to, "c-sea", 1);
  spark($("spark-time"), columns.p50 || [], from, to, "c-violet", 10);
  charts.rate.show(columns, from, to);
  charts.time.show(columns, from, to);
}

function ranked(id, items, none, className) {
  const list = $(id);
  if (!items.length) { list.replaceChildren(make("li", "none", none)); return; }
  if (!list.querySelector("[data-key]")) list.replaceChildren();
  const most = Math.max(...items.map((item) => item.count));
  keyed(list, items, (item) => item.name, () => {
    const fill = make("span");
    return make("li", "", make("span", "what"), make("span", "n"), make("div", "track", fill));
  }, (element, item) => {
    const [what, figure, track] = element.children;
    what.textContent = item.name;
    figure.replaceChildren(count(item.count), make("small", "", " · " + rate(item.rate) + "/s"));
    track.className = "track " + (className ? className(item) : "");
    track.firstChild.style.width = (item.count / most) * 100 + "%";
  });
}

// What was counted lately, from the counters of a minute ago.
function risen(of) {
  const now = view.counts.at(-1), before = view.counts[0];
  const seconds = (now.when - before.when) / 1000;
  return Object.entries(now[of]).map(([name, n]) => ({ name, count: n, rate: seconds < 0.5 ? null : (n - (before[of][name] || 0)) / seconds }));
}

function showStat(stat) {
  const when = performance.now();
  if (view.stat && stat.uptime_seconds < view.stat.uptime_seconds) view.counts = [];
  view.stat = stat;
  view.counts.push({ when, reasons: stat.reasons, codes: stat.codes });
  while (view.counts.length > 60) view.counts.shift();
  noted(stat.now);
  put("node", stat.node);
  put("about", "version " + stat.version + " · up " + span(stat.uptime_seconds));
  showState(stat);

  const total = outcomes.reduce((sum, name) => sum + stat.cache[name], 0);
  const seen = outcomes.filter((name) => stat.cache[name] > 0);
  keyed($("outcomes"), seen, (name) => name, (name) => make("span", name), (part, name) => { part.style.flexGrow = stat.cache[name] / total; });
  $("outcomes").setAttribute("aria-label", "What the cache did: " + seen.map((name) => name + " " + share(stat.cache[name] / total)).join(", "));
  $("legend").replaceChildren(...(seen.length ? seen.map((name) => make("li", "", make("i", name), name + " ", make("b", "", count(stat.cache[name])))) : [make("li", "", "Nothing yet.")]));

  const reasons = risen("reasons").sort((a, b) => b.count - a.count).slice(0, 8);
  ranked("reasons", reasons, "Everything came from the cache, or nothing was asked for yet.");
  const codes = risen("codes").sort((a, b) => b.count - a.count).slice(0, 8);
  ranked("codes", codes, "No answers yet.", (item) => "k" + item.name[0]);

  $("tiers").replaceChildren(...stat.tiers.map((tier) => make("div", "tier",
    make("p", "row", make("span", "", make("strong", "", tier.tier), " ", make("span", "dim", bytes(tier.bytes) + " of " + bytes(tier.bytes_max))), make("b", "", share(tier.bytes_max ? tier.bytes / tier.bytes_max : 0))),
    bar("meter", tier.bytes_max ? tier.bytes / tier.bytes_max : 0),
    make("p", "soft", many(tier.objects, "response", "responses") + " · " + count(tier.evictions) + " evicted since the start"))),
    make("p", "soft", "Evicted lately: " + rate(lately("evictions")) + "/s · connections open: " + count(stat.listeners.reduce((sum, one) => sum + one.http1 + one.http2, 0))
      + (stat.bytes_saved_by_encoding ? " · spared by encoding: " + bytes(stat.bytes_saved_by_encoding) : "")));
  $("tiers").lastChild.style.marginTop = "1rem";
  rows($("sites"), stat.sites.map((one) => [one.site === "-" ? make("span", "dim", "no site") : one.site, count(one.requests), share(one.hit_ratio), bytes(one.bytes)]), "No sites.", ["", "n", "n", "n"]);
  showSizes(stat);
  showPools(stat.origins);
  showNodes(stat.purges);
  put("foot", "log: " + bytes(stat.log.written_bytes) + " written" + (stat.log.dropped_lines ? ", " + count(stat.log.dropped_lines) + " lines dropped" : ""));
  if (stat.purges.sequence !== view.sequence) { view.sequence = stat.purges.sequence; showPurges(); }
  draw();
}

function showState(stat) {
  const out = stat.origins.filter((one) => one.state === "ejected" || one.state === "unhealthy");
  const pools = [...new Set(stat.origins.map((one) => one.pool))];
  const dark = pools.filter((pool) => stat.origins.filter((one) => one.pool === pool).every((one) => !["healthy", "on-trial"].includes(one.state)));
  const alert = $("alert");
  const byHand = dark.every((pool) => stat.origins.filter((one) => one.pool === pool).every((one) => one.state === "drained"));
  let text = "";
  if (dark.length && byHand) text = "Every origin of " + dark.join(", ") + " is drained: what is not in the cache fails.";
  else if (dark.length) text = "No origin of " + dark.join(", ") + " is asked: what is not in the cache fails.";
  else if (out.length) text = many(out.length, "origin is", "origins are") + " left out: " + out.map((one) => one.origin).join(", ") + ". The others of the pool are asked instead.";
  alert.hidden = !text;
  alert.className = dark.length && !byHand ? "alert" : "alert mild";
  put("alert", text);
  if (view.paused) return;
  if (!stat.ready) said("bad", "not ready");
  else if (dark.length && !byHand) said("bad", "origins down");
  else if (out.length || dark.length) said("warn", "serving");
  else said("good", "serving");
}
function said(colour, text) {
  $("dot").className = "dot " + colour;
  put("state", text);
  document.body.classList.toggle("stale-numbers", colour === "bad" && view.silent === true);
}

function showPools(origins) {
  const pools = [...new Set(origins.map((one) => one.pool))];
  const list = $("pools");
  if (!pools.length) { list.replaceChildren(make("p", "soft", "No pools are configured.")); return; }
  keyed(list, pools, (pool) => pool, (pool) => make("article", "card", make("h3", "", "Pool " + pool)), (card, pool) => {
    const held = card.querySelector(".held") || card.appendChild(make("div", "held"));
    keyed(held, origins.filter((one) => one.pool === pool), (one) => one.origin, newOrigin, showOrigin);
  });
}
function newOrigin(one) {
  const act = button("small", "", "", () => drain(act, one.pool, one.origin, act.dataset.does));
  return make("div", "origin", make("span", "dot"), make("p", "where"), act, make("p", "figures"));
}
function showOrigin(element, one) {
  const [dot, where, act, figures] = element.children;
  const [colour, word] = stateWords[one.state] || ["", one.state];
  dot.className = "dot " + colour;
  where.replaceChildren(one.origin, make("span", "pill " + colour, word));
  const does = one.drained ? "resume" : "drain";
  act.dataset.does = does;
  if (act.textContent !== (one.drained ? "Resume" : "Drain")) act.textContent = one.drained ? "Resume" : "Drain";
  act.setAttribute("aria-label", (one.drained ? "Resume " : "Drain ") + one.origin + " of " + one.pool);
  const figure = (name, value, className) => make("span", className || "", name + " ", make("b", className || "", value));
  figures.replaceChildren(
    figure("requests", count(one.requests)),
    figure("failed", count(one.failed), one.failed > 0 && colour !== "good" ? "bad" : ""),
    figure("half within", time(one.duration_us.p50)),
    figure("99 % within", time(one.duration_us.p99)),
    figure("connections", count(one.connections)),
    ...(one.waiting ? [figure("waiting", count(one.waiting))] : []),
  );
}

function showNodes(purges) {
  rows($("nodes"), purges.nodes.map((one) => {
    const late = one.behind > 0 || one.trouble || (one.kind !== "this" && one.heard_seconds > 30);
    const behind = one.behind === null ? "–" : one.behind === 0 ? "in step" : many(one.behind, "purge", "purges");
    const name = make("span", "", make("span", "dot " + (late ? "warn" : "good")), one.node, one.kind === "this" ? "" : make("span", "pill", one.kind));
    return [one.trouble ? [name, make("div", "soft", one.trouble)] : name, one.sequence ? "no. " + whole.format(one.sequence) : "none yet", behind, one.kind === "this" ? "this node" : span(one.heard_seconds) + " ago"];
  }), "No nodes.", ["", "n", "n", "n"]);
}

// What tiers of other sizes would have hit since the start: all together, then each site where there are several.
function showSizes(stat) {
  const told = stat.sites.filter((one) => one.sizing.length);
  const owners = [{ name: "all sites", one: stat }, ...(told.length > 1 ? told.map((one) => ({ name: one.site === "-" ? "no site" : one.site, one })) : [])];
  const cell = (requests, ofBytes) => [share(requests), ofBytes === undefined ? "" : make("span", "dim", " / " + share(ofBytes))];
  const lines = owners.flatMap(({ name, one }) => stat.tiers.map((tier) => tier.tier).flatMap((tier) => {
    const sizes = one.sizing.filter((size) => size.tier === tier);
    if (!sizes.length) return [];
    const at = (size) => { const told = sizes.find((one) => one.size === size); return told ? cell(told.hit_ratio, told.byte_hit_ratio) : "–"; };
    return [[name, tier, at(0.5), cell(one.hit_ratio), at(2), at(4)]];
  }));
  rows($("sizes"), lines, "Nothing was asked for yet.", ["", "", "n", "n", "n", "n"]);
  const idle = stat.tiers.map((tier) => tier.tier).filter((tier) => {
    const sizes = stat.sizing.filter((one) => one.tier === tier);
    return sizes.length && sizes.every((one) => one.filled <= 0.95);
  });
  put("sizes-note", lines.length ? "Of requests / of bytes since the start, predicted from a sample of the URLs."
    + (idle.length ? " Half of the " + idle.join(" and of the ") + " would hold all that was asked for so far." : "") : "");
}

// A URL with what tells it from others of the site in front of the eyes.
const siteOf = (name) => /^[a-z]+:\/\/[^/]*/.exec(name)?.[0] ?? "";
function named(name, known = "") {
  const site = siteOf(name);
  return site ? [site === known ? "" : make("span", "dim", site), name.slice(site.length)] : [name];
}
function quietly() {
  const at = view.stat?.listeners[0]?.listener;
  return "Nothing was asked for lately." + (at ? " The node listens at " + at + "." : "");
}
function showTop(top) {
  view.top = top;
  const list = top ? (view.by === "tags" ? top.tags : top.urls[view.by]) : [];
  const box = $("most");
  if (!list.length) {
    box.replaceChildren(make("li", "none", view.by === "tags" ? "Nothing with tags was asked for." : view.by === "fetches" ? "No origin was asked for anything." : quietly()));
    put("most-note", "");
    return;
  }
  if (!box.querySelector("[data-key]")) box.replaceChildren();
  const tags = view.by === "tags";
  // Where all are of one site, it is told once.
  const sites = new Set(tags ? [] : list.slice(0, 16).map((one) => siteOf(one.name)));
  const site = sites.size === 1 ? [...sites][0] : "";
  const measure = (one) => (view.by === "bytes" ? one.bytes : one.requests);
  const most = Math.max(...list.map(measure)) || 1;
  if (box.dataset.site !== site) { box.dataset.site = site; box.replaceChildren(); }
  keyed(box, list.slice(0, 16), (one) => one.name, (one) => {
    const name = tags
      ? button("plainly", "", "", () => fill("tags", one.name))
      : button("plainly", "", "", () => explain(one.name));
    name.append(...(tags ? [one.name] : named(one.name, site)));
    name.title = one.name;
    const purge = button("small", "Purge…", "Purge " + one.name, () => fill(tags ? "tags" : "urls", one.name));
    return make("li", "", make("div", "fill"), make("div", "name", name), make("span", "figure"), make("span", "share"), purge);
  }, (element, one) => {
    const [fillBar, , figure, hits] = element.children;
    fillBar.style.width = (measure(one) / most) * 100 + "%";
    figure.replaceChildren(view.by === "bytes" ? bytes(one.bytes) : rate(one.requests), make("small", "", "/s"));
    hits.textContent = one.errors > 0 ? share(one.errors) + " 5xx" : share(one.hit_ratio) + " hit";
    hits.className = "share" + (one.errors > 0 ? " text-bad" : one.hit_ratio !== null && one.hit_ratio < 0.5 ? " low" : "");
  });
  const looked = top.looked_at < 0.999 ? "Estimated from " + share(top.looked_at) + " of the requests. " : "";
  put("most-note", (site ? "All on " + site + ". " : "") + looked + "Of the last minutes, the newest weighing most.");
}

function showErrors(list) {
  rows($("error-rows"), list.slice(0, 30).map((one) => [
    make("span", "nowrap", clock(one.time)),
    make("span", "pill bad", String(one.status)),
    [...named(one.scheme + "://" + one.host + one.path), ...(one.one_of ? [make("span", "pill", "one of " + count(one.one_of))] : [])],
    one.reason || "the origin's own",
    one.origin || "–",
    time(one.duration_us),
  ]), "None. Nothing has failed since the start.", ["", "", "url", "", "", "n"]);
}
