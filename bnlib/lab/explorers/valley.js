// The valley: the loss of a linear neuron over its two weights, and what BN's two halves do to it.
const KINDS = ["raw", "− mean", "÷ σ", "both (BN)", "whitened"];
const next = explore.normals(2), CLOUD = [];
for (let k = 0; k < 16; k++) { const z = [next(), next()]; CLOUD.push(z, z.map((v) => -v)); }

// Mean and covariance of the two features. Their means are `mean` times their own σ.
function moments(s, kind) {
  if (kind === KINDS[4]) return { mu: [0, 0], cov: [1, 0, 1] };
  const centred = kind === KINDS[1] || kind === KINDS[3], scaled = kind === KINDS[2] || kind === KINDS[3];
  const sigma = scaled ? [1, 1] : [s.ratio, 1];
  return { mu: sigma.map((v) => (centred ? 0 : s.mean * v)),
    cov: [sigma[0] ** 2, s.rho * sigma[0] * sigma[1], sigma[1] ** 2] };
}
// The Hessian E[x xᵀ] = Σ + μ μᵀ, as a, b, d, with its eigenvalues and the angle of the steeper direction.
function bowl({ mu, cov }) {
  const [a, b, d] = [cov[0] + mu[0] ** 2, cov[1] + mu[0] * mu[1], cov[2] + mu[1] ** 2];
  const high = (a + d) / 2 + Math.hypot((a - d) / 2, b), low = (a * d - b * b) / high;
  return { H: [a, b, d], lam: [high, low], kappa: high / low, angle: Math.atan2(2 * b, a - d) / 2 };
}

