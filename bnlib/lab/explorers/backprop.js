// Backpropagation through the graph of BN, with the numbers of one batch of four.
const mean = (a) => a.reduce((sum, v) => sum + v, 0) / a.length;
const sum = (a) => a.reduce((total, v) => total + v, 0);
const times = (a, b) => [].concat(a).length < [].concat(b).length ? times(b, a)
  : Array.isArray(a) ? a.map((v, i) => v * (b[i] ?? b)) : a * b;
const plus = (...all) => all[0].map((_, i) => sum(all.map((a) => a[i] ?? a)));
const list = (a) => [].concat(a).map(explore.number).join(", ");

// The values, from top to bottom, with the node that makes each: name, key, sign, on the side?
const ROWS = [["x", "x", "x"], ["μ", "mu", "mean", 1], ["c", "c", "−"], ["q", "q", "( )²", 1],
  ["σ²", "variance", "mean", 1], ["s", "s", "1/√", 1], ["x̂", "xHat", "×"], ["γ", "gamma", "γ", 1],
  ["z", "z", "×"], ["β", "beta", "β", 1], ["y", "y", "+"]];
// The arrows in the order in which the gradient passes them: from row, to row, in step.
const EDGES = [[8, 10, 1], [9, 10, 2], [7, 8, 3], [6, 8, 4], [2, 6, 5], [5, 6, 6], [4, 5, 7],
  [3, 4, 8], [2, 3, 9], [1, 2, 11], [0, 1, 12], [0, 2, 13]];
// Each step: row of the node, what comes in, what it is multiplied with or added to, what goes out
// (name, key, row), why; a sum over the samples has a 1 at the end.
const STEPS = [[10, 0, 0, ["dy", "dy", 10], "The values are known. The gradient dy comes from the layers after, and now goes up."],
  [10, ["dy", "dy"], ["1", () => 1], ["dz", "dz", 8], "The slope of a sum is 1: the gradient passes as it is."],
  [10, ["dy", "dy"], ["1", () => 1], ["dβ", "dbeta", 9], "β serves all samples, so its gradient is a sum over them.", 1],
  [8, ["dz", "dz"], ["x̂", (v) => v.xHat], ["dγ", "dgamma", 7], "The slope of a product is the other factor. γ serves all samples: a sum again.", 1],
  [8, ["dz", "dz"], ["γ", (v) => v.gamma], ["dx̂", "dxHat", 6], "The slope of a product is the other factor, here γ."],
  [6, ["dx̂", "dxHat"], ["s", (v) => v.s], ["dc …", "direct", 2], "The gradient forks. This way leads past the statistics; more is to come."],
  [6, ["dx̂", "dxHat"], ["c", (v) => v.c], ["ds", "ds", 5], "The other way leads through the variance. s serves all samples: a sum.", 1],
  [5, ["ds", "ds"], ["−½ s³", (v) => -0.5 * v.s ** 3], ["dσ²", "dvar", 4], "That is the slope of 1/√(σ² + ε)."],
  [4, ["dσ²", "dvar"], ["1/m", (v) => 1 / v.x.length], ["dq", "dq", 3], "A mean gives each of its m inputs the same share."],
  [3, ["dq", "dq"], ["2c", (v) => times(v.c, 2)], ["2c dq", "square", 2], "The slope of a square is twice its input."],
  [2, ["s dx̂", "direct"], [["2c dq", "square"]], ["dc", "dc", 2], "c was used twice, so two gradients arrive. They are added."],
  [2, ["dc", "dc"], ["−1", () => -1], ["dμ", "dmu", 1], "μ is subtracted from all samples: a sum, with a minus.", 1],
  [1, ["dμ", "dmu"], ["1/m", (v) => 1 / v.x.length], ["dμ/m", "share", 0], "A mean again: the same share for each."],
  [0, ["s dx̂", "direct"], [["2c dq", "square"], ["dμ/m", "share"]], ["dx", "dx", 0], "x reaches the loss on three paths: directly, through the variance, through the mean."]];
