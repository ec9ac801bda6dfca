// Put into the editor's own pages by the proxy (nbd/web/inset.py): a bar at the foot that says what nbd is about to do, and word to nbd
// that somebody is here. It looks at no text: a pressed key or button is a moment, not a letter. The editor knows nothing of it.
"use strict";
(() => {
  if (window.top !== window || document.documentElement.dataset.nbdNotice) return;
  document.documentElement.dataset.nbdNotice = "1";
  const HERE_EVERY = 5000;
  const post = (path, form = {}) => fetch(path, { method: "POST", body: new URLSearchParams(form), keepalive: true, redirect: "manual" });

  // somebody is here
  let said = -HERE_EVERY;
  const here = (event) => {
    if (!event.isTrusted || event.repeat || performance.now() - said < HERE_EVERY) return;
    said = performance.now();
    post("/.nbd/here").catch(() => {});
  };
  for (const kind of ["keydown", "pointerdown", "paste", "drop"]) addEventListener(kind, here, { capture: true, passive: true });

  // the bar, in a shadow so that neither the editor's style nor its scripts meet ours
  const make = (name, words, kind) => {
    const one = document.createElement(name);
    if (words) one.textContent = words;
    if (kind) one.className = kind;
    return one;
  };
  const host = make("nbd-notice");
  const shadow = host.attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(`
    :host { all: initial; position: fixed; z-index: 2000; left: 12px; bottom: 34px; pointer-events: none; color-scheme: light dark;
      --ink: #1b1d21; --quiet: #5d636c; --sheet: #fff; --edge: #c9c9c1; --mark: #b26b00; --go: #0b7a6f; --on-go: #fff }
    :host(.dark) { --ink: #e9eaec; --quiet: #9aa1ac; --sheet: #1c1f25; --edge: #434955; --mark: #f0b35a; --go: #3cc7b5; --on-go: #06201d }
    :host(.sleep) { --mark: #5b4bb5 } :host(.dark.sleep) { --mark: #b0a4ff }
    .bar { box-sizing: border-box; pointer-events: auto; display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; max-width: min(44rem, calc(100vw - 24px));
      padding: 8px 8px 8px 14px; border: 1px solid var(--edge); border-left: 4px solid var(--mark); border-radius: 8px; background: var(--sheet); color: var(--ink);
      box-shadow: 0 4px 18px rgb(0 0 0 / .22); font: 14px/1.4 system-ui, sans-serif }
    .text { flex: 1 1 16rem; overflow-wrap: anywhere } .rule { color: var(--quiet) }
    .do { display: flex; align-items: center; gap: 6px; margin-left: auto }
    button, a { box-sizing: border-box; min-height: 30px; padding: 4px 12px; border: 1px solid var(--edge); border-radius: 6px; background: none; color: inherit; font: inherit; text-decoration: none; white-space: nowrap; cursor: pointer }
    button.go { border-color: var(--go); background: var(--go); color: var(--on-go); font-weight: 600 }
    button.off { padding: 4px 9px; border-color: transparent; color: var(--quiet) }
    button:hover, a:hover { border-color: var(--ink) } button[disabled] { opacity: .6; cursor: default }
    :focus-visible { outline: 2px solid var(--go); outline-offset: 2px }
    progress { flex-basis: 100%; width: 100%; height: 5px; accent-color: var(--mark) }
    /* Editors show what they have to say at the bottom right: beside it where there is room, else above it. */
    @media (max-width: 66rem) { :host { bottom: 124px } }
    @media (forced-colors: active) { .bar { border-color: CanvasText } }`);
  shadow.adoptedStyleSheets = [style];
  // There from the start and empty: what is put into it is read out.
  const place = make("div");
  place.setAttribute("role", "status");
  shadow.append(place);

  const dark = () => {
    const told = document.body?.dataset.jpThemeLight;
    if (told) return told === "false";
    if (document.querySelector(".monaco-workbench")) return !!document.querySelector(".monaco-workbench.vs-dark, .monaco-workbench.hc-black");
    return matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const clock = (seconds) => new Date(Date.now() + 1000 * seconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const length = (seconds) => (seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} h`);
  const hidden = new Set(JSON.parse(sessionStorage.getItem("nbd-hidden") || "[]"));

  const button = (words, kind, act) => {
    const one = make("button", words, kind);
    one.type = "button";
    one.addEventListener("click", () => act(one));
    return one;
  };
  const doing = (path, form, done) => async (one) => {
    one.disabled = true;
    try {
      const answer = await post(path, form);
      if (!answer.ok) throw (await answer.json()).error;
      show({ key: "", tone: "told", text: done });
    } catch (error) {
      show({ key: "", tone: "warn", text: error?.message ? `That did not work: ${error.message}` : "That did not work. Try again in a moment." });
    }
  };
  const dismiss = (key) => () => {
    if (key) hidden.add(key);
    sessionStorage.setItem("nbd-hidden", JSON.stringify([...hidden].slice(-20)));
    place.replaceChildren();
  };

  function show(told) {
    if (!told || hidden.has(told.key)) return place.replaceChildren();
    const text = make("span", told.text + (told.due_in == null ? "" : `, at ${clock(told.due_in)}`), "text");
    if (told.rule) text.append(make("span", ` (${told.rule})`, "rule"));
    if (!/[.!?:]$/.test(text.textContent)) text.append(".");
    const buttons = make("span", "", "do"), bar = make("div", "", "bar");
    if (told.keep) buttons.append(button(`Keep ${length(told.keep)}`, "go", doing("/.nbd/keep", { seconds: Math.round(told.keep) }, `Kept for ${length(told.keep)}.`)));
    if (told.wake) buttons.append(button(told.wake, "go", doing("/.nbd/wake", {}, "It is on its way.")));
    if (told.key) {
      const why = make("a", "Why?");
      why.href = "/.nbd/why";
      why.target = "_blank";
      why.rel = "noopener noreferrer";
      buttons.append(why);
    }
    const off = button("✕", "off", dismiss(told.key));
    off.setAttribute("aria-label", "Dismiss");
    buttons.append(off);
    bar.append(text, buttons);
    if (told.share != null) {
      const done = make("progress");
      if (told.share >= 0) done.value = told.share;
      done.setAttribute("aria-label", told.text);
      bar.append(done);
    }
    host.className = `${told.tone}${dark() ? " dark" : ""}`;
    if (!host.isConnected) document.body.append(host);
    place.replaceChildren(bar);
  }

  // Only a tab that is looked at listens: browsers have few connections for one address, and a forgotten tab needs none.
  let stream = null;
  function listen() {
    const seen = document.visibilityState === "visible";
    if (stream && (!seen || stream.readyState === EventSource.CLOSED)) stream = void stream.close();
    if (!seen || stream) return;
    stream = new EventSource("/.nbd/notices");
    stream.addEventListener("message", (event) => show(JSON.parse(event.data)));
  }
  document.addEventListener("visibilitychange", listen);
  setInterval(listen, 10000);
  document.body.append(host);
  listen();
})();
