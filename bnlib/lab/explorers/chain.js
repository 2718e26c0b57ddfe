// A signal chain: a small network, computed both ways, without BN and with it.
const SAMPLES = 64, UNITS = 32, DEEPEST = 20, BINS = 25, REACH = 4;
const drawn = (seed, n) => Float64Array.from({ length: n }, explore.normals(seed));
const INPUT = drawn(1, SAMPLES * UNITS), TOP = drawn(2, SAMPLES * UNITS);
const WEIGHTS = Array.from({ length: DEEPEST }, (_, k) => drawn(3 + k, UNITS * UNITS));
const TRANSPOSED = WEIGHTS.map((w) => w.map((_, k) => w[(k % UNITS) * UNITS + Math.floor(k / UNITS)]));
const ACTIVATIONS = { // of x, and the slope where the output is y
  ReLU: [(x) => Math.max(0, x), (y) => (y > 0 ? 1 : 0)],
  tanh: [Math.tanh, (y) => 1 - y * y],
  sigmoid: [(x) => 1 / (1 + Math.exp(-x)), (y) => y * (1 - y)],
  none: [(x) => x, () => 1],
};

// a @ wᵀ, times a number.
const product = (a, w, scale) => {
  const y = new Float64Array(a.length);
  for (let n = 0; n < a.length; n += UNITS)
    for (let o = 0; o < UNITS; o++) {
      const row = o * UNITS;
      let sum = 0, more = 0;
      for (let i = 0; i < UNITS; i += 2) {
        sum += a[n + i] * w[row + i];
        more += a[n + i + 1] * w[row + i + 1];
      }
      y[n + o] = scale * (sum + more);
    }
  return y;
};
const rms = (a) => {
  let sum = 0;
  for (const v of a) sum += v * v;
  return Math.sqrt(sum / a.length);
};
// Calls f(index) for the samples of a unit; returns the mean.
const mean = (u, f) => {
  let sum = 0;
  for (let n = u; n < SAMPLES * UNITS; n += UNITS) sum += f(n);
  return sum / SAMPLES;
};

// Brings each unit to mean 0 and variance 1, in place; returns 1/std of each.
const normalize = (x) => Array.from({ length: UNITS }, (_, u) => {
  const m = mean(u, (n) => x[n]), v = mean(u, (n) => (x[n] - m) ** 2), invstd = 1 / Math.sqrt(v + 1e-5);
  for (let n = u; n < x.length; n += UNITS) x[n] = (x[n] - m) * invstd;
  return invstd;
});
const normalizeBackward = (dy, xHat, invstd) => invstd.forEach((factor, u) => {
  const a = mean(u, (n) => dy[n]), b = mean(u, (n) => dy[n] * xHat[n]);
  for (let n = u; n < dy.length; n += UNITS) dy[n] = factor * (dy[n] - a - xHat[n] * b);
});
// The root of the variance over the samples, averaged over the units. Beside a mean that is 10⁷
// times as large, single precision would keep nothing of it.
const spread = (x) => {
  let sum = 0;
  for (let u = 0; u < UNITS; u++) {
    const m = mean(u, (n) => x[n]);
    sum += mean(u, (n) => (x[n] - m) ** 2);
  }
  const value = Math.sqrt(sum / UNITS), floor = 1e-7 * rms(x);
  return { log: Math.log10(Math.max(value, floor)), kept: value > floor };
};

function run(s, norm) {
  const [act, slope] = ACTIVATIONS[s.act], scale = 2 ** s.scale / Math.sqrt(UNITS);
  const arriving = [], outputs = [], invstds = [], gradient = [];
  let x = INPUT, dy = TOP;
  for (let l = 0; l < s.depth; l++) {
    const y = product(x, WEIGHTS[l], scale);
    if (norm) invstds.push(normalize(y));
    arriving.push(y);
    outputs.push(x = y.map(act));
  }
  for (let l = s.depth - 1; l >= 0; l--) {
    dy = dy.map((v, n) => v * slope(outputs[l][n]));
    gradient.unshift(Math.log10(rms(dy)));
    if (norm) normalizeBackward(dy, arriving[l], invstds[l]);
    if (l) dy = product(dy, TRANSPOSED[l], scale);
  }
  const spreads = arriving.map(spread);
  return { arriving, gradient, spread: spreads.map((p) => p.log), kept: spreads.filter((p) => p.kept).length };
}

const share = (x) => {
  const counts = Array(BINS).fill(0);
  for (const v of x) counts[Math.max(0, Math.min(BINS - 1, Math.floor(((v + REACH) / (2 * REACH)) * BINS)))]++;
  return counts;
};

const power = (k) => `10${[...String(k)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")}`;

