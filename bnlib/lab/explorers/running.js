// The running average of batch means: how far it is off, and why.
const STEPS = 200;
const GRID = Array.from({ length: 61 }, (_, k) => -3 + k / 20); // log10 of the momentum
const upTo = (f) => Array.from({ length: STEPS }, (_, k) => f(k + 1));
const average = (stream, momentum, r) => stream.map((v) => (r = (1 - momentum) * r + momentum * v));
// What theory expects at step t, without and with the noise.
const expected = (s, momentum) => {
  const old = (1 - momentum) ** s.t, start = -s.base * old, lag = -s.drift * ((1 - momentum) / momentum) * (1 - old);
  const std = s.sigma / 2 ** (s.logM / 2) * Math.sqrt(momentum / (2 - momentum) * (1 - old * old));
  return { old, std, rms: Math.hypot(start + lag, std) };
};
const both = (momentum) => `${explore.number(momentum)} (${explore.number(1 - momentum)})`;
const verdict = (s, v) => `Momentum ${explore.number(v.momentum)} is off by ${explore.number(v.rms)} as a rule, mostly by its `
  + `${Math.abs(v.lag + v.start) > v.std ? "lag" : "noise"}. The best, ${explore.number(v.best)}, is off by ${explore.number(v.least)}.`;

