// The explorer of topologies: controls, matrix, arcs and measures of one stage. The patterns are those of topology.js.
"use strict";

(() => {
  const place = document.getElementById("explorer");
  const [GROWTH, MOST_UNITS] = [12, 200];

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function drawing(label) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", label);
    return made;
  }

  function shape(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  }

  const pattern = element("select", {}, ...Object.keys(Topology.patterns).map((name) => new Option(name)));
  pattern.value = "exponential";
  const units = element("input", { type: "number", min: 1, max: MOST_UNITS, value: 12 });
  const slider = element("input", { type: "range", min: 1, max: MOST_UNITS, value: 12, ariaLabel: "Units" });
  const growth = element("input", { type: "number", min: 1, max: 512, value: GROWTH });
  const optionPlace = element("span", { className: "option" });
  const form = element(
    "form",
    { className: "controls" },
    element("label", {}, "Pattern", pattern),
    element("label", {}, "Units", units),
    element("label", {}, "Depth", slider),
    optionPlace,
    element("label", {}, "Growth", growth),
  );
  const table = element("table");
  const matrix = drawing("Matrix of links");
  const arcs = drawing("Arcs of links");
  const pointed = element("p", { className: "pointed" });
  const code = element("code");
  const figures = element("div", { className: "figures" }, matrix, table);
  place.replaceChildren(form, figures, pointed, arcs, element("pre", {}, code));

  const number = (value) => (value === Infinity ? "∞" : value.toLocaleString("en", { maximumFractionDigits: 2 }));
  const known = () => Object.entries(Topology.patterns[pattern.value][1] ?? {})[0];

  function showOption(given) {
    optionPlace.replaceChildren();
    if (!known()) return;
    const [name, { initial, choices, least, most }] = known();
    const control = choices
      ? element("select", { name }, ...choices.map((text) => new Option(text)))
      : element("input", { name, type: "number", min: least, max: most });
    control.value = given ?? initial;
    optionPlace.append(element("label", {}, name, control));
  }

  // An integer within the limits of its control.
  function whole(control) {
    const value = Math.round(Number(control.value)) || Number(control.min);
    return Math.min(Math.max(value, Number(control.min)), Number(control.max));
  }

  function options() {
    const control = optionPlace.querySelector("select, input");
    if (!control) return {};
    return { [control.name]: control.type === "number" ? whole(control) : control.value };
  }

  function drawMatrix(reads) {
    const squares = reads.flatMap((sources, row) => sources.map((source) => `M${source} ${row + 1}h1v1h-1z`));
    matrix.setAttribute("viewBox", `-0.5 -0.5 ${reads.length + 1} ${reads.length + 2}`);
    const stairs = reads.map(() => "h1v1").join("");
    matrix.replaceChildren(
      shape("path", { class: "possible", d: `M0 1${stairs}H0z` }),
      shape("path", { class: "links", d: squares.join("") }),
    );
  }

  function drawArcs(reads) {
    const nodes = reads.length + 1;
    const lines = reads.flatMap((sources, row) =>
      sources.map((source) => {
        const radius = (row + 1 - source) / 2;
        return `M${source} 0A${radius} ${radius} 0 0 1 ${row + 1} 0`;
      }),
    );
    const dots = Array.from({ length: nodes }, (_, node) => shape("circle", { cx: node, cy: 0, r: 0.15 }));
    const height = Math.max(1, ...reads.map((sources, row) => (row + 1 - Math.min(...sources)) / 2));
    arcs.setAttribute("viewBox", `-0.5 ${-height - 0.5} ${nodes} ${height + 1}`);
    arcs.replaceChildren(shape("path", { class: "lines", d: lines.join("") }), ...dots);
  }

  function drawTable(reads, count) {
    const [ours, dense] = [reads, Topology.make("dense", count)].map((graph) =>
      Topology.measures(graph, whole(growth), 2 * whole(growth)),
    );
    const rows = [
      ["Links", "links"],
      ["Most sources of a unit", "mostSources"],
      ["Longest distance", "longest"],
      ["Mean distance", "mean"],
      ["Cost: weights", "parameters"],
      ["Memory: channels", "inference"],
      ["Output: channels", "output"],
    ];
    const cells = (tag, texts) => element("tr", {}, ...texts.map((text) => element(tag, {}, text)));
    table.replaceChildren(
      cells("th", ["", pattern.value, "dense"]),
      ...rows.map(([title, key]) => cells("td", [title, number(ours[key]), number(dense[key])])),
    );
  }

  function describe(reads, row) {
    const name = row === reads.length - 1 ? "The stage's reader" : `Node ${row + 1}`;
    pointed.textContent = `${name} reads ${reads[row].join(", ")}.`;
  }

  function python() {
    const values = Object.entries(options()).map(([name, value]) => `${name}=${JSON.stringify(value).replaceAll('"', "'")}`);
    const [, { initial } = {}] = known() ?? [];
    const isDefault = String(Object.values(options())[0]) === String(initial);
    const spec = values.length && !isDefault ? `${pattern.value}(${values})` : pattern.value;
    return `skipweave.create_model("sparsenet40_24", units=${whole(units)}, growth=${whole(growth)}, topology="${spec}")`;
  }

  let reads = [];
  function draw() {
    const count = whole(units);
    reads = Topology.make(pattern.value, count, options());
    drawMatrix(reads);
    drawArcs(reads);
    drawTable(reads, count);
    describe(reads, reads.length - 1);
    code.textContent = python();
    const state = { pattern: pattern.value, units: count, growth: whole(growth), ...options() };
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  }

  // The address has the state, so that it can be sent to others.
  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (state.get("pattern") in Topology.patterns) pattern.value = state.get("pattern");
    units.value = slider.value = state.get("units") ?? units.value;
    growth.value = state.get("growth") ?? growth.value;
    showOption(known() && state.get(known()[0]));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === pattern) showOption();
    if (event.target === slider) units.value = slider.value;
    else slider.value = whole(units);
    draw();
  });
  matrix.addEventListener("pointermove", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.getScreenCTM().inverse());
    const row = Math.floor(point.y) - 1;
    if (reads[row]) describe(reads, row);
  });
  restore();
  draw();
})();
