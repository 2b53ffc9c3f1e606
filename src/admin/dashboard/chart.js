// Charts of the last minutes, drawn as SVG: no library, nothing fetched.

const ns = "http://www.w3.org/2000/svg";
function shape(tag, className, attributes, text) {
  const element = document.createElementNS(ns, tag);
  if (className) element.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Means of a few seconds each, so that a curve has as many points as its width can show.
function thinned(points, from, to, most) {
  const step = Math.max(1000, Math.ceil((to - from) / most / 1000) * 1000);
  const bins = new Map();
  for (const [at, value] of points) {
    if (at <= from || at > to || value === null || value === undefined) continue;
    const bin = Math.floor(at / step);
    const sum = bins.get(bin) || [0, 0, 0];
    bins.set(bin, [sum[0] + value, sum[1] + 1, Math.max(sum[2], at)]);
  }
  return { step, points: [...bins.values()].map(([sum, n, at]) => [at, sum / n]) };
}

// A path that ends where there is nothing for long.
function traced(points, x, y, gap) {
  let path = "", last = null;
  for (const [at, value] of points) {
    path += (last !== null && at - last <= gap ? "L" : "M") + x(at).toFixed(1) + "," + y(value).toFixed(1);
    last = at;
  }
  return path;
}
function filled(points, x, y, floor, gap) {
  let path = "", run = [];
  const close = () => {
    if (run.length > 1) {
      path += "M" + x(run[0][0]).toFixed(1) + "," + floor + run.map(([at, v]) => "L" + x(at).toFixed(1) + "," + y(v).toFixed(1)).join("")
        + "L" + x(run.at(-1)[0]).toFixed(1) + "," + floor + "Z";
    }
    run = [];
  };
  for (const point of points) {
    if (run.length && point[0] - run.at(-1)[0] > gap) close();
    run.push(point);
  }
  close();
  return path;
}

// One, two or five times a power of ten, so that about four lines fit.
function steps(top) {
  const raw = top / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw) || raw;
}

function spark(svg, points, from, to, colour, lowest, highest) {
  const width = svg.clientWidth || 240, height = svg.clientHeight || 42;
  const { step, points: shown } = thinned(points, from, to, 100);
  const top = Math.max(lowest, ...shown.map((point) => point[1])) || 1;
  const limit = highest || top;
  const x = (at) => ((at - from) / (to - from)) * width;
  const y = (value) => height - 1 - (Math.min(value, limit) / limit) * (height - 3);
  svg.setAttribute("viewBox", "0 0 " + width + " " + height);
  if (!shown.some((point) => point[1] > 0)) { svg.replaceChildren(); return; }
  svg.replaceChildren(
    shape("path", "area " + colour, { d: filled(shown, x, y, height, step * 3) }),
    shape("path", "line " + colour, { d: traced(shown, x, y, step * 3) }),
  );
}

// A chart with axes, a key, and a reading of what lies under the pointer.
class Chart {
  constructor(id, series, options) {
    this.box = $(id);
    this.series = series;
    this.options = options;
    this.pointed = null;
    this.svg = shape("svg", "", { role: "img" });
    this.keys = make("p", "keys");
    this.nothing = make("p", "nothing", options.nothing);
    this.box.append(this.svg, this.nothing);
    this.box.after(this.keys);
    const point = (event) => {
      const box = this.svg.getBoundingClientRect();
      this.pointed = (event.clientX - box.left) / box.width;
      this.draw();
    };
    this.box.addEventListener("pointermove", point);
    this.box.addEventListener("pointerdown", point);
    this.box.addEventListener("pointerleave", () => { this.pointed = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  show(columns, from, to) {
    this.columns = columns;
    this.from = from;
    this.to = to;
    this.draw();
  }

  draw() {
    if (!this.columns) return;
    const width = this.box.clientWidth, height = this.box.clientHeight;
    if (width === 0) return;
    const { format, log } = this.options;
    const left = 52, right = 6, ceiling = 8, floor = height - 20;
    const all = this.series.map((one) => ({ ...one, ...thinned(this.columns[one.of] || [], this.from, this.to, width / 3) }));
    const values = all.flatMap((one) => one.points.map((point) => point[1]));
    this.nothing.hidden = values.some((value) => value > 0);
    const highest = Math.max(...values, log ? 1 : 0);
    const x = (at) => left + ((at - this.from) / (this.to - this.from)) * (width - left - right);
    let y, lines;
    if (log) {
      const low = Math.floor(Math.log10(Math.max(1, Math.min(...values, highest)))), high = Math.max(low + 2, Math.ceil(Math.log10(highest * 1.05)));
      y = (value) => floor - ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * (floor - ceiling);
      lines = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
    } else {
      const step = steps(Math.max(highest, 1)), top = Math.max(step, Math.ceil(highest / step) * step);
      y = (value) => floor - (value / top) * (floor - ceiling);
      lines = Array.from({ length: Math.round(top / step) + 1 }, (_, at) => at * step);
    }
    const parts = [];
    for (const value of this.nothing.hidden ? lines : []) {
      parts.push(shape("line", "grid", { x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      parts.push(shape("text", "tick", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, format(value)));
    }
    const minutes = Math.round((this.to - this.from) / 60000), parted = minutes === 1 ? 4 : 5;
    for (let at = 0; at <= parted; at += 1) {
      const ago = minutes * (1 - at / parted);
      const text = at === parted ? "now" : "−" + (minutes === 1 ? Math.round(ago * 60) + " s" : Math.round(ago) + " min");
      const anchor = at === 0 ? "start" : at === parted ? "end" : "middle";
      if (width < 420 && at % 2 === 1 && at !== parted) continue;
      parts.push(shape("text", "tick", { x: x(this.from + ((this.to - this.from) * at) / parted), y: height - 4, "text-anchor": anchor }, text));
    }
    for (const one of this.nothing.hidden ? all : []) {
      if (one.quiet && !one.points.some((point) => point[1] > 0)) continue;
      if (one.fill) parts.push(shape("path", "area " + one.colour, { d: filled(one.points, x, y, floor, one.step * 3) }));
      parts.push(shape("path", "line " + one.colour, { d: traced(one.points, x, y, one.step * 3) }));
    }
    let moment = null;
    if (this.pointed !== null) {
      const at = this.from + ((this.pointed * width - left) / (width - left - right)) * (this.to - this.from);
      moment = Math.max(this.from, Math.min(this.to, at));
      parts.push(shape("line", "cross", { x1: x(moment), x2: x(moment), y1: ceiling, y2: floor }));
    }
    this.svg.setAttribute("viewBox", "0 0 " + width + " " + height);
    this.svg.replaceChildren(...parts);
    const read = (points) => {
      if (!points.length) return null;
      if (moment === null) return points.at(-1)[1];
      return points.reduce((best, point) => (Math.abs(point[0] - moment) < Math.abs(best[0] - moment) ? point : best))[1];
    };
    const told = all.map((one) => [one, one.name + " ", format(read(one.points))]);
    this.keys.replaceChildren(
      ...told.map(([one, name, text]) => make("span", "", make("i", one.colour), name, make("b", "", text))),
      ...(moment === null ? [] : [make("span", "", "at ", make("b", "", clock(moment)))]),
    );
    this.svg.setAttribute("aria-label", this.options.name + ": " + told.map(([, name, text]) => name + text).join(", "));
  }
}
