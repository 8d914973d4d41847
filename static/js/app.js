// What pages need beyond links and forms: one submit at a time, Escape, focus that stays where the person is.
"use strict";

const csrfToken = () => document.querySelector("input[name=csrf_token]")?.value ?? "";

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = csrfToken();
  event.detail.headers["X-Person"] = document.body.dataset.person ?? "";
});

// Signed in again meanwhile, in another tab: the answer brings the token of now, and the form goes once more by itself.
let sentAgain = null;
function renew(event) {
  const token = event.detail.xhr.getResponseHeader("X-CSRFToken"), form = event.detail.elt;
  if (!token) return false;
  document.querySelectorAll("input[name=csrf_token]").forEach((field) => { field.value = token; });
  if (!(form instanceof HTMLFormElement) || sentAgain === form) return false;
  sentAgain = form;
  setTimeout(() => form.requestSubmit());
  return true;
}

let pressed = null;
document.addEventListener("submit", (event) => {
  const button = pressed = event.submitter ?? event.target.querySelector("button:not([type=button])");
  if (button) setTimeout(() => { button.disabled = true; setTimeout(() => { button.disabled = false; }, 8000); });
});

// The answer is here. Where the form still stands, it can be sent again, from where the person was.
document.addEventListener("htmx:afterRequest", (event) => {
  if (!pressed?.isConnected || event.detail.elt !== pressed.form) return;
  pressed.disabled = false;
  if (document.activeElement === document.body) pressed.focus({ preventScroll: true });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); return; }
  const editing = event.target.closest?.("[data-editing]") ?? document.querySelector("[data-editing]");
  editing?.querySelector("[data-cancel]")?.click();
});

// On what came in itself (load): the element that asked is gone by then, and its own events reach nobody.
document.addEventListener("htmx:load", (event) => {
  const came = event.detail.elt;
  if (came.dataset?.said) document.getElementById("announcer").textContent = came.dataset.said;
  const first = came.matches?.("[data-focus]") ? came : came.querySelector?.("[data-focus]");
  if (first) { first.removeAttribute("data-focus"); first.focus(); }
});

function complain(text) {
  const line = document.createElement("p");
  line.dataset.complaint = "";
  line.className = "flash";
  line.setAttribute("role", "alert");
  line.textContent = text;
  document.getElementById("flashes").replaceChildren(line);
  line.scrollIntoView({ block: "nearest" });
}

// What the person did next was answered: what went wrong before is no longer so. What asks by itself (no event) says
// nothing about it, and what the server said stays.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (event.detail.requestConfig.triggeringEvent) document.querySelector("#flashes [data-complaint]")?.remove();
});

// Signed out meanwhile, in another tab or by time: nobody is led away from what they are typing.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (!event.detail.xhr.getResponseHeader("HX-Redirect") || !document.querySelector("[data-editing]")) return;
  event.preventDefault();
  complain("You are signed out. What you typed is still here: sign in again in another tab, then do it again.");
});

document.addEventListener("htmx:responseError", (event) => {
  if (renew(event)) return;
  sentAgain = null;
  const text = event.detail.xhr.responseText;
  complain(text && text.length < 300 && !text.includes("<") ? text : "That did not work. Try again in a moment.");
});

for (const kind of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(kind, () => complain("We could not be reached. What you typed still stands; try again in a moment."));
}

document.querySelectorAll("[data-print]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
});

// On a narrow screen the navigation scrolls sideways: begin with where one is.
// Not by scrollIntoView: the first Tab would go on from there, past "Skip to content".
const nav = document.querySelector(".top nav"), here = nav?.querySelector("[aria-current]");
if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;

// The menu closes where one looks elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
