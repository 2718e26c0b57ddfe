// A lift through fifty layers: what becomes of the angles between inputs, and of the gradient?
const LAYERS = 50, UNITS = 32, FEATURES = 16, CLASSES = 4, MOST = 64, SHOWN = 20, NOISE = 0.3;
const drawn = (seed, n) => Float64Array.from({ length: n }, explore.normals(seed));
const PROTOTYPES = drawn(101, CLASSES * FEATURES), SCATTER = drawn(102, MOST * FEATURES), TOP = drawn(103, MOST * UNITS);
const INPUT = SCATTER.map((v, k) => {
  const sample = Math.floor(k / FEATURES);
  return PROTOTYPES[(sample % CLASSES) * FEATURES + (k % FEATURES)] + NOISE * v;
});
const width = (l) => (l ? UNITS : FEATURES);
// He's weights, as they stand and transposed.
const WEIGHTS = Array.from({ length: LAYERS }, (_, l) =>
  drawn(104 + l, UNITS * width(l)).map((v) => v * Math.sqrt(2 / width(l))));
const TRANSPOSED = WEIGHTS.map((w, l) => w.map((_, k) => w[(k % UNITS) * width(l) + Math.floor(k / UNITS)]));

// a @ wᵀ, from rows of `from` numbers to rows of `to`.
const product = (a, w, from, to) => {
  const m = a.length / from, y = new Float64Array(m * to);
  for (let n = 0; n < m; n++)
    for (let o = 0; o < to; o++) {
      const x = n * from, row = o * from;
      let sum = 0, more = 0;
      for (let i = 0; i < from; i += 2) {
        sum += a[x + i] * w[row + i];
        more += a[x + i + 1] * w[row + i + 1];
      }
      y[n * to + o] = sum + more;
    }
  return y;
};
// The mean over the batch of f(index), for the unit u.
const mean = (u, length, f) => {
  let sum = 0;
  for (let n = u; n < length; n += UNITS) sum += f(n);
  return (sum * UNITS) / length;
};
const normalize = (x) => Array.from({ length: UNITS }, (_, u) => {
  const m = mean(u, x.length, (n) => x[n]), v = mean(u, x.length, (n) => (x[n] - m) ** 2), invstd = 1 / Math.sqrt(v + 1e-5);
  for (let n = u; n < x.length; n += UNITS) x[n] = (x[n] - m) * invstd;
  return invstd;
});
const normalizeBackward = (dy, xHat, invstd) => invstd.forEach((factor, u) => {
  const a = mean(u, dy.length, (n) => dy[n]), b = mean(u, dy.length, (n) => dy[n] * xHat[n]);
  for (let n = u; n < dy.length; n += UNITS) dy[n] = factor * (dy[n] - a - xHat[n] * b);
});

// Forwards and backwards; log10 of the gradient's norm at the input of each linear layer.
let last = {};
function run(s) {
  const key = `${s.norm} ${s.skip} ${s.m}`;
  if (last.key === key) return last; // only the lift moved
  const arriving = [], invstds = [], gradient = [];
  let x = INPUT.slice(0, s.m * FEATURES), dy = TOP.slice(0, s.m * UNITS);
  for (let l = 0; l < LAYERS; l++) {
    const y = product(x, WEIGHTS[l], width(l), UNITS), skip = s.skip && l;
    if (s.norm) invstds.push(normalize(y));
    arriving.push(y);
    x = y.map((v, n) => Math.max(0, v) + (skip ? x[n] : 0));
  }
  for (let l = LAYERS - 1; l >= 0; l--) {
    const y = arriving[l], inner = dy.map((v, n) => (y[n] > 0 ? v : 0)), skip = s.skip && l;
    if (s.norm) normalizeBackward(inner, y, invstds[l]);
    dy = product(inner, TRANSPOSED[l], UNITS, width(l)).map((v, n) => v + (skip ? dy[n] : 0));
    gradient.unshift(Math.log10(Math.hypot(...dy)));
  }
  return (last = { key, arriving, gradient });
}

