// What the operator does: purge, explain, drain. Each call goes to the node that serves this page.

async function call(method, path, body) {
  const token = sessionStorage.getItem("token");
  const headers = { accept: "application/json" };
  if (token) headers.authorization = "Bearer " + token;
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, cache: "no-store", body: body && JSON.stringify(body) });
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForToken("It was refused. " + (told.detail || ""));
  if (!answer.ok) throw new Error(told.detail || told.title || "the node answered " + answer.status);
  return told;
}
function failed(error) { return make("p", "text-bad", error instanceof TypeError ? "The node does not answer." : error.message); }

async function drain(act, pool, origin, does) {
  const others = view.stat.origins.filter((one) => one.pool === pool && one.origin !== origin && ["healthy", "on-trial"].includes(one.state));
  if (does === "drain" && !others.length && !confirm("No other origin of " + pool + " is asked. Drain the last one? What is not in the cache fails then.")) return;
  act.disabled = true;
  try {
    await call("POST", "/v1/pools/" + encodeURIComponent(pool) + "/" + encodeURIComponent(origin) + "/" + does);
    put("drain-said", does === "drain" ? origin + " gets no new requests." : origin + " is asked again.");
  } catch (error) {
    $("drain-said").replaceChildren(failed(error));
  }
  act.disabled = false;
}

const examples = {
  urls: "https://www.example.com/news/", prefixes: "https://www.example.com/news/", hosts: "www.example.com",
  tags: "article-17", everything: "",
};
function chosen() { return document.querySelector("input[name=what]:checked").value; }
function order() {
  const what = chosen();
  if (what === "everything") return { everything: true, soft: $("soft").checked };
  const list = $("selected").value.split("\n").map((line) => line.trim()).filter(Boolean);
  return list.length ? { [what]: list, soft: $("soft").checked } : null;
}
let looked = null;
function changed() {
  const same = looked !== null && looked === JSON.stringify(order());
  $("purge-now").disabled = !same;
  if (!same) $("purge-said").replaceChildren();
  const all = chosen() === "everything";
  $("selected").hidden = $("selected-label").hidden = all;
  $("selected").placeholder = examples[chosen()];
}
function fill(what, name) {
  document.querySelector("input[name=what][value=" + what + "]").checked = true;
  $("selected").value = name;
  changed();
  $("purge").scrollIntoView({ behavior: "smooth" });
  $("selected").focus({ preventScroll: true });
}
async function lookFirst(event) {
  event.preventDefault();
  const wanted = order();
  if (!wanted) { $("purge-said").replaceChildren(make("p", "text-bad", "Say what: one to a line.")); $("selected").focus(); return; }
  try {
    const told = await call("POST", "/v1/purge", { ...wanted, dry_run: true });
    looked = JSON.stringify(wanted);
    $("purge-said").replaceChildren(...matched(told));
    $("purge-now").disabled = false;
  } catch (error) {
    looked = null;
    $("purge-now").disabled = true;
    $("purge-said").replaceChildren(failed(error));
  }
}
function matched(told) {
  const n = told.matched;
  const about = told.margin ? "about " : told.partial ? "at least " : "";
  const lead = n === null || n === undefined ? "This can be purged." : n === 0 ? "Nothing of this is stored now."
    : "This would take " + about + many(n, "response", "responses") + (told.bytes ? ", " + bytes(told.bytes) : "") + ".";
  const hint = n === 0 ? "A purge also keeps away what is being fetched at this moment." : $("soft").checked
    ? "Each may be served stale while it is fetched anew." : "Each is fetched from the origin when it is next asked for.";
  return [make("p", "lead", lead), make("p", "soft", hint), details(told)];
}
function details(value) {
  return make("details", "", make("summary", "", "The node's answer"), make("pre", "", JSON.stringify(value, null, 2)));
}
async function purgeNow() {
  const wanted = order();
  if (!wanted || looked !== JSON.stringify(wanted)) return;
  if (wanted.everything && !confirm("Purge everything that this node has stored?")) return;
  $("purge-now").disabled = true;
  try {
    const told = await call("POST", "/v1/purge", wanted);
    looked = null;
    $("purge-said").replaceChildren(make("p", "lead", "Done: purge no. " + whole.format(told.sequence) + "."), details(told));
    showPurges();
  } catch (error) {
    $("purge-said").replaceChildren(failed(error));
  }
}
async function showPurges() {
  const list = $("purges");
  try {
    const since = Math.max(0, (view.sequence || 0) - 6);
    const told = await call("GET", "/v1/purges?since=" + since);
    const purges = (told.purges || []).slice(-6).reverse();
    const one = (purge) => make("li", "",
      make("span", "", make("span", "dim", "no. " + whole.format(purge.sequence) + " "), scopeOf(purge.order || {}), purge.soft ? make("span", "pill", "soft") : ""),
      make("time", "", clock(purge.at)));
    list.replaceChildren(...(purges.length ? purges.map(one) : [make("li", "none", "None yet.")]));
  } catch (error) {
    list.replaceChildren(make("li", "", failed(error)));
  }
}
function scopeOf(order) {
  const words = Object.entries(order).filter(([name, value]) => Array.isArray(value) || (name === "everything" && value))
    .map(([name, list]) => (name === "everything" ? name : (name === "tags" ? "tag " : "") + list.slice(0, 2).join(", ") + (list.length > 2 ? " and " + (list.length - 2) + " more" : "") + (name === "prefixes" ? "*" : "")));
  return words.join("; ") || "the node's own";
}

