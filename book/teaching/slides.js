// Keys, buttons and the address turn the slides.
const all = [...document.querySelectorAll('.slide')], place = document.getElementById('place');
document.documentElement.classList.add('script');
const dark = matchMedia('(prefers-color-scheme: dark)');
const theme = () => { document.documentElement.dataset.theme = dark.matches ? 'dark' : 'light'; };
dark.addEventListener('change', theme);
theme();
let now = 0;
function go(k) {
  now = Math.max(0, Math.min(all.length - 1, k));
  all.forEach((e, i) => e.classList.toggle('now', i === now));
  place.textContent = `${now + 1} / ${all.length}`;
  history.replaceState(null, '', `#${now + 1}`);
  scrollTo(0, 0);
}
const from = () => Number(location.hash.slice(1) || 1) - 1;
addEventListener('hashchange', () => { if (from() !== now) go(from()); });
addEventListener('keydown', (e) => {
  if (e.target.closest('.bnlib-explorer') || e.altKey || e.ctrlKey || e.metaKey) return;
  const step = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[e.key];
  if (step) go(now + step);
  else if (e.key === 'Home') go(0);
  else if (e.key === 'End') go(all.length - 1);
  else if (e.key.toLowerCase() === 'n') document.documentElement.classList.toggle('notes');
});
for (const b of document.querySelectorAll('[data-move]'))
  b.addEventListener('click', () => go(now + Number(b.dataset.move)));
go(from());
