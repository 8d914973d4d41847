// Our poller. An element with data-live="URL" is kept current: it asks with the version it shows, a 204 leaves it
// alone. It waits while the tab is hidden and backs off with the server's own slowness. Rows being edited stay as they are.
"use strict";

const EVERY = 1000;

function announce(before, after) {
  const words = (root) => new Map([...root.querySelectorAll("[data-status]")].map((e) => [e.dataset.status, e.textContent.trim()]));
  const old = words(before);
  const news = [...words(after)].filter(([key, word]) => old.has(key) && old.get(key) !== word).map(([, word]) => word);
  if (news.length) document.getElementById("announcer").textContent = news.join(", ");
}

function swap(element, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  if (!fresh || fresh.id !== element.id) return;
  announce(element, fresh);
  for (const editing of element.querySelectorAll("[data-editing]")) {
    fresh.querySelector(`#${CSS.escape(editing.id)}`)?.replaceWith(editing);
  }
  const focused = document.activeElement?.id;
  const open = [...element.querySelectorAll("details[open][id]")].map((details) => details.id);
  element.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
  window.htmx?.process(element);
}

async function refresh(element) {
  const url = new URL(element.dataset.live, location.href);
  url.searchParams.set("since", element.dataset.version ?? "none");
  const answer = await fetch(url, { headers: { "HX-Request": "true", "HX-Target": element.id, "HX-Current-URL": location.href } });
  const away = answer.headers.get("HX-Redirect");
  if (away) { location.assign(away); return; }
  if (answer.status !== 200) return;
  element.dataset.version = answer.headers.get("X-Version") ?? "";
  swap(element, await answer.text());
}

async function keepCurrent(element) {
  let pause = EVERY;
  while (element.isConnected) {
    await new Promise((done) => setTimeout(done, pause));
    if (document.hidden) continue;
    const started = performance.now();
    try {
      await refresh(element);
      pause = Math.min(30000, Math.max(EVERY, 5 * (performance.now() - started)));
      const stamp = document.getElementById("updated");
      if (stamp) stamp.textContent = "Updated just now · updates by itself";
    } catch {
      pause = Math.min(30000, pause * 2);
      const stamp = document.getElementById("updated");
      if (stamp) stamp.textContent = "Not reachable at the moment · tries again by itself";
    }
  }
}

document.querySelectorAll("[data-live]").forEach(keepCurrent);
