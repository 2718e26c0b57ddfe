// Quizzes and predictions: commit, then see. What the reader answers stays in this browser.
(() => {
  const NOTE = "Your answers stay in this browser, on this device.";
  const sections = [...document.querySelectorAll("section.quiz")];
  if (!sections.length) return;

  // The reader's tries: {name: {tries: [answer], done: how it ended}}.
  const place = `bnlib-quiz:${sections[0].dataset.page}`;
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(place)) || {}; } catch { /* not allowed, or not ours */ }
  const keep = () => {
    try {
      if (Object.keys(kept).length) localStorage.setItem(place, JSON.stringify(kept));
      else localStorage.removeItem(place);
    } catch { /* then it lasts as long as the page */ }
  };

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const button = (text, click, type = "button") =>
    make("button", { type, textContent: text, onclick: click, className: "question-button" });
  const show = (number) => `${+number.toPrecision(4)}`.replace("-", "−");
  const letter = (k) => "ABCDEFGH"[k];

  // Each kind of question: controls, what they say, and a judgement {right, for, text}. `for` names
  // the explanation that belongs to the answer.
  const kinds = {
    choice(form, q) {
      const rows = [...form.querySelectorAll(".question-options > li")];
      const inputs = rows.map((row, k) => {
        const input = make("input", { type: "radio", name: q.name, value: k });
        row.append(make("label", {}, input, make("strong", {}, `${letter(k)}.`), ...row.childNodes));
        return input;
      });
      return {
        ask: "Choose an answer first.",
        read: () => { const k = inputs.findIndex((i) => i.checked); return k < 0 ? null : k; },
        write: (k) => inputs.forEach((input, i) => { input.checked = i === k; }),
        judge: (k) => ({ right: k === q.answer, for: k, text: `${letter(k)} is not it.` }),
        say: letter,
        mark: (k, right) => rows.forEach((row, i) => {
          row.classList.toggle("is-right", right && i === q.answer);
          row.classList.toggle("is-wrong", i === k && k !== q.answer);
        }),
      };
    },

    number(form, q) {
      const input = make("input", { type: "text", name: q.name, autocomplete: "off", size: 9 });
      const label = make("label", { className: "question-number" }, "Your number: ", input, q.unit ? ` ${q.unit}` : "");
      form.querySelector(".question-answer").before(label);
      const value = (text) => {
        const parts = text.trim().replace(/[−–]/g, "-").replace(/\s/g, "").replace(/,(?=\d{3}\b)(?!.*[.,])/g, "")
          .replace(",", ".").replace(/%$/, "").split("/");
        const [a, b = 1] = parts.map((part) => (part === "" ? NaN : Number(part)));
        return parts.length < 3 ? a / b : NaN;
      };
      const near = (a, b) => Math.abs(a - b) <= (b ? q.within * Math.abs(b) : q.within) * (1 + 1e-9);
      return {
        ask: "Type a number first, such as 12, 0.25, −3 or 1/4.",
        read: () => (Number.isFinite(value(input.value)) ? input.value : null),
        write: (text) => { input.value = text ?? ""; },
        judge: (text) => {
          const number = value(text);
          const known = q.wrong.findIndex((wrong) => near(number, wrong));
          const far = number * q.answer < 0 ? "Look at its sign." : number > q.answer ? "It is too large." : "It is too small.";
          return { right: near(number, q.answer), for: known, text: `${text.trim()} is not it.${known < 0 ? ` ${far}` : ""}` };
        },
        say: (text) => text.trim(),
      };
    },

    order(form, q) {
      const list = form.querySelector(".question-options");
      const rows = [...list.children];
      const read = () => [...list.children].map((row) => rows.indexOf(row));
      const move = (row, by) => {
        const at = [...list.children].indexOf(row), other = list.children[at + by];
        if (!other) return;
        if (by < 0) other.before(row); else other.after(row);
        heard.textContent = `${letter(rows.indexOf(row))} is now number ${at + by + 1} of ${rows.length}`;
      };
      const heard = make("span", { className: "question-heard", role: "status" });
      rows.forEach((row, k) => {
        const arrow = (sign, name, by) => {
          const arrow = button(sign, () => { move(row, by); arrow.focus(); });
          arrow.setAttribute("aria-label", `Move ${letter(k)} ${name}`);
          return arrow;
        };
        row.prepend(make("span", { className: "question-arrows" }, arrow("↑", "up", -1), arrow("↓", "down", 1)),
          make("strong", {}, `${letter(k)}. `));
      });
      list.after(heard);
      return {
        read,
        write: (order) => { list.append(...(order ?? rows.keys()).map((k) => rows[k])); heard.textContent = ""; },
        judge: (order) => {
          const misplaced = order.filter((k, i) => k !== q.answer[i]);
          return {
            right: !misplaced.length,
            for: misplaced[0] ?? "none",
            text: `${rows.length - misplaced.length} of ${rows.length} are in their place. The first that is not:`,
          };
        },
        say: (order) => order.map(letter).join(" "),
      };
    },

    draw(form, q) {
      const SVG = "http://www.w3.org/2000/svg";
      const svg = form.querySelector("svg");
      const [left, top, width, height] = svg.dataset.box.split(",").map(Number);
      const n = q.answer.length, [x0, x1] = q.x, [y0, y1] = q.y;
      const across = (k) => left + (k / (n - 1)) * width;
      const up = (y) => top + ((y1 - Math.min(y1, Math.max(y0, y))) / (y1 - y0)) * height;
      const xOf = (k) => x0 + (k / (n - 1)) * (x1 - x0);
      let mine = Array(n).fill(null), at = 0, last = null;

      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", "mine");
      const dots = mine.map(() => document.createElementNS(SVG, "circle"));
      svg.append(line, ...dots);
      for (const [name, value] of Object.entries({ tabindex: 0, role: "slider", "aria-orientation": "vertical",
        "aria-valuemin": y0, "aria-valuemax": y1, "aria-label": svg.getAttribute("aria-label").replace(", empty", ": your curve") }))
        svg.setAttribute(name, value);
      const hint = make("p", { className: "question-hint", id: `${q.name}-hint`,
        textContent: "Draw with the pointer, or with the arrow keys: left and right choose a point, up and down move it." });
      svg.setAttribute("aria-describedby", hint.id);
      svg.parentElement.after(hint);

      const paint = () => {
        const known = [...mine.keys()].filter((k) => mine[k] !== null);
        line.setAttribute("d", known.map((k, i) => `${i ? "L" : "M"}${across(k)} ${up(mine[k])}`).join(""));
        dots.forEach((dot, k) => {
          dot.setAttribute("cx", across(k));
          dot.setAttribute("cy", up(mine[k] ?? (y0 + y1) / 2));
          dot.setAttribute("r", k === at ? 6 : 4);
          dot.setAttribute("class", `${mine[k] === null ? "empty" : ""}${k === at ? " at" : ""}`);
        });
        svg.setAttribute("aria-valuenow", +(mine[at] ?? (y0 + y1) / 2).toFixed(6)); // no 1e-17
        svg.setAttribute("aria-valuetext", `at ${show(xOf(at))}: ${mine[at] === null ? "no height yet" : show(mine[at])}`);
      };
      const put = (event) => {
        const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
        const k = Math.max(0, Math.min(n - 1, Math.round(((event.clientX - box.left) * scale - left) / width * (n - 1))));
        const share = ((event.clientY - box.top) * scale - top) / height;
        const y = y1 - Math.max(0, Math.min(1, share)) * (y1 - y0);
        // A quick stroke passes points between two events.
        const from = last ?? { k, y };
        for (let i = Math.min(k, from.k); i <= Math.max(k, from.k); i++)
          mine[i] = k === from.k ? y : from.y + ((i - from.k) / (k - from.k)) * (y - from.y);
        last = { k, y };
        at = k;
        paint();
      };
      const locked = () => form.classList.contains("is-done");
      svg.addEventListener("pointerdown", (event) => {
        if (locked()) return;
        svg.setPointerCapture(event.pointerId);
        last = null;
        put(event);
      });
      svg.addEventListener("pointermove", (event) => { if (last && event.buttons && !locked()) put(event); });
      svg.addEventListener("pointerup", () => { last = null; });
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
        const aside = { ArrowLeft: -1, ArrowRight: 1, Home: -n, End: n }[event.key];
        if ((!step && !aside) || locked() || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        const from = mine[at] ?? (y0 + y1) / 2;
        if (step) mine[at] = +Math.max(y0, Math.min(y1, from + step * (y1 - y0) / 40)).toFixed(6);
        else {
          mine[at] = from;
          at = Math.max(0, Math.min(n - 1, at + aside));
          mine[at] ??= from; // a step aside goes on at the same height
        }
        paint();
      });
      paint();

      const distance = (a, b) => Math.sqrt(a.reduce((sum, y, k) => sum + (y - b[k]) ** 2, 0) / n) / (y1 - y0);
      return {
        ask: "Draw the curve from end to end first.",
        read: () => (mine.includes(null) ? null : mine.map((y) => +y.toPrecision(6))),
        write: (curve) => { mine = curve ? [...curve] : Array(n).fill(null); at = 0; paint(); },
        judge: (curve) => {
          const off = distance(curve, q.answer), known = q.wrong.map((wrong) => distance(curve, wrong));
          const nearest = known.indexOf(Math.min(...known)), taken = known[nearest] < Math.min(off, 2 * q.within);
          const worst = curve.reduce((k, y, i) => (Math.abs(y - q.answer[i]) > Math.abs(curve[k] - q.answer[k]) ? i : k), 0);
          const side = curve[worst] > q.answer[worst] ? "high" : "low";
          return {
            right: off <= q.within && !taken,
            for: taken ? nearest : -1,
            text: taken ? "That is another curve." : `It is farthest off at ${show(xOf(worst))}, where it lies too ${side}.`,
          };
        },
        say: () => "the curve that you drew",
        mark: (_, right) => {
          svg.querySelector(".curve")?.remove();
          if (right) line.before(form.querySelector(".question-answer .curve").cloneNode());
        },
      };
    },
  };

  const questions = [];
  const scores = [];

  const prepare = (form, predicting) => {
    const q = JSON.parse(form.dataset.question);
    const answer = form.querySelector(".question-answer");
    const reasons = [...answer.querySelectorAll(".question-why")];
    const result = answer.querySelector(".question-result");
    const kind = kinds[q.kind](form, q);
    const said = make("div", { className: "question-said" });
    said.setAttribute("role", "status");
    const commit = button(predicting ? "Commit" : "Check", null, "submit");
    const reveal = button("Show the answer", () => finish("shown"));
    const forget = button("Forget it", () => { forgetOne(); commit.focus(); });
    answer.before(make("div", { className: "question-buttons" }, commit, reveal, forget), said);
    form.classList.add("is-live");

    const find = (name) => reasons.filter((reason) => reason.dataset.for === `${name}`);
    const say = (title, good, ...parts) => {
      answer.append(...reasons, ...(result ? [result] : [])); // all are at home again
      said.replaceChildren(make("p", { className: good ? "is-right" : "is-wrong" }, make("strong", {}, title)), ...parts);
    };
    const paint = () => {
      const { tries = [], done } = kept[q.name] ?? {};
      form.classList.toggle("is-done", Boolean(done));
      form.querySelectorAll("input, .question-arrows button").forEach((e) => { e.disabled = Boolean(done); });
      commit.hidden = Boolean(done);
      reveal.hidden = predicting || Boolean(done) || !tries.length;
      forget.hidden = !predicting || !done;
      const given = tries.at(-1);
      if (!tries.length) { say("", true); said.replaceChildren(); kind.mark?.(null, false); }
      else {
        const verdict = kind.judge(given), right = find("right").concat(q.kind === "choice" ? find(q.answer) : []);
        kind.mark?.(given, Boolean(done));
        if (predicting) {
          const parts = [...new Set([...(verdict.right ? [] : find(verdict.for)), ...right, ...(result ? [result] : [])])];
          const is = q.kind === "draw" ? "here is the right one" : `it is ${q.key}${q.unit ? ` ${q.unit}` : ""}`;
          say(verdict.right ? `✓ You said ${kind.say(given)}, and so it is.` : `✗ You said ${kind.say(given)}; ${is}.`, verdict.right, ...parts);
        } else if (done === "right") {
          say(tries.length === 1 ? "✓ Right, at the first try." : `✓ Right, at try ${tries.length}.`, true, ...right);
        } else if (done) say(`The answer: ${q.key}.`, false, ...right);
        else say(`✗ ${verdict.text}`, false, ...find(verdict.for));
      }
      answer.hidden = !done || !answer.querySelector(".question-why");
      scores.forEach((score) => score());
    };
    const finish = (how) => {
      kept[q.name] = { ...kept[q.name], done: how };
      keep();
      paint();
    };
    const forgetOne = () => { delete kept[q.name]; keep(); reset(); };
    const reset = () => { answer.open = false; kind.write(null); paint(); };

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (kept[q.name]?.done) return;
      const given = kind.read();
      if (given === null) { said.replaceChildren(make("p", {}, kind.ask)); return; }
      kept[q.name] = { tries: [...(kept[q.name]?.tries ?? []), given] };
      const { right } = kind.judge(given);
      if (right || predicting) finish(right ? "right" : "wrong");
      else { keep(); paint(); }
    });
    answer.querySelector("summary").textContent = q.kind === "order" ? "Each in its place" : "To other answers";
    questions.push({ q, predicting, reset });
    if (predicting) answer.after(make("p", { className: "quiz-note" }, NOTE));
    try { kind.write(kept[q.name]?.tries?.at(-1) ?? null); paint(); } catch { forgetOne(); } // of another edition
  };

  const close = (section, names) => {
    const score = make("p", { className: "quiz-score" });
    score.setAttribute("role", "status");
    const forget = button("Forget my answers", () => {
      kept = {};
      keep();
      questions.forEach((question) => question.reset());
    });
    section.append(score, make("p", { className: "quiz-note" }, forget, ` ${NOTE}`));
    scores.push(() => {
      const ended = names.filter((name) => kept[name]?.done).length;
      const first = names.filter((name) => kept[name]?.done === "right" && kept[name].tries.length === 1).length;
      const predicted = questions.filter(({ q, predicting }) => predicting && kept[q.name]?.done);
      const hits = predicted.filter(({ q }) => kept[q.name].done === "right").length;
      const left = names.length - ended;
      score.textContent = (ended ? `${first} of ${names.length} at the first try${left ? `; ${left} to go` : ""}.` : "")
        + (ended && predicted.length ? ` Predictions before you read: ${hits} of ${predicted.length} right.` : "");
    });
    scores.at(-1)();
  };

  for (const section of sections) {
    const predicting = section.classList.contains("quiz-predict");
    const forms = [...section.querySelectorAll("form.question")];
    forms.forEach((form) => prepare(form, predicting));
    if (!predicting) close(section, forms.map((form) => form.id));
  }
})();
