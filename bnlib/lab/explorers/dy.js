// What is left of dy: the residuals of a straight line over x̂.
const X = [-0.4, 1.2, 0.4, 2, -1.6, 0.8, -0.9, 0, -1.2, 1.6];
const DY = [-1.6, 2.4, 1.9, 2.6, -1.4, -0.7, 1.2, 0.6, -1.5, 0.4];
const mean = (a) => a.reduce((sum, v) => sum + v, 0) / a.length;
const largest = (a) => Math.max(...a.map(Math.abs));
let before; // dx, as it was when a button was pressed

function backward(s) {
  const x = s.x.slice(0, s.m), dy = s.dy.slice(0, s.m), mu = mean(x);
  const variance = mean(x.map((v) => (v - mu) ** 2)), eps = 10 ** s.eps;
  const invstd = 1 / Math.sqrt(variance + eps), xHat = x.map((v) => (v - mu) * invstd);
  const level = mean(dy), slope = mean(dy.map((v, i) => v * xHat[i]));
  const line = xHat.map((v) => level + v * slope), stick = dy.map((v, i) => v - line[i]);
  return { xHat, dy, invstd, level, slope, line, stick, dx: stick.map((v) => s.gamma * invstd * v),
    share: eps / (variance + eps), kept: Math.hypot(...stick) / Math.hypot(...dy) };
}
const change = (v) => +largest(v.dx.map((d, i) => d - before[i])).toFixed(12);

explore({
  name: "dy",
  title: "What is left of dy",
  alt: "The incoming gradients dy over x̂ with a straight line through them; the sticks from the line to the points, times a factor, are the bars of dx below",
  height: 408,
  state: { x: X, dy: DY, view: [-3, 4] },
  controls: [
    { id: "m", label: "batch m", min: 2, max: X.length, step: 1, value: 10 },
    { id: "eps", label: "ε", min: -8, max: 0, step: 1, value: -5, show: (v) => `1e${v}`.replace("-", "−") },
    { id: "gamma", label: "γ", min: -3, max: 3, step: 0.1, value: 1 },
  ],
  compute: backward,
  settle(s) {
    const { dy, line } = backward(s), ends = [...dy, ...line];
    s.view = [Math.min(-3, Math.floor(Math.min(...ends))), Math.max(4, Math.ceil(Math.max(...ends)))];
  },
  discoveries: [
    { label: "+ 1 to every dy", set: (s, v) => { before = v.dx; return { dy: s.dy.map((d) => d + 1) }; },
      say: (s, v) => `The line rose with its points, and no stick moved: dx changed by ${explore.number(change(v))}.` },
    { label: "+ x̂ to every dy", set: (s, v) => { before = v.dx; return { dy: s.dy.map((d, i) => d + (v.xHat[i] ?? 0)) }; },
      say: (s, v) => `The line turned with its points. dx changed by ${explore.number(change(v))} at most: `
        + `ε lets ε/(σ² + ε) = ${explore.number(v.share)} of x̂ through.` },
    { label: "Two samples", set: () => ({ m: 2, eps: -5 }),
      say: (s, v) => `Two points always lie on a line. Nothing is left for dx but what ε lets through, ${explore.number(largest(v.dx))}.` },
    { label: "Two, and a large ε", set: () => ({ m: 2, eps: 0 }),
      say: (s, v) => `A large ε keeps the line from its points, and the share ε/(σ² + ε) = ${explore.number(v.share)} of the slope gets through.` },
  ],
  note(s, v) {
    const n = explore.number;
    return `The line: height mean(dy) = ${n(v.level)}, slope mean(dy · x̂) = ${n(v.slope)}. `
      + `The sticks keep ${n(100 * v.kept)} % of the length of dy. The sum of dx is ${n(+mean(v.dx).toFixed(9))}.`;
  },
  draw(pen, s, v) {
    const left = 34, right = pen.width - 14, top = 26, bottom = 232, zero = 324, half = 56;
    const [lo, hi] = s.view, wide = Math.max(2, largest(v.xHat)) + 0.15;
    const at = (u) => left + ((u + wide) / (2 * wide)) * (right - left);
    const to = (u) => bottom - ((u - lo) / (hi - lo)) * (bottom - top);
    const ten = 10 ** Math.floor(Math.log10(Math.max(2, largest(v.dx))));
    const full = ten * [1, 2, 5, 10].find((k) => k * ten >= Math.max(2, largest(v.dx)));
    const low = (u) => zero - (u / full) * half, orange = { style: "fill: var(--layer)" };
    const end = { "text-anchor": "end" };
    for (const u of [lo, 0, hi]) {
      pen.line([[left, to(u)], [right, to(u)]], u ? "faint" : "line", { "stroke-width": 1 });
      pen.text(left - 6, to(u) + 5, pen.number(u), end);
    }
    for (const u of [-full, 0, full]) {
      pen.line([[left, low(u)], [right, low(u)]], u ? "faint" : "line", { "stroke-width": 1 });
      pen.text(left - 6, low(u) + 5, pen.number(u), end);
    }
    pen.text(left - 30, 14, "Drag dy: the line is lost, the sticks pass.");
    pen.text(left, zero - half - 12, "dx = γ/√(σ² + ε) × stick", orange);
    const order = v.xHat.map((_, i) => i).sort((a, b) => v.xHat[a] - v.xHat[b]), ends = [order[0], order.at(-1)];
    pen.line(ends.map((i, k) => {
      const u = v.xHat[i] + 0.3 * k - 0.15;
      return [at(u), to(v.level + v.slope * u)];
    }), "soft", { "stroke-width": 3 });
    v.xHat.forEach((u, i) => {
      pen.line([[at(u), to(v.line[i])], [at(u), to(v.dy[i])]], "layer", { "stroke-width": 4 });
      pen.line([[at(u), zero], [at(u), low(v.dx[i])]], "layer", { "stroke-width": 8 });
    });
    for (const u of [-2, -1, 0, 1, 2]) pen.text(at(u), 402, pen.number(u), { "text-anchor": "middle" });
    pen.text(left - 6, 402, "x̂", { "font-style": "italic", ...end });
    for (const i of order)
      pen.handle(`dy${i}`, { x: at(v.xHat[i]), y: to(v.dy[i]), color: "ink", axis: "vertical",
        label: `sample ${i + 1}, dy`, value: v.dy[i], min: lo, max: hi, step: 0.1,
        at: (px, py) => lo + ((bottom - py) / (bottom - top)) * (hi - lo), set: (u) => { s.dy[i] = u; } });
  },
});