// The cosines of the first samples of the batch, class by class.
function cosines(y, count) {
  const rows = Array.from({ length: count }, (_, n) => y.subarray(n * UNITS, (n + 1) * UNITS));
  const sorted = rows.map((_, k) => rows[Math.floor(k / (count / CLASSES)) + CLASSES * (k % (count / CLASSES))]);
  const dot = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0), norms = sorted.map((a) => Math.sqrt(dot(a, a)));
  return sorted.map((a, i) => sorted.map((b, j) => dot(a, b) / norms[i] / norms[j]));
}

const two = (v) => v.toFixed(2).replace("-", "−");

explore({
  name: "depth",
  title: "Depth lift",
  alt: "Left, a map of the cosines between twenty inputs of four classes at one layer of fifty. Right, the norm of the gradient against the layer on a logarithmic axis, with the law of the gradient explosion as a dashed line",
  height: (width) => (width > 500 ? 318 : 572),
  state: {},
  controls: [
    { id: "layer", label: "layer", min: 1, max: LAYERS, step: 1, value: 3, play: 120 },
    { id: "m", label: "batch m", min: 8, max: MOST, step: 4, value: 32 },
    { id: "norm", label: "BN", value: true },
    { id: "skip", label: "skip", value: false },
  ],
  compute(s) {
    const { arriving, gradient } = run(s), count = Math.min(s.m, SHOWN), each = count / CLASSES;
    const cosine = cosines(arriving[s.layer - 1], count), kinds = [[], []];
    cosine.forEach((row, i) => row.forEach((c, j) => {
      if (i !== j) kinds[+(Math.floor(i / each) !== Math.floor(j / each))].push(c);
    }));
    const [within, between] = kinds.map((all) => all.reduce((a, b) => a + b, 0) / all.length);
    return { cosine, within, between, gradient, growth: 10 ** ((gradient[5] - gradient[40]) / 35),
      law: Math.sqrt((Math.PI / (Math.PI - 1)) * ((s.m - 2) / (s.m - 3))) };
  },
  discoveries: [
    { label: "Collapse", set: () => ({ norm: false, skip: false, layer: LAYERS }),
      say: (s, v) => `Without BN all inputs end up pointing one way: the mean cosine is ${two(v.within)} within a class and ${two(v.between)} between classes.` },
    { label: "Apart, without classes", set: () => ({ norm: true, skip: false, layer: LAYERS }),
      say: (s, v) => `BN keeps the inputs apart, and the classes are gone: the mean cosine is ${two(v.within)} within a class and ${two(v.between)} between classes.` },
    { label: "Add a skip", set: () => ({ norm: true, skip: true, layer: LAYERS }),
      say: (s, v) => `Some of the classes is left at layer ${LAYERS}: ${two(v.within)} within, ${two(v.between)} between. And the gradient grows by ${explore.number(v.growth)} a layer only.` },
    { label: "Batch of 8", set: () => ({ norm: true, skip: false, m: 8 }),
      say: (s, v) => `A small batch makes the gradient explode faster: × ${v.growth.toFixed(3)} a layer in this one network, × ${v.law.toFixed(3)} by the law of wide ones.` },
  ],
  note(s, v) {
    return `Layer ${s.layer}: mean cosine ${two(v.within)} within, ${two(v.between)} between four random classes. `
      + `Gradient: × ${v.growth.toFixed(3)} a layer, measured from layer 41 to 6 in one network of width ${UNITS}`
      + (s.norm && !s.skip ? `; the law says × ${v.law.toFixed(3)}.` : ".");
  },
  draw(pen, s, v) {
    const large = pen.width > 500, color = s.norm ? "batch" : "none", count = v.cosine.length;
    const side = large ? 250 : 236, x0 = large ? 22 : (pen.width - side) / 2, y0 = 42, cell = side / count;
    pen.text(x0 + side / 2, 14, `cosines in front of activation ${s.layer}`, { "text-anchor": "middle" });
    const map = pen.add("g", { transform: `translate(${x0} ${y0}) scale(${cell})` });
    const levels = new Map(); // one path for each shade
    v.cosine.forEach((row, i) => row.forEach((c, j) => {
      const level = Math.round(8 * c);
      if (level) levels.set(level, `${levels.get(level) ?? ""}M${j} ${i}h1v1h-1z`);
    }));
    for (const [level, d] of levels) {
      const path = pen.add("path", { d, fill: `var(--${level > 0 ? color : "gold"})`, opacity: Math.abs(level) / 8 });
      map.append(path);
    }
    for (let k = 0; k <= CLASSES; k++) {
      const at = (k * side) / CLASSES;
      pen.line([[x0 + at, y0], [x0 + at, y0 + side]], "line", { "stroke-width": 1 });
      pen.line([[x0, y0 + at], [x0 + side, y0 + at]], "line", { "stroke-width": 1 });
      if (k === CLASSES) break;
      pen.text(x0 + at + side / 8, y0 - 6, "ABCD"[k], { "text-anchor": "middle" });
      pen.text(x0 - 6, y0 + at + side / 8 + 5, "ABCD"[k], { "text-anchor": "end" });
    }
    [["1", color, 1], ["½", color, 0.5], ["0", color, 0], ["−½", "gold", 0.5]].forEach(([text, fill, opacity], k) => {
      const x = x0 + k * 56, y = y0 + side + 8;
      pen.add("rect", { x, y, width: 14, height: 14, fill: `var(--${fill})`, "fill-opacity": opacity, stroke: "var(--line)" });
      pen.text(x + 20, y + 12, text);
    });

    const left = large ? x0 + side + 86 : 44, right = pen.width - 12, top = large ? 42 : y0 + side + 78, bottom = pen.height - 26;
    const logs = v.gradient.map((g) => g - v.gradient[LAYERS - 1]), most = Math.max(...logs), least = Math.min(...logs);
    const high = most > 8 ? 15 : 8, low = least < -2 ? -5 : -2;
    const px = (l) => left + ((l - 1) / (LAYERS - 1)) * (right - left), py = (u) => bottom - ((u - low) / (high - low)) * (bottom - top);
    pen.text((left + right) / 2, top - 28, "gradient by layer, relative to layer 50", { "text-anchor": "middle" });
    for (const u of high > 8 ? [0, 5, 10, 15] : [-2, 0, 2, 4, 6, 8]) {
      pen.line([[left, py(u)], [right, py(u)]], "faint", { "stroke-width": 1 });
      pen.text(left - 6, py(u) + 5, u ? `1e${u}`.replace("-", "−") : "1", { "text-anchor": "end" });
    }
    for (const l of [1, 10, 20, 30, 40, 50]) pen.text(px(l), bottom + 18, l, { "text-anchor": "middle" });
    pen.line([[px(s.layer), top], [px(s.layer), bottom]], "layer", { "stroke-width": 2 });
    pen.line([[px(1), py((LAYERS - 1) * Math.log10(v.law))], [px(LAYERS), py(0)]], "ink", { "stroke-width": 1.5, "stroke-dasharray": "6 4" });
    pen.line(logs.map((u, k) => [px(k + 1), py(u)]), color, { "stroke-width": 3 });
    pen.dot(px(s.layer), py(logs[s.layer - 1]), "layer", { r: 6 });
    pen.text(right - 10, top + 14, `measured × ${v.growth.toFixed(3)} a layer`, { "text-anchor": "end", style: `fill:var(--${color})` });
    pen.text(right - 10, top + 32, `law of BN × ${v.law.toFixed(3)}, dashed`, { "text-anchor": "end" });
  },
});
