// The fan: SGD on the two weights in front of a BN, whose loss knows their direction only.
const M = 16, BATCH = 8, WEDGES = 40, RUNS = ["SGD", "growing rate", "projected"];
const next = explore.normals(88), START = { x: [], t: [] };
for (let i = 0; i < M; i++) {
  const a = next(), b = next();
  START.x.push([+(a + 0.3 * b).toFixed(2), +(0.3 * a + b).toFixed(2)]);
  START.t.push(+(a - b + next()).toFixed(2));
}
const order = (step) => Array.from({ length: BATCH }, (_, k) => (5 * step + 3 * k) % M);
const all = [...Array(M).keys()], mean = (a) => a.reduce((u, v) => u + v, 0) / a.length;
const len = ([a, b]) => Math.hypot(a, b), angle = ([a, b]) => Math.atan2(b, a);
const apart = (u, v) => Math.abs(Math.atan2(u[0] * v[1] - u[1] * v[0], u[0] * v[0] + u[1] * v[1]));

// Half the mean square of x̂ − t over some samples, with x̂ = BN(w·x), and its gradient.
function loss(s, w, rows) {
  const z = rows.map((i) => w[0] * s.x[i][0] + w[1] * s.x[i][1]), mu = mean(z);
  const std = Math.sqrt(mean(z.map((v) => (v - mu) ** 2))), xHat = z.map((v) => (v - mu) / std);
  const d = xHat.map((v, k) => v - s.t[rows[k]]), dot = mean(d.map((v, k) => v * xHat[k])), own = mean(d);
  const dz = d.map((v, k) => (v - own - xHat[k] * dot) / std);
  return { value: mean(d.map((v) => v * v)) / 2, grad: [0, 1].map((j) => mean(rows.map((i, k) => dz[k] * s.x[i][j]))) };
}
function settings(s) {
  const eta = 10 ** s.rate, mu = +s.momentum, lambda = +s.product / eta, b = 1 + mu - +s.product;
  // Decay as a growing rate: the larger root of α² − (1 + μ − ηλ) α + μ = 0.
  return { eta, mu, lambda, alpha: (b + Math.sqrt(b * b - 4 * mu)) / 2 };
}
function sgd(s, w, v, steps, rate, decay, mu) {
  const path = [w];
  for (let t = 0; t < steps; t++) {
    const g = loss(s, w, order(t)).grad;
    v = v.map((old, j) => mu * old + g[j] + decay * w[j]);
    w = w.map((old, j) => old - rate(t) * v[j]);
    path.push(w);
  }
  return path;
}
function first(s) {
  const { eta, mu, lambda } = settings(s), phi = (s.angle * Math.PI) / 180, r = 10 ** s.start;
  return sgd(s, [r * Math.cos(phi), r * Math.sin(phi)], [0, 0], s.steps, () => eta, lambda, mu);
}
// The same directions once more: with no decay, or with no length.
function again(s, w) {
  const { eta, mu, lambda, alpha } = settings(s);
  if (s.run === RUNS[1])
    return sgd(s, w[0], w[0].map((v) => ((alpha - 1) * v) / (eta * alpha)), s.steps, (t) => eta * alpha ** (-2 * t - 1), 0, mu);
  const r = w.map(len), path = [w[0].map((v) => v / r[0])];
  for (let t = 0, p = [0, 0]; s.run === RUNS[2] && t < s.steps; t++) {
    const u = path[t], g = loss(s, u, order(t)).grad;
    p = p.map((old, j) => (t && (mu * r[t] / r[t - 1]) * old) + g[j] + lambda * r[t] ** 2 * u[j]);
    const to = u.map((v, j) => v - (eta / r[t] ** 2) * p[j]);
    path.push(to.map((v) => v / len(to)));
  }
  return s.run === RUNS[2] ? path : [];
}

