// The topology patterns of skipweave.topology and their measures, for the explorer.
// tests/site/test_topology_js.py compares every pattern with Python's.
"use strict";

const Topology = (() => {
  const range = (first, end) => Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i);
  const unique = (nodes) => [...new Set(nodes)].sort((a, b) => b - a);
  const log2 = (i) => 31 - Math.clz32(i); // floor(log2(i)) without rounding errors
  const divides = (power, i) => i % 2 ** power === 0;
  const byRule = (n, sources) => range(1, n + 2).map((i) => unique(sources(i)));

  function steps(i, base) {
    const offsets = [];
    for (let offset = 1; offset <= i; offset *= base) offsets.push(i - offset);
    return offsets;
  }

  function budgetOf(budget, n) {
    return budget === "constant" ? () => 1 + log2(n + 1) : (i) => 1 + log2(i);
  }

  function evenlySpaced(n, { budget }) {
    if (budget !== "log") {
      const count = budgetOf(budget, n);
      return byRule(n, (i) => range(0, count(i)).map((k) => i - 1 - Math.floor((k * i) / count(i))));
    }
    return byRule(n, (i) => {
      const step = i > 1 ? i / Math.log2(i) : i;
      return range(0, i).filter((k) => k * step <= i - 1).map((k) => Math.floor(i - 1 - k * step + 0.5));
    });
  }

  function nearestHalfAndLog(n, { rule }) {
    return byRule(n, (i) => {
      let position = Math.floor(i / 2);
      const sources = range(position, i);
      if (rule === "paper") return [...sources, ...range(2, log2(i) + 1).map((power) => i >> power)];
      while (position > 0) {
        position = Math.floor((position - 1) / 2);
        sources.push(position);
      }
      return sources;
    });
  }

  function fractal(n) {
    const ends = [[0]];
    const reads = [];
    let position = 0;
    while (reads.length < n) {
      position += 1;
      const columns = range(0, log2(position) + 1).filter((c) => divides(c, position)).slice(0, n - reads.length);
      ends[position] = columns.map((_, c) => reads.length + 1 + c);
      reads.push(...columns.map((c) => unique(ends[position - 2 ** c])));
    }
    return [...reads, unique(ends[position])];
  }

  // The first node, and every floor(sqrt(length))-th down from the last, in ascending order.
  function marks(first, last) {
    const step = Math.floor(Math.sqrt(last - first + 1));
    const found = new Set([first]);
    for (let node = last; node >= first; node -= step) found.add(node);
    return [...found].sort((a, b) => a - b);
  }

  function loglog(n, { min_inputs }) {
    const reads = [new Set(), ...range(1, n + 1).map((i) => new Set([i - 1]))];
    const intervals = [[0, n]];
    while (intervals.length) {
      const [first, last] = intervals.pop();
      if (last - first <= 1) continue;
      const hubs = marks(first, last);
      for (const [index, high] of hubs.slice(1).entries()) {
        const low = hubs[index];
        hubs.filter((hub) => hub < high).forEach((hub) => reads[high].add(hub));
        range(low + 1, high + 1).forEach((node) => reads[node].add(low));
        intervals.push([low, high]);
      }
    }
    range(1, n + 1).forEach((node) => {
      for (const source of steps(node, 2)) if (reads[node].size < min_inputs) reads[node].add(source);
    });
    return [...reads.slice(1), new Set([n, ...reads[n]])].map(unique);
  }

  const number = (initial, least, most) => ({ initial, least, most });
  const choice = (...choices) => ({ initial: choices[0], choices });
  const budget = choice("log", "constant", "equal");

  // Each pattern: its rule, and its option, if it has one.
  const patterns = {
    plain: [(n) => byRule(n, (i) => [i - 1])],
    dense: [(n) => byRule(n, (i) => range(0, i))],
    exponential: [(n, { base }) => byRule(n, (i) => steps(i, base)), { base: number(2, 2, 16) }],
    window: [(n, { size }) => byRule(n, (i) => range(Math.max(0, i - size), i)), { size: number(4, 1, 200) }],
    nearest: [
      (n, { budget }) => byRule(n, (i) => range(Math.max(0, i - budgetOf(budget, n)(i)), i)),
      { budget },
    ],
    evenly_spaced: [evenlySpaced, { budget }],
    nearest_half: [(n) => byRule(n, (i) => range(Math.floor(i / 2), i))],
    every_other: [(n) => byRule(n, (i) => range(0, i).filter((source) => (i - source) % 2))],
    nearest_half_and_log: [nearestHalfAndLog, { rule: choice("code", "paper") }],
    loglog: [loglog, { min_inputs: number(1, 1, 16) }],
    harmonic: [(n) => byRule(n, (i) => range(0, log2(i) + 1).filter((k) => divides(k, i)).map((k) => i - 2 ** k))],
    fractal: [fractal],
  };

  // For each of the nodes 1..n and the stage's reader, the nodes that it reads, newest first.
  function make(pattern, n, options = {}) {
    const [rule, known = {}] = patterns[pattern];
    const defaults = Object.fromEntries(Object.entries(known).map(([name, option]) => [name, option.initial]));
    return rule(n, { ...defaults, ...options });
  }

  // Longest and mean back-propagation distance over all pairs of the nodes 0..n.
  function distances(reads) {
    const rows = [[0]];
    let [sum, longest] = [0, 0];
    reads.slice(0, -1).forEach((sources, index) => {
      const node = index + 1;
      const row = range(0, node).map((j) => 1 + Math.min(...sources.map((s) => (j > s ? Infinity : rows[s][j]))));
      row.forEach((distance) => {
        sum += distance;
        longest = Math.max(longest, distance);
      });
      rows.push([...row, 0]);
    });
    const pairs = ((rows.length - 1) * rows.length) / 2;
    return { longest, mean: pairs ? sum / pairs : 0 };
  }

  // Links, distances, cost and memory of a stage of 3x3 convolutions that reads by concatenation.
  function measures(reads, growth, entry) {
    const units = reads.slice(0, -1);
    const width = (node) => (node ? growth : entry);
    const read = (sources) => sources.reduce((sum, source) => sum + width(source), 0);
    const last = range(0, units.length + 1);
    reads.forEach((sources, index) => sources.forEach((source) => (last[source] = index + 1)));
    const live = units.map((_, index) =>
      range(0, index + 2).reduce((sum, node) => sum + (last[node] > index || node > index ? width(node) : 0), 0),
    );
    const { longest, mean } = distances(reads);
    return {
      links: units.reduce((sum, sources) => sum + sources.length, 0),
      mostSources: Math.max(0, ...units.map((sources) => sources.length)),
      longest,
      mean,
      parameters: units.reduce((sum, sources) => sum + 9 * read(sources) * growth, 0),
      inference: Math.max(entry, ...live), // channels of the nodes that are still read, at most
      output: read(reads[units.length]),
    };
  }

  return { patterns, make, measures };
})();

if (typeof module !== "undefined") module.exports = Topology;
