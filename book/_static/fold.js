// Entries that begin with a symptom are folded: the heading, a button then, and the symptom stay.
// Without this script, and on paper, they stand open.
(() => {
  // What was last sought in the book is for this page, whichever it is, and for no later one.
  let sought = [];
  try {
    sought = (localStorage.getItem("sphinx_highlight_terms") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    localStorage.removeItem("sphinx_highlight_terms");
  } catch { /* not allowed */ }

  const entries = [...document.querySelectorAll("article section > h2 + p > strong:first-child")]
    .filter((strong) => strong.textContent === "Symptom.")
    .map((strong) => strong.closest("section"));
  if (!entries.length) return;

  // The browser's own search looks into what is folded, and opens it, where it knows how.
  const FOLDED = "onbeforematch" in document.body ? "until-found" : "";
  const parts = new Map(); // of an entry: {button, body}
  const isOpen = (entry) => !parts.get(entry).body.hasAttribute("hidden");
  const all = document.createElement("button");

  // What is open is kept beside the address, so that a reload, or the way back, finds it open.
  const keep = () => {
    const open = entries.filter(isOpen).map((entry) => entry.id);
    history.replaceState({ ...history.state, open }, "");
    all.textContent = `${open.length < entries.length ? "Open" : "Close"} all ${entries.length} entries`;
  };
  const set = (entry, open) => {
    const { button, body } = parts.get(entry);
    button.setAttribute("aria-expanded", open);
    if (open) body.removeAttribute("hidden");
    else body.setAttribute("hidden", FOLDED);
  };
  const change = (open, ...changed) => {
    changed.forEach((entry) => set(entry, open));
    keep();
    dispatchEvent(new Event("resize")); // the theme then sees which boxes scroll
  };
  const reveal = (hash) => {
    const target = document.getElementById(hash.slice(1));
    const entry = entries.find((e) => e.contains(target));
    if (entry) change(true, entry);
    return entry && target;
  };

  for (const entry of entries) {
    const heading = entry.querySelector("h2"), symptom = heading.nextElementSibling;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "fold-button" });
    const body = Object.assign(document.createElement("div"), { className: "fold-body", id: `${entry.id}-body` });
    const link = heading.querySelector(".headerlink");
    button.append(...[...heading.childNodes].filter((node) => node !== link));
    button.setAttribute("aria-controls", body.id);
    heading.prepend(button);
    while (symptom.nextSibling) body.append(symptom.nextSibling);
    entry.append(body);
    entry.classList.add("fold");
    parts.set(entry, { button, body });
    button.addEventListener("click", () => change(!isOpen(entry), entry));
    body.addEventListener("beforematch", () => change(true, entry));
  }

  const holds = (entry) => sought.every((word) => entry.textContent.toLowerCase().includes(word));
  const found = sought.length && !location.hash ? entries.filter(holds) : [];
  const before = history.state?.open ?? [];
  entries.forEach((entry) => set(entry, before.includes(entry.id) || found.includes(entry)));

  Object.assign(all, { type: "button", className: "fold-all" });
  all.addEventListener("click", () => change(!entries.every(isOpen), ...entries));
  document.querySelector("article h1").after(all);
  keep();

  // The address, and a link to where the reader already is, which changes no address.
  const target = reveal(location.hash) ?? found[0];
  const [visit] = performance.getEntriesByType("navigation");
  if (target && visit?.type === "navigate") addEventListener("load", () => target.scrollIntoView());
  addEventListener("hashchange", () => reveal(location.hash)?.scrollIntoView());
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (link?.hash && link.pathname === location.pathname) reveal(link.hash);
  });
})();
