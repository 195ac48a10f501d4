"""docs/site/static/topology.js: the patterns and measures of the explorer equal those of Python."""

import inspect
import json
import math
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from torch import nn

from skipweave import Topology, topology
from skipweave.layers import Concat, Stage, basic_body

SCRIPT = Path(__file__).parents[2] / "docs" / "site" / "static" / "topology.js"
ENGINE = next(filter(None, map(shutil.which, ("node", "chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(ENGINE is None, reason="needs node or chromium")

# All patterns with their defaults, and further values of every option.
SPECS = [
    *topology.names(),
    "exponential(base=3)",
    "exponential(base=7)",
    "window(size=1)",
    "window(size=9)",
    *(f"{pattern}(budget={budget!r})" for pattern in ("nearest", "evenly_spaced") for budget in ("constant", "equal")),
    "nearest_half_and_log(rule='paper')",
    "loglog(min_inputs=4)",
]
GROWTH, ENTRY = 3, 5


def evaluate(code: str, folder: Path) -> str:
    """What a script that has topology.js before it passes to `print`."""
    program = folder / "program.js"
    program.write_text(SCRIPT.read_text(encoding="utf-8") + code, encoding="utf-8")
    if Path(ENGINE).name == "node":
        show = "const print = (text) => process.stdout.write(text);\n"
        program.write_text(show + program.read_text(encoding="utf-8"), encoding="utf-8")
        return subprocess.run([ENGINE, program], check=True, capture_output=True, text=True).stdout
    page = folder / "page.html"
    show = "const print = (text) => document.body.append(text);"
    page.write_text(f"<body><script>{show}</script><script src='program.js'></script></body>", encoding="utf-8")
    command = [ENGINE, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return unescape(shown.rpartition("</script>")[2].partition("</body>")[0])


def call(spec: str) -> tuple[str, dict[str, object]]:
    name, _, arguments = spec.partition("(")
    return name, eval(f"dict({arguments}") if arguments else {}


def reads_in_javascript(sizes: range | list[int], folder: Path) -> list[str]:
    """One line per pattern and number of units."""
    calls = [call(spec) for spec in SPECS]
    code = f"""
    const lines = {json.dumps(calls)}.flatMap(([pattern, options]) =>
        {json.dumps([*sizes])}.map((n) => Topology.make(pattern, n, options).map((s) => s.join()).join(";")));
    print(lines.join("\\n"));"""
    return evaluate(code, folder).split("\n")


def reads_in_python(sizes: range | list[int]) -> list[str]:
    graphs = (topology.make(spec, n) for spec in SPECS for n in sizes)
    return [";".join(",".join(map(str, sources)) for sources in graph.reads) for graph in graphs]


@pytest.mark.parametrize(
    "sizes", [[*range(17), 40], pytest.param(range(201), marks=pytest.mark.slow)], ids=["few", "to 200"]
)
def test_every_pattern_equals_that_of_python(sizes, tmp_path):
    found, expected = reads_in_javascript(sizes, tmp_path), reads_in_python(sizes)
    assert len(found) == len(SPECS) * len(sizes)
    assert [number for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]] == []


def test_patterns_and_options_are_those_of_python(tmp_path):
    code = """
    print(JSON.stringify(Object.entries(Topology.patterns).map(([name, [, options = {}]]) =>
        [name, Object.entries(options).map(([option, { initial }]) => [option, initial])])));"""
    found = {name: dict(options) for name, options in json.loads(evaluate(code, tmp_path))}
    patterns = {name: inspect.signature(getattr(topology, name)).parameters for name in topology.names()}
    options = {
        name: {option: parameters[option].default for option in parameters if option not in ("n", "hubs")}
        for name, parameters in patterns.items()
    }
    assert found == options


def most_live_channels(graph: Topology) -> int:
    """Channels of the largest set of nodes that exist at a time: computed, and read by a later node or the reader."""
    widths = [ENTRY, *[GROWTH] * graph.units]
    live = [
        sum(widths[node] for node in range(unit + 1) if node == unit or graph.last_readers[node] >= unit)
        for unit in range(graph.units + 1)
    ]
    return max(live)


def parameters_of_stage(graph: Topology) -> int:
    widths = [ENTRY, *[GROWTH] * graph.units]
    stage = Stage(graph, Concat(), nn.Identity(), widths, basic_body)
    return sum(layer.weight.numel() for layer in stage.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("n", [0, 1, 12, 15])
def test_measures_equal_those_of_python(n, tmp_path):
    code = f"""
    print(JSON.stringify({json.dumps([call(spec) for spec in SPECS])}.map(([pattern, options]) =>
        Object.values(Topology.measures(Topology.make(pattern, {n}, options), {GROWTH}, {ENTRY}))
            .map((value) => (value === Infinity ? "inf" : value)))));"""
    for spec, found in zip(SPECS, json.loads(evaluate(code, tmp_path)), strict=True):
        graph = topology.make(spec, n)
        widths = [ENTRY, *[GROWTH] * n]
        expected = [
            graph.links,
            graph.max_in_degree,
            graph.max_distance,
            graph.mean_distance,
            parameters_of_stage(graph),
            most_live_channels(graph),
            sum(widths[node] for node in graph.output),
        ]
        assert [math.inf if value == "inf" else value for value in found] == pytest.approx(expected), spec
