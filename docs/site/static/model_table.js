// Sorting and filtering of the table of models. Without JavaScript it is a plain table.
"use strict";

(() => {
  const place = document.getElementById("model-table");
  const headers = [...place.querySelectorAll("th")];
  const body = place.querySelector("tbody");
  const rows = [...body.rows];
  const column = (title) => headers.findIndex((header) => header.textContent === title);
  const value = (row, index) => row.cells[index].dataset.value ?? row.cells[index].textContent;
  const [family, parameters, macs] = ["family", "parameters, M", "MACs, G"].map(column);

  function labeled(text, control) {
    const label = document.createElement("label");
    label.append(text, control);
    return label;
  }

  function input(type, placeholder) {
    const control = document.createElement("input");
    Object.assign(control, { type, placeholder, min: 0, step: "any" });
    return control;
  }

  function select(options) {
    const control = document.createElement("select");
    control.append(...options.map((text) => new Option(text)));
    return control;
  }

  const search = input("search", "sparsenet 100");
  const families = select(["all", ...new Set(rows.map((row) => row.cells[family].textContent))]);
  const mostParameters = input("number", "any");
  const mostMacs = input("number", "any");
  const published = select(["all", ...headers.map((header) => header.textContent).slice(macs + 1)]);
  const count = document.createElement("output");
  const form = document.createElement("form");
  form.className = "controls";
  form.append(
    labeled("Name contains", search),
    labeled("Family", families),
    labeled("Parameters, at most M", mostParameters),
    labeled("MACs, at most G", mostMacs),
    labeled("With a figure for", published),
    count,
  );
  place.before(form);

  function isShown(row) {
    const name = row.cells[0].textContent;
    const within = (control, index) => control.value === "" || Number(value(row, index)) <= Number(control.value);
    return (
      search.value.toLowerCase().split(/\s+/).every((word) => name.includes(word)) &&
      (families.value === "all" || row.cells[family].textContent === families.value) &&
      within(mostParameters, parameters) &&
      within(mostMacs, macs) &&
      (published.value === "all" || row.cells[column(published.value)].textContent !== "")
    );
  }

  function filter() {
    rows.forEach((row) => (row.hidden = !isShown(row)));
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} models`;
  }

  // Rows without a figure are last in both directions.
  function sort(header, index) {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    const order = ascending ? 1 : -1;
    rows.sort((a, b) => {
      const [first, second] = [value(a, index), value(b, index)];
      return first === "" || second === "" ? (first === "") - (second === "") : order * compare(first, second);
    });
    body.append(...rows);
  }

  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header, index));
    header.replaceChildren(button);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  filter();
})();
