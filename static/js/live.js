// Our poller. An element with data-live="URL" is kept current: it asks with the version it shows, a 204 leaves it
// alone. It waits while the tab is hidden and backs off with the server's own slowness. Rows being edited, and what is
// marked data-keep, stay as they are. Links and forms with data-steers="<id>" change what that element shows, and the
// address with it; without JavaScript they are plain links and forms.
"use strict";

const EVERY = 1000;
const NO_ACCESS = "This page is no longer yours to see, or is gone · what it shows may be old; reload it";
const SIGNED_OUT = "You are signed out · what you typed is still here; sign in again in another tab";
let swaps = 0;

const kept = (node) => node instanceof Element && node.matches("[data-editing], [data-keep]");

// Open details and what is typed stay as they are; all else becomes what the server says.
const KEEP = {
  beforeNodeMorphed: (old) => !kept(old),
  beforeNodeRemoved: (old) => !kept(old),
  beforeAttributeUpdated: (name, element) => !(name === "open" && element instanceof HTMLDetailsElement) && name !== "data-version",
};

const words = (root) => new Map([...root.querySelectorAll("[data-status]")].map((e) => [e.dataset.status, e.textContent.trim()]));

function swap(element, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  if (holder.content.firstElementChild?.id !== element.id) return;
  const old = words(element);
  window.Idiomorph.morph(element, holder.content.firstElementChild, { morphStyle: "outerHTML", ignoreActiveValue: true, callbacks: KEEP });
  const news = [...words(element)].filter(([key, word]) => old.has(key) && old.get(key) !== word).map(([, word]) => word);
  if (news.length) document.getElementById("announcer").textContent = news.join(", ");
  window.htmx.process(element);
}

async function refresh(element) {
  const wanted = element.dataset.live, before = swaps;
  const url = new URL(wanted, location.href);
  url.searchParams.set("since", element.dataset.version ?? "none");
  const answer = await fetch(url, { headers: { "HX-Request": "true", "HX-Target": element.id, "HX-Current-URL": location.href } });
  const away = answer.headers.get("HX-Redirect");
  if (away && document.querySelector("[data-editing]")) throw new Error(SIGNED_OUT);
  if (away) { location.assign(away); return; }
  if ([401, 403, 404].includes(answer.status)) throw new Error(NO_ACCESS);
  if (answer.status !== 200) { if (answer.status >= 500) throw new Error("not now"); return; }
  const html = await answer.text();
  // Something else was asked for, or a row came in, while this was on its way: it may be older than what is shown.
  if (element.dataset.live !== wanted || swaps !== before) return;
  element.dataset.version = answer.headers.get("X-Version") ?? "";
  swap(element, html);
}

const seen = () => new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));

async function keepCurrent(element) {
  let pause = EVERY;
  while (element.isConnected && element.dataset.live) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) await seen();
    if (document.hidden) continue;
    const started = performance.now();
    const stamp = document.getElementById("updated");
    try {
      await refresh(element);
      pause = Math.min(30000, Math.max(EVERY, 5 * (performance.now() - started)));
      if (stamp) stamp.dataset.at = String(Date.now());
    } catch (problem) {
      pause = Math.min(30000, pause * 2);
      const words = [SIGNED_OUT, NO_ACCESS].includes(problem.message) ? problem.message : "Not reachable at the moment · tries again by itself";
      if (stamp) { delete stamp.dataset.at; stamp.textContent = words; }
    }
  }
}

document.querySelectorAll("[data-live]").forEach(keepCurrent);
document.addEventListener("htmx:afterSwap", () => { swaps += 1; });

// Steering: the same address as without JavaScript, and only the region changes.

function steer(id, url, remember) {
  const element = document.getElementById(id);
  history[remember ? "pushState" : "replaceState"](null, "", url);
  element.dataset.live = url;
  element.dataset.version = "none";
  return refresh(element).catch(() => location.assign(url));
}

function addressOf(form) {
  const url = new URL(form.action, location.href);
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  url.search = new URLSearchParams(filled).toString();
  return url.pathname + url.search;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-steers]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const url = link.getAttribute("href");
  steer(link.dataset.steers, url, true).then(() => fill(url));
});

let typing = 0;
for (const kind of ["input", "submit"]) {
  document.addEventListener(kind, (event) => {
    const form = event.target.closest?.("form[data-steers]");
    if (!form) return;
    if (kind === "submit") event.preventDefault();
    clearTimeout(typing);
    typing = setTimeout(() => steer(form.dataset.steers, addressOf(form), false), kind === "submit" ? 0 : 200);
  });
}

// The filters are kept when the region changes; after a link or Back they say what is shown.
function fill(url) {
  const query = new URL(url, location.href).searchParams;
  for (const control of document.querySelectorAll("form[data-steers] :is(input, select)")) {
    control.value = query.get(control.name) ?? "";
  }
}

window.addEventListener("popstate", () => {
  const form = document.querySelector("[data-steers]");
  if (form) steer(form.dataset.steers, location.href, false).then(() => fill(location.href));
});

// Times go on by themselves, by the server's clock.

let skew = 0;
const zone = document.querySelector("[data-now]");
if (zone) skew = Number(zone.dataset.now) - Date.now();

const SIZES = [[86400, "d"], [3600, "h"], [60, "min"]];

function ago(seconds) {
  const [size, unit] = SIZES.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

setInterval(() => {
  if (document.hidden) return;
  const now = Date.now() + skew;
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Math.max(0, Math.floor((now - Date.parse(element.dateTime)) / 1000)));
    if (element.textContent !== text) element.textContent = text;
  }
  const stamp = document.querySelector("#updated[data-at]");
  if (stamp) {
    const text = `Updated ${ago(Math.max(1, Math.floor((Date.now() - stamp.dataset.at) / 1000)))} · updates by itself`;
    if (stamp.textContent !== text) stamp.textContent = text;
  }
  for (const element of document.querySelectorAll("[data-gone-at]")) {
    element.hidden = now > Date.parse(element.dataset.goneAt) && !element.contains(document.activeElement);
  }
}, 1000);
