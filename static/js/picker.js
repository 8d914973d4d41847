// The list picker: over a select with many options, one box that shows what is chosen and finds others as one types
// (the combobox of the ARIA practices). The select stays, unseen, and is what the form sends; without JavaScript, or
// where the browser knows no popovers, it is all there is.
"use strict";

const announce = (text) => { document.getElementById("announcer").textContent = text; };
// A list's name may hold any separator of ours.
const split = (option) => {
  const name = option.dataset.name ?? option.text;
  return [name, option.text.slice(name.length + 3)];
};

class Picker {
  constructor(select) {
    this.select = select;
    this.box = this.element("input", { type: "text", id: `${select.id}-filter`, className: "combobox", autocomplete: "off" });
    this.list = this.element("ul", { id: `${select.id}-options`, className: "options" });
    this.list.setAttribute("popover", "manual");
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Lists in Klaviyo");
    const said = { role: "combobox", "aria-expanded": "false", "aria-autocomplete": "list", "aria-controls": this.list.id };
    for (const [name, value] of Object.entries(said)) this.box.setAttribute(name, value);
    for (const name of ["aria-invalid", "aria-describedby"]) {
      if (select.hasAttribute(name)) this.box.setAttribute(name, select.getAttribute(name));
    }
    this.options = [...select.options];
    this.active = -1;
    document.querySelector(`label[for="${select.id}"]`).htmlFor = this.box.id;
    select.hidden = true;
    select.after(this.box, this.list);
    this.rest();
    this.listen();
  }

  element(tag, values) {
    return Object.assign(document.createElement(tag), values);
  }

  listen() {
    this.box.addEventListener("click", () => { if (!this.isOpen) this.open(""); });
    this.box.addEventListener("input", () => this.open(this.box.value));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focus", () => this.box.select());
    this.box.addEventListener("blur", () => this.rest());
    // Before the box loses the focus, so that it keeps it.
    this.list.addEventListener("mousedown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const line = event.target.closest("[role=option]");
      if (line) this.choose(this.shown[Number(line.dataset.place)]);
    });
  }

  get isOpen() { return this.box.getAttribute("aria-expanded") === "true"; }

  // Closed, saying what is chosen.
  rest() {
    if (this.isOpen) this.list.hidePopover();
    this.box.setAttribute("aria-expanded", "false");
    this.box.removeAttribute("aria-activedescendant");
    this.box.value = split(this.select.selectedOptions[0] ?? this.options[0])[0];
    this.box.title = this.select.selectedOptions[0]?.text ?? "";
  }

  open(typed) {
    const wanted = typed.trim().toLowerCase();
    this.shown = this.options.filter((option) => !wanted || option.text.toLowerCase().includes(wanted));
    this.list.replaceChildren(...this.shown.map((option, place) => this.line(option, place)));
    if (!this.shown.length) this.list.append(this.element("li", { className: "none second", textContent: "No list fits" }));
    if (!this.isOpen) this.list.showPopover();
    this.box.setAttribute("aria-expanded", "true");
    this.place();
    this.move(wanted ? 0 : this.shown.indexOf(this.select.selectedOptions[0]));
    if (wanted) announce(this.shown.length === 1 ? "1 list fits" : `${this.shown.length} lists fit`);
  }

  line(option, place) {
    const [name, optIn] = split(option);
    const line = this.element("li", { id: `${this.list.id}-${place}`, textContent: name });
    line.setAttribute("role", "option");
    line.setAttribute("aria-selected", String(option.selected));
    line.dataset.place = place;
    if (optIn) line.append(" ", this.element("span", { className: "second", textContent: optIn }));
    return line;
  }

  // Below the box where there is room, else above it.
  place() {
    const box = this.box.getBoundingClientRect(), style = this.list.style;
    style.left = `${box.left}px`;
    style.width = `${Math.max(box.width, 220)}px`;
    const isAbove = box.bottom + this.list.offsetHeight + 8 > innerHeight && box.top > innerHeight - box.bottom;
    style.top = isAbove ? `${Math.max(4, box.top - this.list.offsetHeight - 4)}px` : `${box.bottom + 4}px`;
  }

  move(place) {
    const lines = [...this.list.querySelectorAll("[role=option]")];
    this.active = Math.min(Math.max(place, -1), lines.length - 1);
    lines.forEach((line, each) => line.classList.toggle("active", each === this.active));
    const line = lines[this.active];
    line?.scrollIntoView({ block: "nearest" });
    if (line) this.box.setAttribute("aria-activedescendant", line.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  choose(option) {
    this.select.value = option.value;
    this.select.dispatchEvent(new Event("change", { bubbles: true }));
    announce(`${option.text} is chosen`);
    this.rest();
    this.box.select();
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in steps) {
      event.preventDefault();
      if (this.isOpen) this.move(Math.max(0, this.active + steps[event.key]));
      else this.open("");
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!this.isOpen) this.open("");
      else if (this.shown[this.active]) this.choose(this.shown[this.active]);
    } else if (event.key === "Escape" && this.isOpen) {
      event.stopPropagation();
      this.rest();
      this.box.select();
    }
  }
}

const pickers = new Map();

function enhance(root) {
  if (!HTMLElement.prototype.showPopover) return;
  const found = [...root.querySelectorAll?.("select[data-picker]") ?? [], ...(root.matches?.("select[data-picker]") ? [root] : [])];
  for (const select of found.filter((each) => !each.hidden)) {
    const before = pickers.get(select.id), picker = new Picker(select);
    pickers.set(select.id, picker);
    // New lists came in while somebody was in the box: they are still in it, with what they had typed.
    if (before?.left) {
      picker.box.focus();
      if (before.left.isOpen) { picker.box.value = before.left.typed; picker.open(before.left.isTyped ? before.left.typed : ""); }
    }
  }
}

document.addEventListener("htmx:beforeSwap", () => {
  for (const picker of pickers.values()) {
    const isIn = document.activeElement === picker.box, typed = picker.box.value;
    const isTyped = typed !== split(picker.select.selectedOptions[0] ?? picker.options[0])[0];
    picker.left = isIn ? { isOpen: picker.isOpen, typed, isTyped } : null;
  }
});
for (const kind of ["scroll", "resize"]) {
  window.addEventListener(kind, () => {
    for (const picker of pickers.values()) if (picker.isOpen && picker.box.isConnected) picker.place();
  }, { capture: true, passive: true });
}

enhance(document);
document.addEventListener("htmx:load", (event) => enhance(event.detail.elt));