explore({
  name: "chain",
  title: "A signal, layer by layer",
  alt: "For each layer of a network the histogram of what arrives at its activation, and two lines down the layers: the spread of the signal and the size of the gradient",
  height: 400,
  state: {},
  controls: [
    { id: "scale", label: "weights", min: -3, max: 3, step: 0.25, value: 0.5, show: (v) => explore.number(2 ** v) },
    { id: "depth", label: "layers", min: 2, max: DEEPEST, step: 1, value: 10 },
    { id: "act", label: "activation", options: Object.keys(ACTIVATIONS), value: "ReLU" },
    { id: "norm", label: "BN", value: false },
  ],
  compute(s) {
    const both = [run(s, false), run(s, true)], own = both[+s.norm], last = s.depth - 1;
    return {
      spread: both.map((b) => b.spread), gradient: both.map((b) => b.gradient),
      counts: own.arriving.map(share), kept: both.map((b) => b.kept),
      signalFactor: 10 ** ((own.spread[own.kept - 1] - own.spread[0]) / (own.kept - 1)),
      gradientFactor: 10 ** ((own.gradient[0] - own.gradient[last]) / last),
    };
  },
  discoveries: [
    { label: "Let it die", set: () => ({ act: "ReLU", scale: -0.75, depth: 12, norm: false }),
      say: (s, v) => `One factor, ${explore.number(v.signalFactor)}, ${s.depth - 1} times: of the spread of layer 1, `
        + `${explore.number(10 ** (v.spread[0][s.depth - 1] - v.spread[0][0]))} is left. The gradient dies with it.` },
    { label: "Let it explode", set: () => ({ act: "ReLU", scale: 2, depth: 12, norm: false }),
      say: (s, v) => `The factor is ${explore.number(v.signalFactor)} now, and layer ${s.depth} has `
        + `${explore.number(10 ** (v.spread[0][s.depth - 1] - v.spread[0][0]))} times the spread of layer 1.` },
    { label: "Switch BN on", set: () => ({ norm: true }),
      say: (s, v) => `The same weights. Layer ${s.depth} had spread ${explore.number(10 ** v.spread[0][s.depth - 1])}; `
        + `with BN it has ${explore.number(10 ** v.spread[1][s.depth - 1])}. Now move the weights.` },
  ],
  note(s, v) {
    const n = explore.number, grows = v.gradientFactor > 1 ? "grows" : "shrinks";
    return `Weights: ${n(2 ** s.scale)}/√n. ` + (s.norm ? "BN sets the spread anew in each layer. "
      : `Each layer multiplies the spread by ${n(v.signalFactor)}. `)
      + (v.kept[+s.norm] < s.depth ? `After layer ${v.kept[0]}, single precision keeps nothing of it. `
        : `In layer ${s.depth} it is ${n(10 ** v.spread[+s.norm][s.depth - 1])}. `) + `The gradient ${grows}: × ${n(v.gradientFactor)} a layer, from the last to the first.`;
  },
  draw(pen, s, v) {
    const top = 46, bottom = pen.height - 26, row = (bottom - top) / s.depth;
    const gap = pen.width > 500 ? 36 : 12, left = 26, right = pen.width - 8;
    const large = pen.width > 500, part = (right - left - 2 * gap) / (large ? 3.4 : 3.1), wide = right - left - 2 * (part + gap);
    const colors = ["none", "batch"], own = +s.norm, y = (l) => top + (l + 0.5) * row;
    const title = (x, text, more, color) => {
      pen.text(x, 14, text, { "text-anchor": "middle" });
      pen.text(x, 32, more, { "text-anchor": "middle", style: `fill:var(--${color})` });
    };
    const axis = (x0, width, labels) => labels.forEach((label, k) => {
      const x = x0 + (k * width) / 2;
      pen.line([[x, top], [x, bottom + 4]], k === 1 ? "line" : "faint", { "stroke-width": 1 });
      pen.text(x, bottom + 20, label, { "text-anchor": ["start", "middle", "end"][k] });
    });
    axis(left, wide, [`≤ −${REACH}`, "0", `≥ ${REACH}`]);
    title(left + wide / 2, large ? "what arrives at the activation" : "what arrives", s.norm ? "with BN" : "without BN", colors[own]);
    v.counts.forEach((counts, l) => {
      const base = top + (l + 1) * row - 1, most = Math.max(...counts), up = 0.92 * row / most, dx = wide / BINS;
      pen.add("polygon", { fill: `var(--${colors[own]})`, points: [`${left},${base.toFixed(1)}`,
        ...counts.map((c, k) => `${(left + (k + 0.5) * dx).toFixed(1)},${(base - c * up).toFixed(1)}`),
        `${left + wide},${base.toFixed(1)}`].join(" ") });
      if (s.depth <= 10 || l === 0 || (l + 1) % 5 === 0)
        pen.text(left - 8, y(l) + 5, l + 1, { "text-anchor": "end" });
    });
    const most = Math.max(...[...v.spread, ...v.gradient].flat().map(Math.abs));
    const reach = [3, 6, 12, 24, 48].find((r) => most <= r);
    [["spread ↓", v.spread, v.signalFactor], ["gradient ↑", v.gradient, v.gradientFactor]].forEach(([name, lines, factor], k) => {
      const x0 = left + wide + gap + k * (part + gap), at = (u) => x0 + ((u / reach + 1) / 2) * part;
      axis(x0, part, [power(-reach), "1", power(reach)]);
      title(x0 + part / 2, name, `× ${pen.number(factor)}${large ? " a layer" : ""}`, colors[own]);
      const [other, mine] = [1 - own, own].map((arm) => lines[arm].slice(0, k ? s.depth : v.kept[arm]).map((u, l) => [at(u), y(l)]));
      pen.line(other, colors[1 - own], { "stroke-dasharray": "2 4" });
      pen.line(mine, colors[own], { "stroke-width": 3 });
      mine.forEach(([cx, cy]) => pen.dot(cx, cy, colors[own], { r: Math.min(4, row / 4) }));
      const l = Math.floor(s.depth * (k ? 0.5 : 0.4)), [x, height] = other[l] ?? [], aside = x - mine[l]?.[0];
      if (Math.abs(aside) > 7)
        pen.text(x + 6 * Math.sign(aside), height + 5, own ? "none" : "BN",
          { "text-anchor": aside < 0 ? "end" : "start", style: `fill:var(--${colors[1 - own]})` });
    });
  },
});
