// A select with many options gets a small filter over it. Without JavaScript it is the plain select.
"use strict";

const MANY = 8;

function enhance(select) {
  if (select.dataset.enhanced || select.options.length <= MANY) return;
  select.dataset.enhanced = "yes";
  const all = [...select.options];
  const filter = document.createElement("input");
  Object.assign(filter, { type: "search", id: `${select.id}-filter`, placeholder: "Find a list", autocomplete: "off" });
  filter.setAttribute("aria-label", "Find a list by name");
  filter.setAttribute("aria-controls", select.id);
  select.before(filter);

  const narrow = () => {
    const wanted = filter.value.trim().toLowerCase();
    const chosen = select.value;
    const fitting = all.filter((option) => !wanted || option.text.toLowerCase().includes(wanted));
    // What is chosen stays chosen, whether it fits or not.
    select.replaceChildren(...all.filter((option) => fitting.includes(option) || option.value === chosen));
    select.value = chosen;
    select.size = wanted ? Math.min(6, Math.max(2, select.options.length)) : 0;
    document.getElementById("announcer").textContent = wanted ? `${fitting.length} lists fit` : "";
    return fitting;
  };

  const choose = (option) => {
    filter.value = "";
    narrow();
    select.value = option.value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    select.focus();
  };

  filter.addEventListener("input", narrow);
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      const [first] = filter.value.trim() ? narrow() : [];
      if (first) choose(first);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      const [first] = narrow();
      if (filter.value.trim() && first) select.value = first.value;
      select.focus();
    } else if (event.key === "Escape" && filter.value) {
      event.stopPropagation();
      filter.value = "";
      narrow();
    }
  });
  select.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && select.size) { event.preventDefault(); choose(select.selectedOptions[0]); }
  });
  select.addEventListener("click", (event) => {
    if (select.size && event.target instanceof HTMLOptionElement) choose(event.target);
  });
}

const within = (root) => [...root.querySelectorAll?.("select[data-picker]") ?? [], ...(root.matches?.("select[data-picker]") ? [root] : [])];
within(document).forEach(enhance);
document.addEventListener("htmx:load", (event) => within(event.detail.elt).forEach(enhance));
