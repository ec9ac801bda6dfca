// Keeps a page true: when the door says that something changed, the page is fetched again and its live parts are exchanged.
"use strict";
const body = document.body;

function exchange(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now || now.outerHTML === old.outerHTML) continue;
    const focus = old.contains(document.activeElement) && document.activeElement.id;
    old.replaceWith(document.adoptNode(now));
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }
}

function goOn() {
  const ready = document.querySelector("[data-ready]");
  if (ready) location.replace(location.pathname === body.dataset.look ? ready.dataset.ready : location.href);
  const open = document.querySelector("form[data-auto]");
  if (open && !goOn.done) {
    goOn.done = true;
    history.replaceState(null, "", location.pathname); // "back" must not open it again
    open.requestSubmit();
  }
}

let busy = false, again = false;
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(body.dataset.look || location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) return location.reload();
    if (answer.status === 404) return location.assign("/");
    if (answer.ok) {
      exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      goOn();
    }
  } catch { /* the door is away; the event stream comes back by itself and asks again */ } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

if (body.dataset.events) {
  new EventSource(body.dataset.events).addEventListener("changed", refresh);
  // What no event tells of: memory in use, "for 5 min", how a home is kept.
  setInterval(() => { if (!document.hidden) refresh(); }, Number(body.dataset.every) || 10000);
}

// "2 s ago" goes on between two looks, in the words of nbd/web/homewords.py.
function since(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${Math.max(1, Math.round(seconds))} s`;
}
setInterval(() => {
  for (const at of document.querySelectorAll("[data-age]")) {
    at.born ??= performance.now() - 1000 * at.dataset.age;
    at.textContent = since((performance.now() - at.born) / 1000);
  }
}, 1000);
goOn();
addEventListener("submit", (event) => {
  const button = event.target.querySelector("button:not(.link)");
  if (button) { button.setAttribute("aria-busy", "true"); setTimeout(() => button.removeAttribute("aria-busy"), 8000); }
});