explore({
  name: "fan",
  title: "The fan",
  alt: "The plane of two weights before BN: the loss is the same along each ray, and the path of SGD turns and drifts outwards; beside it the length of the weights, the effective rate and the turn of each step",
  height: (width) => (width < 560 ? width + 320 : 356),
  state: { ...START, angle: 100 },
  controls: [
    { id: "rate", label: "rate η", min: -2, max: 2, step: 0.25, value: -0.5, show: (v) => explore.number(+(10 ** v).toPrecision(2)) },
    { id: "product", label: "η · λ", options: ["0", "0.003", "0.01", "0.03", "0.1"], value: "0" },
    { id: "momentum", label: "momentum", options: ["0", "0.5", "0.8", "0.9"], value: "0" },
    { id: "start", label: "start ‖w‖", min: -0.5, max: 1, step: 0.1, value: 0, show: (v) => explore.number(+(10 ** v).toPrecision(2)) },
    { id: "run", label: "run", options: RUNS, value: RUNS[0] },
    { id: "steps", label: "steps", min: 1, max: 60, step: 1, value: 40, play: 150 },
  ],
  compute(s) {
    const { eta, mu, alpha } = settings(s), w = first(s), replay = again(s, w);
    const turn = (path) => path.slice(1).map((v, t) => apart(v, path[t])), norms = w.map(len);
    const rates = norms.map((r) => eta / (r * r));
    return { w, norms, rates, turns: turn(w), alpha, replay, replayNorms: replay.map(len), replayTurns: turn(replay),
      replayRates: s.run === RUNS[1] ? replay.map((v, t) => (eta * alpha ** (-2 * t - 1)) / len(v) ** 2) : replay.length ? rates : [],
      gap: Math.max(0, ...replay.map((v, t) => apart(v, w[t]))), balance: Math.sqrt((2 * +s.product) / (1 + mu)),
      fan: Array.from({ length: WEDGES }, (_, k) => loss(s, [Math.cos((2 * Math.PI * k) / WEDGES), Math.sin((2 * Math.PI * k) / WEDGES)], all).value) };
  },
  discoveries: [
    { label: "Exponential rate", set(s) {
      const product = s.product === "0" ? "0.03" : s.product, kept = Number.isNaN(settings({ ...s, product }).alpha) ? "0" : s.momentum;
      return { run: RUNS[1], product, momentum: kept, steps: Math.max(40, s.steps) };
    }, say: (s, v) => `No decay, but a rate that grows by ${explore.number(100 * (v.alpha ** -2 - 1))} % in each step. The weights end ${explore.number(v.replayNorms.at(-1) / v.norms.at(-1))} times as long, and no direction differs by more than ${explore.number(v.gap)}.` },
    { label: "Projected", set: (s) => ({ run: RUNS[2], steps: Math.max(40, s.steps) }),
      say: (s, v) => `Set back to length 1 after each step, at the rate η/‖w‖²: no direction differs by more than ${explore.number(v.gap)}. That is what SGD does before a BN.` },
    { label: "Rate × 100", set: (s) => ({ rate: Math.min(2, s.rate + 2), before: s.rate, product: "0", run: RUNS[0], steps: 60 }),
      say(s, v) {
        const n = explore.number, { eta } = settings({ ...s, rate: s.before }), old = eta / len(first({ ...s, rate: s.before }).at(-1)) ** 2;
        return `Without decay. The first step makes the weights ${n(v.norms[1] / v.norms[0])} times as long. After ${s.steps} steps the effective rate is ${n(v.rates.at(-1))}; with η = ${n(eta)} it is ${n(old)}: BN sets its own rate.`;
      } },
  ],
  note(s, v) {
    const n = explore.number, degrees = (u) => `${n((u * 180) / Math.PI)}°`;
    if (Number.isNaN(v.gap)) return "No growing rate replays this run: momentum and decay are too large together, √(ηλ) > 1 − √μ.";
    return `After ${s.steps} steps: ‖w‖ = ${n(v.norms.at(-1))}, effective rate η/‖w‖² = ${n(v.rates.at(-1))}, last turn ${degrees(v.turns.at(-1))}`
      + (v.balance ? `; in balance the turn is √(2ηλ/(1 + μ)) = ${degrees(v.balance)}. ` : ". ")
      + (v.replay.length ? `Largest difference of directions: ${n(v.gap)}.` : "");
  },
  draw(pen, s, v) {
    const narrow = pen.width < 560, side = narrow ? pen.width - 2 : 316, half = side / 2, f = (u) => u.toFixed(1);
    const exists = v.replay.length && !Number.isNaN(v.gap), reach = Math.max(...v.norms, ...(exists ? v.replayNorms : []));
    const at = ([a, b]) => [half + ((a * half) / reach) * 0.92, half - ((b * half) / reach) * 0.92];
    const ray = (phi) => `${f(half + side * Math.cos(phi))} ${f(half - side * Math.sin(phi))}`;
    // One wedge for each direction: the loss does not depend on the length.
    const low = Math.min(...v.fan), high = Math.max(...v.fan), turn = (2 * Math.PI) / WEDGES, best = turn * v.fan.indexOf(low);
    let inside = v.fan.map((u, k) => `<path d="M${half} ${half}L${ray((k - 0.5) * turn)}L${ray((k + 0.5) * turn)}z" fill="var(--ink)" opacity="${((0.3 * (u - low)) / (high - low)).toFixed(2)}" />`).join("");
    inside += `<path d="${v.w.map((p) => `M${half} ${half}L${ray(angle(p))}`).join("")}" stroke="var(--none)" opacity=".45" />`
      + `<path d="M${half} ${half}L${ray(best)}" stroke="var(--ink)" stroke-width="2" stroke-dasharray="5 4" />`;
    const trail = (path, color, size) => {
      const points = path.map((p) => at(p).map(f).join(" "));
      return `<polyline points="${points.join(" ")}" fill="none" stroke="var(--${color})" stroke-width="1.5" />`
        + `<path d="${points.map((p) => `M${p}h0`).join("")}" stroke="var(--${color})" stroke-width="${size}" stroke-linecap="round" />`;
    };
    inside += trail(v.w, "batch", 7) + (exists ? trail(v.replay, "gold", 6) : "");
    pen.add("svg", { x: 0, y: 0, width: side, height: side, style: `width:${side}px;height:${side}px` }).innerHTML = `${inside}<rect width="${side}" height="${side}" fill="none" stroke="var(--line)" />`;
    pen.text(0, side + 17, "Shaded: high loss. Dashed: lowest.");
    pen.text(0, side + 35, "SGD", { style: "fill: var(--batch)" });
    if (exists) pen.text(38, side + 35, s.run, { style: "fill: var(--gold)" });

    const x0 = narrow ? 46 : 396, x1 = pen.width - 6, top = narrow ? side + 62 : 18, rise = narrow ? 84 : 108, tall = rise - 36;
    const logs = (a) => a.map((u) => Math.log10(u)), degrees = (a) => a.map((u) => (u * 180) / Math.PI);
    const strips = [["length ‖w‖", logs(v.norms), logs(v.replayNorms), true],
      ["effective rate η/‖w‖²", logs(v.rates), logs(v.replayRates), true],
      ["turn of the step, degrees", degrees(v.turns), degrees(v.replayTurns), false]];
    strips.forEach(([name, own, other, log], k) => {
      const y = top + k * rise, both = [...own, ...(exists ? other : []), ...(log ? [] : [0, (v.balance * 180) / Math.PI])];
      const lo = Math.min(...both), hi = Math.max(...both, lo + (log ? 0.3 : 1)), skip = log ? 0 : 1;
      const to = (u, t) => [x0 + ((t + skip) / 60) * (x1 - x0), y + tall - ((u - lo) / (hi - lo)) * tall];
      pen.text(x0, y - 6, name);
      for (const u of [lo, hi]) pen.text(x0 - 6, to(u, 0)[1] + (u === lo ? 3 : 8), pen.number(log ? 10 ** u : u), { "text-anchor": "end" });
      pen.line([[x0, y], [x0, y + tall], [x1, y + tall]], "line", { "stroke-width": 1 });
      if (!log && v.balance) pen.line([to((v.balance * 180) / Math.PI, -1), to((v.balance * 180) / Math.PI, 59)], "ink", { "stroke-dasharray": "5 4", "stroke-width": 1.5 });
      pen.line(own.map(to), "batch", { "stroke-width": exists ? 5 : 2 });
      if (exists) pen.line(other.map(to), "gold", {});
    });
    pen.text(x1, top + 2 * rise + tall + 17, "60 steps", { "text-anchor": "end" });
    pen.text(x0, top + 2 * rise + tall + 17, "0");

    const [x, y] = at(v.w[0]);
    pen.handle("angle", { x, y, color: "layer", axis: "horizontal", label: "direction of the start, degrees", value: s.angle, min: -180, max: 180, step: 5,
      at: (px, py) => (Math.atan2(half - py, px - half) * 180) / Math.PI, set: (u) => { s.angle = u; } });
  },
});
