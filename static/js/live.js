// Our poller. An element with data-live="URL" is kept current: it asks with the version it shows, a 204 leaves it
// alone. It waits while the tab is hidden and backs off with the server's own slowness. Rows being edited stay as they are.
"use strict";

const EVERY = 1000;

// Rows being edited, open details and what is typed stay as they are; all else becomes what the server says.
const KEEP = {
  beforeNodeMorphed: (old) => !(old instanceof Element && old.matches("[data-editing]")),
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
