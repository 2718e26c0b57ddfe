// A batch on a line: x, x̂ and y of one feature, and what a sample's batch mates do to it.
const COUNT = 32;
const START = [1.2, -0.4, 0.3, 2.1, -1.5, 0.8, -0.9, 0.1];
for (let k = START.length, next = explore.normals(1); k < COUNT; k++) START.push(+next().toFixed(2));

const moments = (x) => {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return { mean, var: x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length };
};
const ends = (x) => {
  const lo = Math.min(...x, 0), hi = Math.max(...x, 0), pad = Math.max(3, 1.25 * (hi - lo));
  const unit = 10 ** Math.floor(Math.log10(pad)), middle = Math.round((lo + hi) / 2 / unit) * unit;
  const half = unit * Math.ceil(Math.max(middle - lo, hi - middle, pad / 2) / unit);
  return [middle - half, middle + half];
};

explore({
  name: "batch",
  title: "A batch on a line",
  alt: "Three number lines: the inputs x of one feature, the normalized values, and the outputs y",
  height: 330,
  state: { x: START, view: [-3, 3], runningMean: 0, runningVar: 1 },
  controls: [
    { id: "m", label: "batch m", min: 2, max: COUNT, step: 1, value: 8 },
    { id: "gamma", label: "γ", min: -3, max: 3, step: 0.1, value: 1 },
    { id: "beta", label: "β", min: -3, max: 3, step: 0.1, value: 0 },
    { id: "eps", label: "ε", min: -8, max: 0, step: 1, value: -5, show: (v) => `1e${v}`.replace("-", "−") },
    { id: "training", label: "training: the batch's own statistics", value: true },
  ],
  compute(s) {
    const x = s.x.slice(0, s.m), own = moments(x);
    const { mean, var: variance } = s.training ? own : { mean: s.runningMean, var: s.runningVar };
    const invstd = 1 / Math.sqrt(variance + 10 ** s.eps);
    const xHat = x.map((v) => (v - mean) * invstd);
    return { x, mean, var: variance, xHat, y: xHat.map((v) => s.gamma * v + s.beta) };
  },
  settle(s) { s.view = ends(s.x.slice(0, s.m)); },
  discoveries: [
    { label: "One dot to infinity", set: (s) => ({ x: s.x.with(0, 1e9), training: true }),
      say: (s, v) => `It stops at √(m − 1) = ${explore.number(v.xHat[0])}, and presses the others together.` },
    { label: "× 1000", set: (s) => ({ x: s.x.map((v) => 1000 * v), training: true }),
      say: "Look at the first axis: x is a thousand times as large. x̂ and y did not move." },
    { label: "+ 7", set: (s) => ({ x: s.x.map((v) => v + 7), training: true }),
      say: "The first axis again: every x grew by 7. x̂ and y stay where they were." },
    { label: "Move your mates", set: (s) => ({ x: s.x.map((v, i) => (i && i < s.m ? v + 2 : v)) }),
      say: (s) => s.training ? "Your sample stayed, its output did not: your batch mates decide it."
        : "In evaluation your output depends on your sample alone." },
  ],
  note(s, v) {
    const n = explore.number;
    return `Your sample: x = ${n(v.x[0])} → x̂ = ${n(v.xHat[0])} → y = ${n(v.y[0])}. `
      + `${s.training ? "Batch" : "Running"} mean ${n(v.mean)}, standard deviation ${n(Math.sqrt(v.var))}.`;
  },
  draw(pen, s, v) {
    const left = 34, right = pen.width - 16, rows = [60, 180, 300];
    const wide = Math.max(3, Math.ceil(Math.max(...v.xHat.map(Math.abs), ...v.y.map(Math.abs)) + 0.3));
    const spans = [s.view, [-wide, wide], [-wide, wide]];
    const to = spans.map(([lo, hi]) => (u) =>
      Math.max(left - 8, Math.min(right + 8, left + ((u - lo) / (hi - lo)) * (right - left))));
    const colors = s.x.map((_, i) => (i ? "batch" : "layer"));
    v.x.forEach((_, i) => {
      const at = [v.x[i], v.xHat[i], v.y[i]].map((u, k) => [to[k](u), rows[k]]);
      pen.line(at, colors[i], { "stroke-width": i ? 1 : 2, opacity: i ? 0.35 : 0.9 });
    });
    ["x", "x̂", "y"].forEach((name, k) => {
      pen.line([[left, rows[k]], [right, rows[k]]], "soft", { "stroke-width": 1 });
      pen.text(4, rows[k] + 5, name, { "font-style": "italic" });
      for (const part of [0, 0.5, 1]) {
        const u = spans[k][0] + part * (spans[k][1] - spans[k][0]);
        pen.text(to[k](u), rows[k] + 24, pen.number(u), { "text-anchor": ["start", "middle", "end"][2 * part] });
      }
    });
    const std = Math.sqrt(v.var), y = rows[0] - 26, [a, b, c] = [-std, 0, std].map((d) => to[0](v.mean + d));
    pen.line([[a, y], [c, y]], "ink", {});
    pen.line([[b, y - 6], [b, y + 6]], "ink", {});
    pen.text(b, y - 12, `${s.training ? "batch" : "running"} mean ± std`, { "text-anchor": b < 120 ? "start" : b > pen.width - 120 ? "end" : "middle" });
    v.x.forEach((_, i) => {
      pen.dot(to[1](v.xHat[i]), rows[1], colors[i], { r: i ? 5 : 7 });
      pen.dot(to[2](v.y[i]), rows[2], colors[i], { r: i ? 5 : 7 });
    });
    const [lo, hi] = s.view, range = hi - lo;
    for (let i = 0; i < v.x.length; i++)
      pen.handle(`x${i}`, { x: to[0](v.x[i]), y: rows[0], color: colors[i], axis: "horizontal",
        label: i ? `sample ${i + 1}, x` : "your sample, x", value: v.x[i], min: Math.min(lo, v.x[i]), max: Math.max(hi, v.x[i]),
        step: range / 60, at: (px) => lo + ((px - left) / (right - left)) * range,
        set: (u) => { s.x[i] = u; } });
  },
});