const LAST = STEPS.length - 1;
const rule = (s) => {
  const [, into, by, [name], , total] = STEPS[s.step];
  return !into ? "All gradients are still to come." : Array.isArray(by[0])
    ? `${name} = ${[into, ...by].map(([a]) => a).join(" + ")}` : `${total ? "Sum of " : ""}${into[0]} × ${by[0]} → ${name}`;
};
const walk = (label, by) => ({ label, set: (s) => ({ step: Math.max(0, Math.min(LAST, s.step + by)) }), say: rule });

explore({
  name: "backprop",
  title: "Backprop, one node at a time",
  alt: "The graph of batch normalization from x to y, with the values of a batch of four at each node and the gradients that have arrived there so far",
  height: (width) => (width < 560 ? 500 : 484),
  state: { x: [1, 3, 3, 9], dy: [1, 1, -2, 4], beta: 1, eps: 1e-5 },
  still: { step: LAST }, // the picture where no script runs: the walk at its end
  controls: [
    { id: "step", label: "step", min: 0, max: LAST, step: 1, value: 0, play: 1500 },
    { id: "gamma", label: "γ", min: -6, max: 6, step: 1, value: 6 },
  ],
  compute({ x, dy, gamma, beta, eps }) {
    const m = x.length, mu = mean(x), c = x.map((v) => v - mu), q = times(c, c), variance = mean(q);
    const s = 1 / Math.sqrt(variance + eps), xHat = times(c, s), z = times(xHat, gamma), y = z.map((v) => v + beta);
    const dz = dy, dbeta = sum(dz), dgamma = sum(times(dz, xHat)), dxHat = times(dz, gamma);
    const direct = times(dxHat, s), ds = sum(times(dxHat, c)), dvar = -0.5 * s ** 3 * ds;
    const dq = x.map(() => dvar / m), square = times(times(c, 2), dq), dc = plus(direct, square);
    const dmu = -sum(dc), share = dmu / m, dx = plus(dc, share);
    return { x, mu, c, q, variance, s, xHat, gamma, z, beta, y,
      dy, dz, dbeta, dgamma, dxHat, direct, ds, dvar, dq, square, dc, dmu, share, dx };
  },
  discoveries: [
    walk("◀ Back", -1), walk("Next ▶", 1),
    { label: "Stop too early", set: () => ({ step: 5 }),
      say: (s, v) => `s dx̂ = γ s dy takes the mean and the variance for constants. It sums to ${explore.number(+sum(v.direct).toFixed(9))}; dx has to sum to 0.` },
    { label: "Three paths meet", set: () => ({ step: LAST }),
      say: (s, v) => `The sum of dx is ${explore.number(+sum(v.dx).toFixed(9))}, and so is that of dx · x̂ but for ε: ${explore.number(sum(times(v.dx, v.xHat)))}.` },
  ],
  note: (s, v) => `Step ${s.step} of ${LAST}. ${STEPS[s.step][3][0]} = ${list(v[STEPS[s.step][3][1]])}. ${STEPS[s.step][4]}`,
  draw(pen, s, v) {
    const narrow = pen.width < 560, side = narrow ? 23 : 36, spine = narrow ? 72 : 108, at = [];
    const [node, into, by, [name, key, row], , total] = STEPS[s.step];
    const label = narrow ? 97 : 144, room = narrow ? (pen.width - 122) / 4 : 54;
    const columns = [1, 2, 3, 4].map((k) => (narrow ? 114 : 160) + k * room);
    const columns2 = narrow ? columns : [1, 2, 3, 4].map((k) => 432 + k * (pen.width - 440) / 4);
    const short = (u) => (narrow ? pen.number(u).replace(/^(−?)0\./, "$1.") : pen.number(u));
    const put = (x, y, text, columns, cells, color, bold) => {
      const style = `fill: var(--${color}); font-weight: ${bold ? 700 : 400}`;
      pen.text(x, y, text, { style });
      [].concat(cells).forEach((u, k) => pen.text(columns[k], y, short(u), { style, "text-anchor": "end" }));
    };
    let y = 50;
    for (const [, k] of ROWS) {
      const high = narrow ? (Array.isArray(v[k]) ? 36 : 26) : 30;
      at.push(y + high / 2);
      y += high;
    }
    const place = (r) => [ROWS[r][3] ? side : spine, at[r]];
    // A line with a head in its middle; gradients run against the values.
    const arrow = ([x1, y1], [x2, y2], back, now) => {
      const color = back ? "layer" : "batch", turn = Math.atan2(y2 - y1, x2 - x1) * 180 / Math.PI + (back ? 180 : 0);
      pen.line([[x1, y1], [x2, y2]], color, { "stroke-width": now ? 5 : 2 });
      pen.add("path", { d: "M-4,-6L6,0L-4,6Z", fill: `var(--${color})`,
        transform: `translate(${(x1 + x2) / 2} ${(y1 + y2) / 2}) rotate(${turn.toFixed(0)})` });
    };
    for (const [a, b, step] of EDGES)
      arrow(place(a), place(b), s.step >= step, s.step === step || (a === 2 && s.step === 10) || (a === 0 && s.step === LAST));
    arrow(place(10), [spine, at[10] + 26], true, s.step === 0);
    ROWS.forEach(([text, k, sign], r) => {
      const [x, cy] = place(r), now = r === node;
      pen.add("rect", { x: x - 22, y: cy - 10, width: 44, height: 20, rx: r && k.length < 9 && sign === text ? 3 : 10,
        fill: `var(--${now ? "faint" : "paper"})`, stroke: `var(--${now ? "gold" : "ink"})`, "stroke-width": now ? 4 : 1 });
      pen.text(x, cy + 5, sign, { "text-anchor": "middle" });
      const flat = !Array.isArray(v[k]), line = narrow && !flat ? cy - 3 : cy + 5;
      put(label, line, text, columns, v[k], "batch");
      // The last gradient that has arrived at this value.
      const got = STEPS.findLast(([, , , [, , to]], k) => k <= s.step && to === r && !(to === 0 && k < LAST) && k !== 9);
      if (got) put(!narrow ? 404 : flat ? columns[1] + 10 : label, narrow && !flat ? cy + 12 : line, got[3][0],
        narrow && flat ? [columns[3]] : columns2, v[got[3][1]], "layer", got === STEPS[s.step]);
    });
    // incoming × local = outgoing
    const top = pen.height - 82, lines = [];
    if (into) {
      const wide = [v[into[1]], v[key], Array.isArray(by[0]) ? 0 : by[1](v)].some(Array.isArray);
      const cells = (a) => (wide && !Array.isArray(a) ? v.x.map(() => a) : a);
      if (Array.isArray(by[0])) {
        lines.push([`first ${into[0]}`, v[into[1]], "layer"], ...by.map(([n, k]) => [`+ ${n}`, cells(v[k]), "layer"]));
        lines.push([`= ${name}`, v[key], "layer", 1]);
      } else {
        const local = by[1](v);
        lines.push([`incoming ${into[0]}`, cells(v[into[1]]), "layer"], [`× local ${by[0]}`, cells(local), "batch"]);
        if (total) lines.push(["=", times(v[into[1]], local), "layer"], [`sum: ${name}`, [v[key]], "layer", 1]);
        else lines.push([`= outgoing ${name}`, cells(v[key]), "layer", 1]);
      }
    } else lines.push(["Values run down, gradients come back up.", [], "ink"]);
    pen.add("rect", { x: 1, y: top - 4, width: pen.width - 2, height: 84, rx: 6, fill: "none", stroke: "var(--line)" });
    lines.forEach(([text, cells, color, bold], k) => put(narrow ? 8 : 144, top + 13 + 20 * k, text, columns2, cells, color, bold));
    const left = 34, right = pen.width - 14, to = (u) => left + (u / 12) * (right - left);
    pen.line([[left, 30], [right, 30]], "soft", { "stroke-width": 1 });
    pen.text(4, 35, "x");
    s.x.forEach((u, i) => pen.handle(`x${i}`, { x: to(u), y: 30 - 12 * s.x.slice(0, i).filter((w) => w === u).length,
      color: "batch", axis: "horizontal", label: `sample ${i + 1}, x`, value: u, min: 0, max: 12, step: 0.5,
      at: (px) => ((px - left) / (right - left)) * 12, set: (w) => { s.x[i] = Math.round(2 * w) / 2; } }));
  },
});
