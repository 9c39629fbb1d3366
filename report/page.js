"use strict";
// The page is whole without this: here its colours are switched, its tables sorted and filtered.
const root = document.documentElement, theme = document.getElementById("theme");
const dark = () => (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const relabel = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Use ${dark() ? "light" : "dark"} colours`); };
theme.hidden = false;
theme.onclick = () => { root.style.colorScheme = dark() ? "light" : "dark"; relabel(); };
relabel();

const value = (row, column) => {
  const cell = row.cells[column], told = cell.dataset.v ?? cell.textContent.trim();
  return told === "–" ? -Infinity : told === "" || Number.isNaN(+told) ? told : +told;
};
const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });

for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      // Numbers go from the largest first, texts from A.
      const numbers = head.className !== "text", before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
      body.append(...rows);
    };
  });
}

for (const box of document.querySelectorAll("[data-filter]")) {
  const rows = [...box.querySelector("tbody").rows], label = document.createElement("label"), field = document.createElement("input");
  field.type = "search";
  label.className = "filter";
  label.append("Filter ", field);
  box.prepend(label);
  field.oninput = () => {
    const wanted = field.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  };
}
