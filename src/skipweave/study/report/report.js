"use strict";
// Highlights models, shows values, sorts and filters the table, and copies commands. The page is complete without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const marks = all("svg [data-model], tr[data-model], .chip");
  const picked = new Set();

  function highlight() {
    document.body.classList.toggle("picking", picked.size > 0);
    for (const mark of marks) {
      const on = picked.has(mark.dataset.model);
      mark.classList.toggle("picked", on);
      if (mark.matches(".chip")) mark.setAttribute("aria-pressed", on);
    }
  }

  document.addEventListener("click", (event) => {
    const mark = event.target.closest(".chip, .name, svg [data-model]");
    if (!mark) return;
    const model = mark.closest("[data-model]").dataset.model;
    if (!picked.delete(model)) picked.add(model);
    highlight();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    picked.clear();
    highlight();
  });

  // Tips: the titles of marks at once, and the values of the nearest point of a curve.
  const tip = document.querySelector(".tip");
  const titles = new Map();
  for (const title of all("svg [data-model] > title")) {
    titles.set(title.parentNode, title.textContent);
    title.remove();
  }
  const curves = new Map(); // by SVG: {mark, x, y, text} of every point, in the SVG's units
  for (const mark of all("[data-values]")) {
    const numbers = mark.querySelector("path").getAttribute("d").match(/-?\d+\.?\d*/g).map(Number);
    const points = mark.dataset.values.split(" ").map((pair, index) => {
      const [epoch, value] = pair.split(":");
      return { mark, x: numbers[2 * index], y: numbers[2 * index + 1], text: `epoch ${epoch}: ${value}` };
    });
    const svg = mark.ownerSVGElement;
    curves.set(svg, (curves.get(svg) || []).concat(points));
  }

  function nearest(svg, event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null;
    let least = 20;
    for (const point of curves.get(svg)) {
      const distance = Math.hypot(point.x - at.x, point.y - at.y);
      if (distance < least) [best, least] = [point, distance];
    }
    return best && `${titles.get(best.mark)}\n${best.text}`;
  }

  function textAt(event) {
    const svg = event.target.closest("svg");
    if (svg && curves.has(svg)) return nearest(svg, event);
    const mark = event.target.closest("svg [data-model]");
    if (mark) return titles.get(mark);
    const cell = event.target.closest(".confusion tbody td");
    if (!cell || !cell.textContent) return "";
    const predicted = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent;
    return `true: ${cell.parentNode.cells[0].textContent}\npredicted: ${predicted}\n${cell.textContent} %`;
  }

  document.addEventListener("pointermove", (event) => {
    const text = event.target.closest ? textAt(event) : "";
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    const below = event.clientY + 18;
    tip.style.top = `${below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : below}px`;
  });

  // Sort by a column: numbers by their value, names by their text; missing values are last.
  const key = (row, column) => {
    const cell = row.cells[column];
    return column === 0 ? cell.textContent : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "string" ? a.localeCompare(b) : a - b;
  }
  function sort(table, heading) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of all("th", table.tHead)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, heading.cellIndex), row]);
    rows.sort(([a], [b]) => compare(a, b) * (descending && a !== null && b !== null ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  }
  for (const table of all("table.models")) {
    for (const heading of all("th", table.tHead)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading));
      heading.append(button);
    }
  }

  // Filter by words that a row has all of, with its registered name and overrides; other models leave the plots too.
  const filter = document.querySelector(".filter");
  filter.hidden = false;
  filter.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    const hidden = new Set();
    for (const row of all("table.results tbody tr")) {
      const text = `${row.textContent} ${row.dataset.search}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) hidden.add(row.dataset.model);
    }
    for (const mark of marks) mark.classList.toggle("filtered", hidden.has(mark.dataset.model));
  });

  for (const command of navigator.clipboard ? all("pre.command") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const text = command.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    command.append(button);
  }

  addEventListener("beforeprint", () => all("details").forEach((details) => (details.open = true)));
})();