explore({
  name: "valley",
  title: "The valley",
  alt: "Left two correlated features as a cloud of points; in the middle the loss over two weights with the path of gradient descent; right the condition number for five treatments of the features",
  height: (width) => (width < 560 ? 0.8 * width + 232 : 316),
  state: { start: 160 },
  controls: [
    { id: "kind", label: "input", options: KINDS, value: "raw" },
    { id: "mean", label: "mean ÷ σ", min: 0, max: 4, step: 0.1, value: 2 },
    { id: "ratio", label: "ratio of σ", min: 1, max: 8, step: 0.1, value: 3 },
    { id: "rho", label: "corr. ρ", min: -0.95, max: 0.95, step: 0.05, value: 0.5, show: (v) => explore.number(+v.toFixed(2)) },
    { id: "rate", label: "η ÷ best", min: 0.1, max: 2.2, step: 0.02, value: 1 },
    { id: "steps", label: "steps", min: 0, max: 40, step: 1, value: 12, play: 250 },
  ],
  compute(s) {
    const { mu, cov } = moments(s, s.kind), { H, lam, kappa, angle } = bowl({ mu, cov });
    const eta = (s.rate * 2) / (lam[0] + lam[1]), phi = (s.start * Math.PI) / 180;
    const path = [[Math.cos(phi), Math.sin(phi)]];
    for (let t = 0; t < s.steps; t++) {
      const [u, w] = path[t];
      path.push([u - eta * (H[0] * u + H[1] * w), w - eta * (H[1] * u + H[2] * w)]);
    }
    return { mu, cov, H, lam, kappa, angle, eta, edge: 2 / lam[0], path, kappas: KINDS.map((k) => bowl(moments(s, k)).kappa),
      left: Math.hypot(...path.at(-1)), factor: Math.max(...lam.map((l) => Math.abs(1 - eta * l))) };
  },
  discoveries: [
    { label: "Only the mean", set: () => ({ kind: KINDS[1], rate: 1 }),
      say: (s, v) => `Take the mean away, and κ goes from ${explore.number(v.kappas[0])} to ${explore.number(v.kappa)}: what is left are the different scales.` },
    { label: "Only the scale", set: () => ({ kind: KINDS[2], rate: 1 }),
      say: (s, v) => `Divide by σ alone, and κ goes from ${explore.number(v.kappas[0])} to ${explore.number(v.kappa)}: the mean keeps its own direction steep.` },
    { label: "Both, as BN", set: () => ({ kind: KINDS[3], rate: 1 }),
      say: (s, v) => `κ = ${explore.number(v.kappa)}, where one half alone gives ${explore.number(v.kappas[1])} (mean) or ${explore.number(v.kappas[2])} (scale). Only the correlation is left.` },
    { label: "Past the edge", set: (s, v) => ({ rate: Math.ceil(50 * (1 + 1 / v.kappa) + 1) / 50, steps: Math.max(s.steps, 12) }),
      say: (s, v) => `η = ${explore.number(v.eta)} is above 2/λmax = ${explore.number(v.edge)}: each step multiplies the error across the valley by ${explore.number(1 - v.eta * v.lam[0])}.` },
  ],
  note(s, v) {
    const n = explore.number;
    return `${s.kind}: κ = ${n(v.kappa)}. η = ${n(v.eta)}, the edge is 2/λmax = ${n(v.edge)}. `
      + `After ${s.steps} steps the distance to the minimum is ${n(v.left)} times that of the start.`;
  },
  draw(pen, s, v) {
    const narrow = pen.width < 560, W = pen.width, f = (u) => u.toFixed(1);
    const color = (kind) => (kind === KINDS[3] ? "batch" : "none");
    const [valley, cloud, bars] = narrow
      ? [[20, 20, W - 22, 0.8 * W - 30], [20, 0.8 * W + 34, 148, 170], [194, 0.8 * W + 34, W - 196]]
      : [[246, 20, 250, 272], [20, 20, 190, 272], [512, 20, W - 514]];
    // A drawing of its own, since what is outside is cut off.
    const panel = ([x, y, w, h], title, name, more) => {
      pen.text(x, y - 6, title);
      pen.text(x + w / 2, y + h + 16, `${name} 1`, { "text-anchor": "middle" });
      pen.text(x - 6, y + h / 2, `${name} 2`, { "text-anchor": "middle", transform: `rotate(-90 ${x - 6} ${y + h / 2})` });
      pen.add("svg", { x, y, width: w, height: h, style: `width:${w}px;height:${h}px` }).innerHTML = more
        + `<rect width="${w}" height="${h}" fill="none" stroke="var(--line)" />`;
    };
    const oval = (x, y, a, b, angle, more) => `<ellipse rx="${f(a)}" ry="${f(b)}" fill="none" ${more} transform="translate(${f(x)} ${f(y)}) rotate(${f((-angle * 180) / Math.PI)})" />`;

    // The features: their cloud, and the ellipse of two standard deviations.
    const [, , cw, ch] = cloud, sd = [Math.sqrt(v.cov[0]), Math.sqrt(v.cov[2])];
    const lo = v.mu.map((m, i) => Math.min(-0.5 * sd[i], m - 2.7 * sd[i])), hi = v.mu.map((m, i) => Math.max(0.5 * sd[i], m + 2.7 * sd[i]));
    const scale = Math.min(cw / (hi[0] - lo[0]), ch / (hi[1] - lo[1]));
    const to = (x, y) => [cw / 2 + (x - (lo[0] + hi[0]) / 2) * scale, ch / 2 - (y - (lo[1] + hi[1]) / 2) * scale];
    const slope = v.cov[1] / sd[0], rest = Math.sqrt(v.cov[2] - slope ** 2);
    const dots = CLOUD.map(([p, q]) => to(v.mu[0] + sd[0] * p, v.mu[1] + slope * p + rest * q).map(f));
    const own = bowl({ mu: [0, 0], cov: v.cov }), [ox, oy] = to(0, 0).map(f);
    panel(cloud, "the features", "feature", `<path d="M0 ${oy}H${cw}M${ox} 0V${ch}" stroke="var(--line)" />`
      + `<path d="${dots.map(([x, y]) => `M${x} ${y}h0`).join("")}" stroke="var(--${color(s.kind)})" stroke-width="5" stroke-linecap="round" />`
      + oval(...to(...v.mu), 2 * scale * Math.sqrt(own.lam[0]), 2 * scale * Math.sqrt(own.lam[1]), own.angle, `stroke="var(--${color(s.kind)})"`));

    // The loss: contours, the path, the minimum.
    const [x0, y0, w, h] = valley, unit = Math.min(w, h) / 2.5, at = ([p, q]) => [w / 2 + unit * p, h / 2 - unit * q];
    let contours = "";
    for (let q = 0.3; q < 2 * Math.sqrt(v.kappa); q *= 1.6)
      contours += oval(w / 2, h / 2, unit * q / Math.sqrt(v.kappa), unit * q, v.angle, `stroke="var(--line)"`);
    const path = v.path.map((p) => at(p).map((u) => f(Math.max(-1e5, Math.min(1e5, u)))));
    panel(valley, "the loss, and gradient descent", "weight", `${contours}<polyline points="${path.join(" ")}" fill="none" stroke="var(--${color(s.kind)})" stroke-width="1.5" />`
      + `<path d="${path.map(([x, y]) => `M${x} ${y}h0`).join("")}" stroke="var(--${color(s.kind)})" stroke-width="7" stroke-linecap="round" />`
      + `<path d="M${w / 2 - 7} ${h / 2}h14m-7 -7v14" stroke="var(--ink)" stroke-width="2" />`);

    // κ for all five, on a logarithmic scale.
    const [bx, by, bw] = bars, most = Math.log(Math.max(10, ...v.kappas)), gap = narrow ? 35 : 56;
    pen.text(bx, by - 6, "κ (log scale)");
    KINDS.forEach((kind, k) => {
      const y = by + k * gap, chosen = kind === s.kind;
      pen.text(bx, y + 14, `${kind}: ${pen.number(v.kappas[k])}`, chosen ? { "font-weight": 700 } : {});
      pen.add("rect", { x: bx, y: y + 19, height: 9, width: f(2 + (bw - 4) * Math.log(v.kappas[k]) / most), fill: `var(--${color(kind)})`, opacity: chosen ? 1 : 0.55 });
    });

    const [sx, sy] = at(v.path[0]);
    pen.handle("start", { x: x0 + sx, y: y0 + sy, color: "layer", axis: "horizontal", label: "start, degrees around the minimum",
      value: s.start, min: -180, max: 180, step: 5,
      at: (px, py) => (Math.atan2(y0 + h / 2 - py, px - x0 - w / 2) * 180) / Math.PI, set: (u) => { s.start = u; } });
  },
});
