// What all explorers share: controls, drawing, keys, themes. It stands before each of them.
const explore = (() => {
  const CSS = `
:host { display: block; max-width: 44rem; margin: 1rem 0; font: 14px/1.4 system-ui, sans-serif;
  --paper: #fff; --ink: #222; --soft: #666; --line: #bbb; --faint: #e4e4e4; --none: #606060;
  --batch: #0072b2; --layer: #c04800; --group: #00785a; --instance: #a8467f; --gold: #8a6000;
  color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: .6rem; padding: .7rem; box-sizing: border-box; }
:host([data-theme=dark]) { --paper: #16181d; --ink: #e6e6e6; --soft: #a8a8a8; --line: #555;
  --faint: #333; --none: #aaa; --batch: #56b4e9; --layer: #f0884a; --group: #35c79b;
  --instance: #e291c4; --gold: #e0ac40; color-scheme: dark; }
h4 { margin: 0 0 .3rem; font-size: 1rem; }
.controls { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .2rem 1rem; }
.controls button { justify-self: start; }
.buttons { display: flex; flex-wrap: wrap; gap: .4rem; margin: .4rem 0; }
label { display: flex; align-items: center; gap: .4rem; min-height: 28px; white-space: nowrap; }
label.wide { grid-column: span 2; white-space: normal; }
input[type=range] { flex: 1; min-width: 3.5rem; max-width: 9rem; accent-color: var(--batch); }
input[type=checkbox] { width: 18px; height: 18px; accent-color: var(--batch); }
output { min-width: 2.6em; font-variant-numeric: tabular-nums; }
button, select { font: inherit; color: inherit; background: var(--paper); min-height: 30px;
  border: 1px solid var(--soft); border-radius: .4rem; padding: .1rem .6rem; min-width: 0; }
button { cursor: pointer; }
:focus-visible { outline: 3px solid var(--gold); outline-offset: 1px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 13px; fill: var(--ink); }
svg [tabindex] { cursor: grab; touch-action: none; }
p { margin: .3rem 0 0; min-height: 1.4em; font-variant-numeric: tabular-nums; }
.say { color: var(--layer); font-weight: 600; }
@media print { .controls, .buttons { display: none; } :host { break-inside: avoid; } }`;

  function add(parent, tag, attributes, text) {
    const space = tag === "svg" || parent.namespaceURI?.includes("svg") ? "2000/svg" : "1999/xhtml";
    const node = document.createElementNS(`http://www.w3.org/${space}`, tag);
    for (const [name, value] of Object.entries(attributes || {}))
      if (value !== false && value !== undefined) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // A number as people write it: three digits that count, a true minus.
  function number(v) {
    if (!Number.isFinite(v)) return v !== v ? "undefined" : v > 0 ? "∞" : "−∞";
    const a = Math.abs(v);
    const text = a && (a < 1e-3 || a >= 1e5) ? v.toExponential(1) : String(+v.toPrecision(3));
    return text.replace("e+", "e").replace(".0e", "e").replaceAll("-", "−");
  }

  // Random numbers that Python can repeat: mulberry32, in pairs by Box and Muller.
  function normals(seed) {
    let a = seed >>> 0, spare = null;
    const uniform = () => {
      a = (a + 0x6d2b79f5) >>> 0;
      let t = Math.imul(a ^ (a >>> 15), a | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    return () => {
      if (spare !== null) { const kept = spare; spare = null; return kept; }
      const r = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
      spare = r * Math.sin(angle);
      return r * Math.cos(angle);
    };
  }

  function isDark() {
    const page = document.documentElement.dataset.theme, lab = document.body.dataset.jpThemeLight;
    if (page) return page === "dark";
    return lab ? lab === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function start(host, it) {
    host.dataset.live = "";
    host.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys
    const root = host.attachShadow({ mode: "open" });
    add(root, "style", {}, CSS);
    add(root, "h4", {}, it.title);
    const rows = add(root, "div", { class: "controls" }), buttons = add(root, "div", { class: "buttons" });
    const svg = add(root, "svg", { role: "group", "aria-label": it.alt });
    const back = add(svg, "g"), front = add(svg, "g");
    const note = add(root, "p", { class: "note", role: "status" });
    const said = add(root, "p", { class: "say", role: "status" });
    const first = () => structuredClone({
      ...it.state, ...Object.fromEntries(it.controls.map((c) => [c.id, c.value])),
    });
    let state = first(), values, timer = null;
    const handles = new Map(), inputs = {};

    function refresh() {
      const width = Math.max(280, Math.min(680, host.clientWidth - 24 || 640));
      const height = typeof it.height === "function" ? it.height(width) : it.height;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      values = it.compute(state);
      back.replaceChildren();
      const seen = new Set(), pen = { width, height, number,
        add: (tag, attributes, text) => add(back, tag, attributes, text),
        line: (points, color, more) => add(back, "polyline", { fill: "none", "stroke-width": 2,
          stroke: `var(--${color})`, points: points.map((p) => p.map((v) => v.toFixed(1))).join(" "),
          ...more }),
        dot: (cx, cy, color, more) => add(back, "circle", { cx, cy, r: 4, fill: `var(--${color})`, ...more }),
        text: (x, y, text, more) => add(back, "text", { x, y, ...more }, text),
        // Something that is dragged, moved with the arrow keys (up and down: by rows) or by a tap anywhere.
        handle(id, h) {
          seen.add(id);
          let node = handles.get(id);
          if (!node) {
            node = add(front, "circle", { tabindex: 0, role: "slider", r: 9, "stroke-width": 2 });
            handles.set(id, node);
            const move = (v) => { node.h.set(Math.max(node.h.min, Math.min(node.h.max, v))); refresh(); };
            const drag = (e) => {
              const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
              move(node.h.at((e.clientX - box.left) * scale, (e.clientY - box.top) * scale));
            };
            if (h.anywhere) svg.onclick = drag;
            node.addEventListener("pointerdown", (e) => {
              node.setPointerCapture(e.pointerId); node.focus(); e.preventDefault(); node.onpointermove = drag;
            });
            for (const end of ["pointerup", "pointercancel"])
              node.addEventListener(end, () => { node.onpointermove = null; it.settle?.(state); refresh(); });
            node.addEventListener("keydown", (e) => {
              const step = node.h.step * (e.shiftKey ? 10 : 1);
              const { up = step, down = -step } = node.h;
              const to = { ArrowRight: step, ArrowUp: up, ArrowLeft: -step, ArrowDown: down };
              const v = e.key in to ? node.h.value + to[e.key]
                : e.key === "Home" ? node.h.min : e.key === "End" ? node.h.max : null;
              if (v === null) return;
              e.preventDefault(); e.stopPropagation();
              move(v); it.settle?.(state); refresh();
            });
          }
          node.h = h;
          for (const [name, value] of Object.entries({ cx: h.x, cy: h.y, fill: `var(--${h.color})`,
            stroke: "var(--paper)", "aria-label": h.label, "aria-valuemin": h.min, "aria-valuemax": h.max,
            "aria-valuenow": h.value, "aria-valuetext": h.text ?? number(h.value), "aria-orientation": h.axis }))
            node.setAttribute(name, value);
        },
      };
      it.draw(pen, state, values);
      for (const [id, node] of handles) if (!seen.has(id)) { node.remove(); handles.delete(id); }
      note.textContent = it.note(state, values);
      for (const c of it.controls) {
        const { input, output } = inputs[c.id], value = state[c.id];
        if (input.type === "checkbox") input.checked = value; else input.value = value;
        if (!output) continue;
        output.textContent = c.show ? c.show(value) : number(value);
        input.setAttribute("aria-valuetext", output.textContent);
      }
    }
    function set(patch, text = "") {
      Object.assign(state, structuredClone(patch));
      it.settle?.(state);
      refresh();
      said.textContent = text;
    }
    function stop() { clearInterval(timer); timer = null; }

    for (const c of it.controls) {
      const box = typeof c.value === "boolean";
      const label = add(rows, "label", c.label.length > 16 && { class: "wide" }, c.label);
      const input = c.options ? add(label, "select") : add(label, "input", box ? { type: "checkbox" }
        : { type: "range", min: c.min, max: c.max, step: c.step });
      for (const option of c.options ?? []) add(input, "option", { value: option }, option);
      inputs[c.id] = { input, output: !box && !c.options && add(label, "output") };
      input.addEventListener("input", () => {
        stop();
        set({ [c.id]: box ? input.checked : c.options ? input.value : Number(input.value) });
      });
      input.addEventListener("keydown", (e) => e.stopPropagation());
      if (!c.play) continue; // milliseconds from step to step
      const button = add(rows, "button", { type: "button" }, "Play");
      button.addEventListener("click", () => {
        if (timer) return stop();
        if (matchMedia("(prefers-reduced-motion: reduce)").matches) return set({ [c.id]: c.max });
        if (state[c.id] >= c.max) set({ [c.id]: c.min });
        timer = setInterval(() => {
          if (state[c.id] >= c.max || !host.isConnected) return stop();
          set({ [c.id]: Math.min(c.max, state[c.id] + c.step) });
        }, c.play);
      });
    }
    for (const d of it.discoveries) {
      add(buttons, "button", { type: "button" }, d.label).addEventListener("click", () => {
        stop();
        set(d.set(structuredClone(state), values));
        said.textContent = typeof d.say === "function" ? d.say(state, values) : d.say;
      });
    }
    add(buttons, "button", { type: "button" }, "Reset").addEventListener("click", () => {
      stop(); state = first(); set({});
    });

    const theme = () => { host.dataset.theme = isDark() ? "dark" : "light"; };
    for (const node of [document.documentElement, document.body])
      new MutationObserver(theme).observe(node, { attributes: true });
    theme();
    let wide = 0;
    new ResizeObserver(() => { if (host.clientWidth !== wide) { wide = host.clientWidth; refresh(); } }).observe(host);
    set({});
    host.explorer = { it, set, state: () => structuredClone(state), values: () => values };
  }

  return Object.assign((it) => {
    const all = `.bnlib-explorer[data-explorer="${it.name}"]:not([data-live])`;
    for (const host of document.querySelectorAll(all)) start(host, it);
  }, { number, normals });
})();
