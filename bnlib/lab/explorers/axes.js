// Axes: which values share a mean, for each normalization, and what a change elsewhere does.
const [N, C, H, W] = [4, 6, 2, 3], EPS = 1e-5;
const COLOR = { batch: "batch", layer: "layer", group: "group", instance: "instance", RMS: "layer" };
const next = explore.normals(4), START = [];
for (const level of [0.4, -0.8, 1, -0.2])
  for (const tint of [0.6, -1.2, 0, 1.5, -0.4, 0.3])
    for (let k = 0; k < H * W; k++) START.push(+(level + tint + 0.6 * next()).toFixed(1));

// The number of the mean that sample n and channel c use.
const tile = (s, n, c) => ({ batch: c, layer: n, RMS: n, instance: C * n + c,
  group: N * C + s.groups * n + Math.floor((c * s.groups) / C) })[s.method];
const place = (k) => {
  const row = Math.floor(k / (C * W)), column = k % (C * W), n = Math.floor(row / H), c = Math.floor(column / W);
  return { row, column, n, c, k: ((n * C + c) * H + (row % H)) * W + (column % W) };
};
const owner = (s) => s.x.map((_, k) => tile(s, Math.floor(k / (C * H * W)), Math.floor(k / (H * W)) % C));
function normalized(s) {
  const own = owner(s), means = new Map();
  for (const key of new Set(own)) {
    const x = s.x.filter((_, k) => own[k] === key), m = x.length;
    const mean = s.method === "RMS" ? 0 : x.reduce((a, b) => a + b, 0) / m;
    means.set(key, { m, mean, var: x.reduce((a, b) => a + (b - mean) ** 2, 0) / m });
  }
  const xHat = s.x.map((v, k) => (v - means.get(own[k]).mean) / Math.sqrt(means.get(own[k]).var + EPS));
  return { own, means, xHat };
}
// By how much x̂ of the chosen cell moves under each method, if x becomes other.
const moved = (s, other) => Object.keys(COLOR).map((method) => {
  const [a, b] = [s.x, other].map((x) => normalized({ ...s, x, method }).xHat[place(s.cell).k]);
  return Math.abs(b - a) < 1e-9 ? 0 : b - a;
});
const larger = (s, n) => s.x.map((v, k) => (Math.floor(k / (C * H * W)) === n ? v + 2 : v));
const change = (s, n) => ({ x: larger(s, n), moved: moved(s, larger(s, n)) });
const list = (s) => Object.keys(COLOR).map((name, k) => `${name} ${explore.number(s.moved[k])}`).join(", ");

