// Accuracy against the learning rate, one line a seed: where is the peak, and where the plateau?
// Written by tools/record_rates.py:
// c36d734b245826206a2b8943470ee721302167efc9a0c9d889518c4bb569bd6b
const DATA = {"rates":[0.01,0.02,0.04,0.08,0.16,0.32,0.64,1.28,2.56,5.12,10.24,20.48],
"accuracies":{"ReLU, default, none, 150":[220,102,100,162,105,243,110,102,192,150,314,206,164,240,225,462,382,356,381,345,673,624,529,662,557,752,664,654,621,736,765,667,677,586,744,188,222,191,197,173,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"ReLU, default, none, 600":[310,189,189,243,232,496,426,391,389,355,711,669,617,726,645,823,789,809,806,805,879,875,865,867,870,922,918,920,920,906,938,931,937,927,900,218,325,100,100,285,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"ReLU, default, batch, 150":[710,647,648,687,670,796,769,785,788,786,857,857,859,873,869,911,898,898,911,913,900,910,911,920,931,924,931,894,930,944,919,931,918,931,904,910,912,890,924,918,895,850,900,870,828,100,100,100,100,194,100,100,100,100,100,100,100,100,100,100],
"ReLU, default, batch, 600":[870,854,864,877,865,920,909,908,928,924,941,928,941,956,940,959,950,957,959,949,947,961,959,972,962,962,966,976,968,969,945,966,968,973,953,945,969,975,950,954,945,953,964,945,948,100,100,100,100,97,100,100,100,100,100,100,100,100,100,100],
"ReLU, prepared, none, 150":[537,489,452,560,462,707,669,629,702,637,801,793,777,804,777,851,872,837,867,859,891,897,889,899,887,900,914,923,905,891,904,935,926,825,902,516,506,428,551,427,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"ReLU, prepared, none, 600":[797,801,772,808,774,860,873,846,882,865,898,913,889,913,908,926,930,922,932,926,938,943,943,944,943,954,955,955,947,962,963,961,956,948,944,418,207,248,491,264,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"ReLU, prepared, batch, 150":[705,646,652,688,671,798,768,793,782,792,858,854,852,870,868,908,902,907,907,908,920,920,923,930,921,935,931,928,943,931,926,943,940,943,939,920,917,924,927,924,912,926,898,902,911,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"ReLU, prepared, batch, 600":[872,856,866,878,871,919,916,911,926,924,951,942,945,952,943,959,958,958,965,958,966,971,967,973,966,962,972,974,971,966,964,973,972,969,964,966,963,976,953,961,938,952,974,941,957,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100],
"sigmoid, default, none, 150":[100,100,100,100,92,100,100,47,100,100,100,100,100,100,100,100,100,71,100,100,100,103,100,100,100,100,100,99,100,100,100,100,100,100,100,88,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,63,100,100,100,100,100],
"sigmoid, default, none, 600":[100,100,78,100,100,100,100,91,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,319,300,312,100,351,302,350,232,236,141,100,100,100,100,369,100,100,100,100,100],
"sigmoid, default, batch, 150":[400,462,409,329,426,572,578,577,486,564,680,662,660,593,628,774,758,698,697,706,789,800,743,772,767,740,804,795,780,782,709,804,801,765,756,709,809,793,737,706,739,812,802,752,699,639,783,720,682,658,549,435,392,550,510,326,238,309,172,167],
"sigmoid, default, batch, 600":[692,705,705,674,690,779,769,774,782,739,824,817,812,830,816,802,839,838,843,847,802,842,843,850,856,816,829,855,858,859,833,824,834,849,870,838,874,836,808,872,868,883,850,859,879,820,875,855,860,865,742,816,821,805,851,390,390,420,393,399],
"sigmoid, prepared, none, 150":[154,100,115,84,100,90,85,94,115,100,100,100,68,137,100,101,101,108,100,100,150,134,142,100,100,172,209,156,126,138,292,287,269,219,342,466,445,320,285,441,390,451,336,364,363,328,351,217,327,226,100,100,195,189,164,100,100,100,100,100],
"sigmoid, prepared, none, 600":[156,100,92,143,106,127,100,96,159,108,172,100,104,192,185,197,192,123,192,229,282,341,252,250,360,535,574,572,482,628,792,770,781,757,813,845,845,852,798,874,799,833,859,791,866,772,780,754,800,833,418,100,428,572,654,100,100,100,100,100],
"sigmoid, prepared, batch, 150":[397,462,408,330,417,576,576,574,486,557,674,670,670,613,628,785,762,708,704,701,810,798,754,781,759,789,802,792,795,769,791,801,806,792,747,787,819,818,757,678,800,811,801,744,652,738,792,717,670,643,563,482,399,542,531,172,263,225,242,164],
"sigmoid, prepared, batch, 600":[688,709,706,677,692,769,765,774,778,737,827,814,818,839,812,817,845,839,854,846,813,855,854,858,856,823,864,855,859,867,841,866,848,852,872,859,885,849,830,874,866,893,842,869,884,824,880,844,854,865,741,851,797,815,854,260,398,466,376,403]}};
// To here.
const RATES = DATA.rates, LOG = RATES.map(Math.log10), ARMS = ["none", "batch"];
const table = (key) => {
  const flat = DATA.accuracies[key], seeds = flat.length / RATES.length;
  return RATES.map((_, i) => flat.slice(i * seeds, (i + 1) * seeds).map((v) => v / 1000));
};
const median = (a) => [...a].sort((p, q) => p - q)[(a.length - 1) / 2];

// The rates around the best whose median is within two points of it, on straight lines between;
// none if the best is no more than two points above guessing.
function usable(medians) {
  const best = medians.indexOf(Math.max(...medians)), least = medians[best] - 0.02;
  if (least <= 0.1) return { best, ends: [LOG[best], LOG[best]] };
  const end = (step) => {
    let k = best;
    while (medians[k + step] >= least) k += step;
    const next = medians[k + step];
    return next === undefined ? LOG[k] : LOG[k] + ((medians[k] - least) / (medians[k] - next)) * (LOG[k + step] - LOG[k]);
  };
  return { best, ends: [end(-1), end(1)] };
}
// What a line of medians says at log10 of any rate.
const between = (m, at) => {
  const k = Math.max(0, Math.min(LOG.length - 2, LOG.findLastIndex((u) => u <= at)));
  return m[k] + ((at - LOG[k]) / (LOG[k + 1] - LOG[k])) * (m[k + 1] - m[k]);
};
const percent = (v) => `${+(100 * v).toFixed(1)} %`;
const points = (v) => `${+(100 * v).toFixed(1)} points`;
const decades = (v) => `${v.decades[0].toFixed(1)} decades of rates without BN, ${v.decades[1].toFixed(1)} with it`;

explore({
  name: "rates",
  title: "Peak or plateau",
  alt: "Test accuracy against the learning rate on a logarithmic axis, with BN and without it: a thin line for each of five seeds, a thick one for their median, and a bar below for the rates that are usable",
  height: 330,
  state: { at: LOG[6] },
  controls: [
    { id: "net", label: "network", options: ["ReLU", "sigmoid"], value: "ReLU" },
    { id: "steps", label: "steps", options: ["150", "600"], value: "150" },
    { id: "opponent", label: "opponent without BN", options: ["default", "prepared"], value: "default" },
  ],
  compute(s) {
    const seeds = ARMS.map((arm) => table(`${s.net}, ${s.opponent}, ${arm}, ${s.steps}`));
    const medians = seeds.map((rows) => rows.map(median)), range = medians.map(usable);
    return {
      seeds, medians, here: medians.map((m) => between(m, s.at)), ends: range.map((r) => r.ends),
      best: range.map((r) => RATES[r.best]), highest: medians.map((m, k) => m[range[k].best]),
      decades: range.map((r) => r.ends[1] - r.ends[0]),
    };
  },
  discoveries: [
    { label: "Unprepared", set: () => ({ net: "ReLU", opponent: "default", steps: "150", at: LOG[6] }),
      say: (s, v) => `A peak and a plateau. Within two points of the best: ${decades(v)}. The opponent has default weights and raw pixels.` },
    { label: "Prepared", set: () => ({ net: "ReLU", opponent: "prepared", steps: "150", at: LOG[6] }),
      say: (s, v) => `He's weights and standardized inputs: ${decades(v)}. The best medians differ by ${points(v.highest[1] - v.highest[0])}.` },
    { label: "One rate for both", set: () => ({ opponent: "default", steps: "150", at: LOG[1] }),
      say: (s, v) => `At ${explore.number(10 ** s.at)} BN leads by ${points(v.here[1] - v.here[0])}, each at its own best by `
        + `${points(v.highest[1] - v.highest[0])}. Who chooses the rate chooses the lead.` },
    { label: "Four times the steps", set: () => ({ steps: "600" }),
      say: (s, v) => `Low rates catch up. Usable are ${decades(v)}; the best medians differ by ${points(v.highest[1] - v.highest[0])}.` },
  ],
  note(s, v) {
    const n = explore.number;
    return `Rate ${n(10 ** s.at)}: without BN ${percent(v.here[0])}, with BN ${percent(v.here[1])}. Best rates: `
      + `${n(v.best[0])} and ${n(v.best[1])}. Usable: ${v.decades[0].toFixed(1)} and ${v.decades[1].toFixed(1)} decades.`;
  },
  draw(pen, s, v) {
    const left = 50, right = pen.width - 12, top = 12, bottom = pen.height - 76;
    const x = (u) => left + ((u - LOG[0]) / (LOG.at(-1) - LOG[0])) * (right - left), y = (a) => bottom - a * (bottom - top);
    for (const a of [0, 0.5, 1]) {
      pen.line([[left, y(a)], [right, y(a)]], "faint", { "stroke-width": 1 });
      pen.text(left - 6, y(a) + 5, `${100 * a} %`, { "text-anchor": "end" });
    }
    pen.line([[left, y(0.1)], [right, y(0.1)]], "soft", { "stroke-width": 1, "stroke-dasharray": "1 4" });
    pen.text(left - 6, y(0.1) + 5, "guess", { "text-anchor": "end" });
    const at = x(s.at);
    pen.line([[at, top], [at, bottom]], "layer", { "stroke-width": 1 });
    ARMS.forEach((arm, k) => {
      for (let j = 0; j < v.seeds[k][0].length; j++)
        pen.line(v.seeds[k].map((row, i) => [x(LOG[i]), y(row[j])]), arm, { "stroke-width": 1, opacity: 0.4 });
      pen.line(v.medians[k].map((a, i) => [x(LOG[i]), y(a)]), arm, { "stroke-width": 3 });
      pen.dot(at, y(v.here[k]), arm, { r: 6 });
      const bar = bottom + 12 + 14 * k, style = `fill:var(--${arm})`, i = k ? 2 : 3;
      pen.text(x(LOG[i]), y(v.medians[k][i]) + (k ? -12 : 24), k ? "with BN" : "without BN",
        { style, "text-anchor": k ? "end" : "start" });
      pen.line(v.ends[k].map((u) => [x(u), bar]), arm, { "stroke-width": 7 });
      if (v.decades[k]) pen.text(x(v.ends[k][0]) - 8, bar + 5, "usable", { "text-anchor": "end", style });
    });
    for (const u of [-2, -1, 0, 1]) {
      pen.line([[x(u), bottom + 34], [x(u), bottom + 40]], "soft", { "stroke-width": 1 });
      pen.text(x(u), bottom + 56, 10 ** u, { "text-anchor": "middle" });
    }
    pen.line([[left, bottom + 37], [right, bottom + 37]], "line", { "stroke-width": 1 });
    pen.text(right, bottom + 72, "learning rate", { "text-anchor": "end" });
    pen.handle("rate", { x: at, y: bottom + 37, color: "layer", axis: "horizontal", label: "learning rate",
      value: 10 ** s.at, min: RATES[0], max: RATES.at(-1), step: 10 ** s.at / 10,
      at: (px) => 10 ** (LOG[0] + ((px - left) / (right - left)) * (LOG.at(-1) - LOG[0])),
      set: (u) => { s.at = Math.log10(u); } });
  },
});