explore({
  name: "running",
  title: "Running average",
  alt: "Batch means that drift and scatter, their true mean, and the running mean behind it; below, its error as the sum of start, lag and noise, and the expected error against the momentum",
  height: (width) => (width < 560 ? 536 : 378),
  state: { base: 5, sigma: 4, seed: 3 },
  controls: [
    { id: "log", label: "momentum (Keras')", min: -3, max: 0, step: 0.1, value: -1.5, show: (v) => both(10 ** v) },
    { id: "drift", label: "drift", min: 0, max: 0.1, step: 0.002, value: 0.04 },
    { id: "logM", label: "batch m", min: 1, max: 9, step: 1, value: 4, show: (v) => 2 ** v },
    { id: "t", label: "step", min: 1, max: STEPS, step: 1, value: 150, play: 50 },
  ],
  compute(s) {
    const momentum = 10 ** s.log, next = explore.normals(s.seed), old = upTo(() => 0);
    const truth = upTo((t) => s.base + s.drift * t), chance = truth.map(() => (s.sigma / 2 ** (s.logM / 2)) * next());
    const batchMeans = truth.map((v, k) => v + chance[k]), running = average(batchMeans, momentum, 0);
    // The average is linear, so the three errors can be followed one by one, and add up.
    const starts = average(old, momentum, -s.base), noises = average(chance, momentum, 0);
    const lags = average(truth.map((v) => v - s.base), momentum, 0).map((v, k) => v - s.drift * (k + 1));
    const k = s.t - 1, { std, rms } = expected(s, momentum), curve = GRID.map((g) => expected(s, 10 ** g).rms);
    const least = Math.min(...curve), best = 10 ** GRID[curve.indexOf(least)];
    return { momentum, truth, batchMeans, running, starts, lags, noises, start: starts[k], lag: lags[k],
      noise: noises[k], error: running[k] - truth[k], std, rms, curve, least, best };
  },
  discoveries: [
    { label: "Evaluate now", set: () => ({}), say: (s, v) => {
      const [size, part] = ["start", "lag", "noise"].map((p) => [Math.abs(v[p]), p]).sort((a, b) => b[0] - a[0])[0], n = explore.number;
      return `A sample exactly at the true mean ${n(v.truth[s.t - 1])} gets x̂ = ${n(-v.error / s.sigma)}, not 0. The largest part is the ${part}, ${n(size)}.`;
    } },
    { label: "Too early", set: () => ({ log: -2, drift: 0, logM: 6, t: 20 }),
      say: (s, v) => `With Keras' default ${explore.number(1 - v.momentum)} the start 0 still weighs ${explore.number(expected(s, v.momentum).old)} `
        + `after ${s.t} batches. Training is not to blame.` },
    { label: "Fast drift", set: () => ({ log: -1, drift: 0.1, logM: 9, t: STEPS }), say: verdict },
    { label: "Small batches", set: () => ({ log: -1, drift: 0.002, logM: 1, t: STEPS }), say: verdict },
    { label: "Keras' 0.99 as it is", set: () => ({ log: Math.log10(0.99), t: STEPS }),
      say: (s, v) => `In PyTorch it gives each new batch ${explore.number(v.momentum)}: the noise of a single batch stays, ±${explore.number(v.std)}.` },
  ],
  note(s, v) {
    const n = explore.number, r = (u) => n(+u.toFixed(3));
    return `Step ${s.t}: the true mean is ${n(v.truth[s.t - 1])}, the running mean ${n(v.running[s.t - 1])}. `
      + `Error ${r(v.error)} = start ${r(v.start)}, lag ${r(v.lag)}, noise ${r(v.noise)} (typically ±${n(v.std)}).`;
  },
  draw(pen, s, v) {
    const narrow = pen.width < 560, left = 30, right = pen.width - 14, top = 26, bottom = 190;
    const text = (x, y, words, color, anchor) => pen.text(x, y, words, { style: `fill: var(--${color})`, "text-anchor": anchor });
    // The stream.
    const lo = Math.floor(Math.min(0, ...v.batchMeans)), hi = Math.ceil(Math.max(...v.batchMeans, ...v.truth));
    const at = (t) => left + (t / STEPS) * (right - left), to = (u) => bottom - ((u - lo) / (hi - lo)) * (bottom - top);
    let x = 2;
    for (const [words, color, wide] of [["batch means", "soft", 94], ["true mean", "ink", 78], ["running mean", "batch", 102], ["error", "layer", 0]])
      { text(x, 13, words, color); x += wide; }
    for (const u of new Set([lo, 0, hi])) {
      pen.line([[left, to(u)], [right, to(u)]], u ? "faint" : "line", { "stroke-width": 1 });
      text(left - 5, to(u) + 5, pen.number(u), "ink", "end");
    }
    for (const t of [0, 50, 100, 150, 200]) text(at(t), bottom + 18, t, "ink", t === STEPS ? "end" : "middle");
    text(at(75), bottom + 18, "step", "ink", "middle");
    const dots = v.batchMeans.slice(0, s.t).map((u, k) => `M${at(k + 1).toFixed(0)},${to(u).toFixed(0)}h0`).join("");
    pen.add("path", { d: dots, stroke: "var(--line)", "stroke-width": 4, "stroke-linecap": "round" });
    pen.line([[left, to(s.base)], [at(STEPS), to(v.truth.at(-1))]], "ink");
    const path = [0, ...v.running.slice(0, s.t)].map((u, k) => [at(k), to(u)]), here = path.at(-1);
    pen.line(path, "batch", { "stroke-width": 2.5 });
    pen.line([[here[0], top], [here[0], bottom]], "line", { "stroke-width": 1 });
    pen.line([here, [here[0], to(v.truth[s.t - 1])]], "layer", { "stroke-width": 5 });
    pen.handle("t", { x: here[0], y: bottom, color: "batch", axis: "horizontal", label: "step", value: s.t,
      min: 1, max: STEPS, step: 1, at: (px) => ((px - left) / (right - left)) * STEPS, set: (u) => { s.t = Math.round(u); } });
    // The error, part by part.
    const begin = 62, end = narrow ? right : 320, rows = 246, sums = [0, v.start, v.start + v.lag, v.error];
    const most = Math.max(...sums.map(Math.abs), Math.abs(sums[2]) + v.std, 0.01), ten = 10 ** Math.floor(Math.log10(most));
    const full = ten * [1, 2, 5, 10].find((k) => k * ten >= most * 0.999);
    const across = (u) => begin + ((u + full) / (2 * full)) * (end - begin);
    const half = (across(v.std) - across(0));
    pen.add("rect", { x: across(sums[2]) - half, y: rows + 50, width: 2 * half, height: 24, fill: "var(--faint)" });
    pen.line([[across(0), rows], [across(0), rows + 104]], "line", { "stroke-width": 1 });
    [["start", 0, v.start], ["lag", v.start, v.lag], ["noise", sums[2], v.noise], ["error", 0, v.error]].forEach(([name, from, by], k) => {
      const y = rows + 12 + 25 * k, color = k < 3 ? "gold" : "layer";
      text(2, y + 5, name, color);
      pen.line([[across(from), y], [across(from + by), y]], color, { "stroke-width": 12 });
      if (k < 3) pen.line([[across(from + by), y - 6], [across(from + by), y + 31]], "soft", { "stroke-width": 1 });
    });
    for (const u of [-full, 0, full]) text(across(u), rows + 120, pen.number(u), "ink", ["end", "middle", "start"][1 - Math.sign(u)]);
    // What to expect of each momentum.
    const x0 = narrow ? 74 : 414, y0 = narrow ? 406 : 246, y1 = y0 + 84, wide = right - 12 - x0;
    const logs = v.curve.map(Math.log10), low = Math.floor(Math.min(...logs)), high = Math.ceil(Math.max(...logs));
    const px = (g) => x0 + ((g + 3) / 3) * wide, py = (u) => y1 - ((Math.log10(u) - low) / (high - low)) * (y1 - y0);
    for (let k = low; k <= high; k++) {
      pen.line([[x0, py(10 ** k)], [x0 + wide, py(10 ** k)]], "faint", { "stroke-width": 1 });
      text(x0 - 5, py(10 ** k) + 5, pen.number(10 ** k), "ink", "end");
    }
    for (const g of [-3, -2, -1, 0]) {
      text(px(g), y1 + 19, pen.number(10 ** g), "ink", "middle");
      text(px(g), y1 + 36, pen.number(1 - 10 ** g), "soft", "middle");
    }
    text(px(-1.5), y0 - 10, "expected error of each momentum", "ink", "middle");
    text(across(0), rows - 10, "error = start + lag + noise", "ink", "middle");
    text(x0 - 22, y1 + 19, "PyTorch", "ink", "end");
    text(x0 - 22, y1 + 36, "Keras", "soft", "end");
    pen.line(GRID.map((g, k) => [px(g), py(v.curve[k])]), "batch");
    pen.dot(px(Math.log10(v.best)), py(v.least), "gold", { r: 6 });
    pen.dot(px(s.log), py(v.rms), "layer", { r: 6 });
    text(Math.min(x0 + wide - 6, px(Math.log10(v.best))), py(v.least) - 12, "best", "gold", "middle");
  },
});