explore({
  name: "axes",
  title: "Which values share a mean?",
  alt: "Four samples by six channels of two by three cells; the cells that share a mean with the chosen one are blue, and a number line below shows their values",
  height: (width) => (width < 500 ? 328 : 352),
  state: { x: START, cell: 28, moved: [0, 0, 0, 0, 0] },
  controls: [
    { id: "method", label: "method", options: Object.keys(COLOR), value: "batch" },
    { id: "groups", label: "G of group", options: ["1", "2", "3", "6"], value: "2" },
    { id: "after", label: "draw x̂ in the cells", value: false },
  ],
  compute(s) {
    const { own, means, xHat } = normalized(s), { k, n } = place(s.cell), mine = means.get(own[k]);
    const member = own.map((key) => key === own[k]);
    return { xHat, member, count: mine.m, mean: mine.mean, var: mine.var, x: s.x[k], chosen: xHat[k],
      crosses: member.some((in_, j) => in_ && Math.floor(j / (C * H * W)) !== n),
      others: moved(s, larger(s, (n + 1) % N)), own: moved(s, larger(s, n)) };
  },
  discoveries: [
    { label: "Change another sample", set: (s) => change(s, (place(s.cell).n + 1) % N),
      say: (s) => `Sample ${((place(s.cell).n + 1) % N) + 1} grew by 2. Your x̂ moves by: ${list(s)}. Only batch norm crosses samples.` },
    { label: "Change your own sample", set: (s) => change(s, place(s.cell).n),
      say: (s) => `Your whole sample grew by 2. Your x̂ moves by: ${list(s)}. Where the mean is the sample's own, its level is lost.` },
    { label: "G = 6, G = 1", set: (s) => ({ method: "group", groups: s.method === "group" && s.groups === "6" ? "1" : "6" }),
      say(s, v) {
        const as = s.groups === "6" ? "instance" : "layer", other = normalized({ ...s, method: as }).xHat;
        const gap = Math.max(...v.xHat.map((a, k) => Math.abs(a - other[k])));
        return `With G = ${s.groups} group norm is ${as} norm: no x̂ differs by more than ${explore.number(gap)}. Click again for the other end.`;
      } },
  ],
  note(s, v) {
    const n = explore.number, { n: sample, c } = place(s.cell);
    return `Sample ${sample + 1}, channel ${c + 1}: ${v.count} values share ${s.method === "RMS" ? `one mean square, ${n(v.var)} (no mean is taken away)`
      : `mean ${n(v.mean)} and variance ${n(v.var)}`}. x = ${n(v.x)} → x̂ = ${n(v.chosen)}. Crosses samples: ${v.crosses ? "yes" : "no"}.`;
  },
  draw(pen, s, v) {
    const wide = pen.width >= 500, left = wide ? 72 : 20, gap = wide ? 10 : 5, high = wide ? 24 : 21, top = 24;
    const w = (pen.width - left - 4 - (C - 1) * gap) / (C * W), color = COLOR[s.method];
    const at = (row, column) => [left + column * w + Math.floor(column / W) * gap,
      top + row * high + Math.floor(row / H) * 8];
    for (let c = 0; c < C; c++) pen.text(at(0, c * W)[0] + 1.5 * w, 14, `${wide || !c ? "channel " : ""}${c + 1}`, { "text-anchor": "middle" });
    for (let n = 0; n < N; n++) pen.text(0, at(n * H, 0)[1] + high + 4, `${wide ? "sample " : ""}${n + 1}`);
    const paths = {}, shown = s.after ? v.xHat : s.x, f = (u) => +u.toFixed(1);
    const low = Math.min(...shown), range_ = Math.max(...shown) - low || 1;
    for (let j = 0; j < s.x.length; j++) {
      const p = place(j), [x, y] = at(p.row, p.column), shade = Math.round((9 * (shown[p.k] - low)) / range_);
      const key = `${v.member[p.k] ? color : "soft"} ${(0.1 + shade / 10).toFixed(1)}`;
      paths[key] = `${paths[key] ?? ""}M${f(x)} ${y}h${f(w - 1)}v${high - 1}h${f(1 - w)}z`;
      if (v.member[p.k] && !(p.row % H) && !(p.column % W)) pen.add("rect", { x: f(x - 2.5), y: y - 2.5, rx: 3,
        width: f(W * w + 4), height: H * high + 4, fill: "none", stroke: `var(--${color})`, "stroke-width": 3 });
    }
    for (const [key, d] of Object.entries(paths)) {
      const [name, opacity] = key.split(" ");
      pen.add("path", { d, fill: `var(--${name})`, opacity, style: "cursor:pointer" });
    }
    pen.text(left, at(N * H, 0)[1] + 10, `The stronger the colour, the larger ${s.after ? "x̂" : "x"}.`);

    const y = pen.height - 46, range = Math.max(4, Math.ceil(Math.max(...s.x.map(Math.abs))));
    const to = (u) => left + 8 + ((u + range) / (2 * range)) * (pen.width - left - 24), std = Math.sqrt(v.var + EPS);
    pen.line([[to(-range), y], [to(range), y]], "soft", { "stroke-width": 1 });
    pen.text(0, y - 12, "x", { "font-style": "italic" });
    pen.text(0, y + 38, "x̂", { "font-style": "italic" });
    for (const part of [-1, -0.5, 0, 0.5, 1]) pen.text(to(part * range), y - 12, pen.number(part * range), { "text-anchor": "middle" });
    for (let j = -3; j <= 3; j++) {
      const at = to(v.mean + j * std);
      if (at < left || at > pen.width - 12) continue;
      pen.line([[at, y + 8], [at, y + 22]], color, {});
      pen.text(at, y + 38, pen.number(j), { "text-anchor": "middle", style: `fill: var(--${color})` });
    }
    pen.line([[Math.max(left, to(v.mean - 3 * std)), y + 15], [Math.min(pen.width - 12, to(v.mean + 3 * std)), y + 15]], color, {});
    s.x.forEach((u, k) => v.member[k] && pen.dot(to(u), y, color, { r: 5, opacity: 0.5 }));
    pen.dot(to(v.x), y, "ink", { r: 6 });

    const p = place(s.cell), [x, top_] = at(p.row, p.column);
    pen.handle("cell", { x: x + w / 2 - 0.5, y: top_ + high / 2, color: "ink", axis: "horizontal", anywhere: true,
      label: "your cell", text: `sample ${p.n + 1}, channel ${p.c + 1}, x ${pen.number(v.x)}, x̂ ${pen.number(v.chosen)}`,
      value: s.cell, min: 0, max: s.x.length - 1, step: 1, up: p.row && -C * W, down: p.row < N * H - 1 ? C * W : 0,
      at(px, py) {
        if (py > y - 30) return s.cell;
        const find = (u, count, of) => { let best = 0; for (let i = 0; i < count; i++) if (of(i) <= u) best = i; return best; };
        return C * W * find(py, N * H, (i) => at(i, 0)[1]) + find(px, C * W, (i) => at(0, i)[0]);
      },
      set: (u) => { s.cell = Math.round(u); } });
  },
});