const decisions = {
  hit: "A hit: it is answered from the cache.", stale: "It is answered from the cache, though it is stale.",
  wait: "It waits for a fetch that is under way.", fetch: "It is fetched from the origin.",
  pass: "It goes around the cache.", refuse: "It is refused.", answer: "The node answers itself.",
};
function explain(url) {
  $("explain-url").value = url;
  $("explain").scrollIntoView({ behavior: "smooth" });
  $("explain-url").focus({ preventScroll: true });
  askWhy();
}
async function askWhy(event) {
  event?.preventDefault();
  const url = $("explain-url").value.trim(), header = $("explain-header").value.trim();
  try {
    const told = await call("GET", "/v1/explain?url=" + encodeURIComponent(url) + (header ? "&header=" + encodeURIComponent(header) : ""));
    $("explained").replaceChildren(...why(told));
  } catch (error) {
    $("explained").replaceChildren(failed(error));
  }
}
function why(told) {
  const facts = [];
  const fact = (name, value) => { if (value) facts.push(make("dt", "", name), make("dd", "", value)); };
  const stored = told.stored;
  fact("because", told.reason);
  if (stored) {
    fact("stored", "status " + stored.status + ", " + bytes(stored.bytes) + " in " + stored.tier + (stored.purged === "no" ? "" : ", purged (" + stored.purged + ")"));
    fact("freshness", span(stored.age) + " old of " + span(stored.lifetime) + (stored.ttl >= 0 ? ": fresh for " + span(stored.ttl) + " more" : ": stale since " + span(-stored.ttl))
      + (stored.lifetime_explicit ? "" : " (estimated: the origin does not say)"));
    fact("stale allowed", [stored.stale_while_revalidate ? span(stored.stale_while_revalidate) + " while it is fetched anew" : "", stored.stale_if_error ? span(stored.stale_if_error) + " where the origin fails" : ""].filter(Boolean).join(", "));
    fact("tags", stored.tags.join(", "));
    fact("variants by", stored.vary.map((one) => one.field).join(", "));
    fact("encoded forms", stored.forms.map((one) => one.coding + " " + bytes(one.bytes)).join(", "));
  } else if (stored === null) fact("stored", "nothing under this key");
  const last = told.not_stored_last_time;
  fact("not stored last time", typeof last === "string" ? last : last ? Object.values(last).filter((one) => typeof one !== "object").join(", ") : "");
  fact("site", told.site);
  fact("route", typeof told.route === "string" ? told.route : told.route && (told.route.path || JSON.stringify(told.route)));
  fact("pools", (told.pools || []).join(", "));
  fact("forwarded as", told.host && told.forwarded_as ? told.host + told.forwarded_as : "");
  const list = make("dl", "", ...facts);
  return [make("p", "lead", decisions[told.decision] || told.decision || "Told."), list, details(told)];
}
