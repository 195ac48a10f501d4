import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from skipweave.data import DataConfig, load
from skipweave.study.class_results import confusion_of, recalls
from skipweave.study.report.html_report import write_report
from skipweave.study.report.result_plots import write_plots
from skipweave.study.report.verdict import verdict
from skipweave.study.results import Cost, Epoch, Network, Results, Run, Timing
from skipweave.training.tasks.predictions import Predictions

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = "</script><img src=x onerror=alert(1)> & \"quoted\" 'too'"
MOST_BYTES = 2_000_000


class Page(HTMLParser):
    """Tags with their attributes, in order, and text; complains of a tag that does not close the one opened last."""

    def __init__(self, html):
        super().__init__()
        self.html, self.open, self.text, self.tags = html, [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    def all(self, tag, **attributes):
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]


@pytest.fixture(scope="module")
def data():
    return load(DataConfig(augment=False, validation=0))


def with_predictions(results, data):
    """The same with predictions, of which one in ten is wrong."""
    labels, rng = data.test.labels, np.random.default_rng(0)
    runs = []
    for run in results.runs:
        predicted = np.where(rng.random(len(labels)) < 0.1, (labels + 1) % 10, labels)
        known = Predictions(labels, predicted, rng.random(len(labels)))
        found = {"predictions": known, "class_values": recalls(known, 10), "confusion": confusion_of(known, 10)}
        runs.append(run if run.failure else replace(run, **found))
    return replace(results, runs=tuple(runs), test_images=len(labels), classes=data.classes)


def page_of(folder, results, data):
    with pytest.MonkeyPatch.context() as patch:  # files, which take most of the time, are not what is tested
        patch.setattr("skipweave.study.report.result_plots.save_figure", lambda *_: None)
        plots = write_plots(folder / "plots", results)
    picture = folder / "connections_1.svg"
    picture.write_text('<svg viewBox="0 0 9 9"><defs><path id="p1" d="M 0 0"/></defs><use href="#p1"/></svg>')
    write_report(folder / "report.html", results, plots, {s.network.label: picture for s in results.summaries}, data)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory, results, data):
    return page_of(tmp_path_factory.mktemp("report"), with_predictions(results, data), data)


@pytest.fixture(scope="module")
def large(tmp_path_factory, data):
    """Twenty networks with three seeds, a hundred epochs and hostile names."""
    networks, runs, timings = [], [], {}
    rng = np.random.default_rng(0)
    for i in range(20):
        label = f"{HOSTILE} {i}" if i % 2 else f"network {i}"
        networks.append(
            Network(label, "sparsenet40_24", {"x": HOSTILE}, Cost(10_000 + 999 * i, 10**6, 20, 2 + i % 3, 1.5))
        )
        timings[label] = Timing(5 + rng.random(), 9 + rng.random())
        for seed in range(3):
            curve = tuple(Epoch(e, 2 / e + rng.random() / 9, 60 / e, 70 / e + rng.random()) for e in range(1, 101))
            runs.append(Run(label, seed, f"runs/{i}/seed-{seed}/x", 3 + rng.random(), 1.0, curve=curve))
    results = Results(HOSTILE, tuple(networks), tuple(runs), timings, timing_note="medians", commands=(HOSTILE,))
    return page_of(tmp_path_factory.mktemp("large"), with_predictions(results, data), data)


def models_of_plots(page):
    """Networks that have a mark, of each inline SVG with marks."""
    found = []
    for tag, attributes in page.tags:
        if tag == "svg":
            found.append(set())
        elif tag == "g" and "data-model" in attributes:
            found[-1].add(attributes["data-model"])
    return [models for models in found if models]


@pytest.mark.parametrize("name", ["page", "large"])
def test_ids_are_unique_and_references_exist(name, request):
    page = request.getfixturevalue(name)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page.html)
    assert {a or b for a, b in references} <= set(ids)


@pytest.mark.parametrize("name", ["page", "large"])
def test_the_page_loads_nothing_and_runs_its_own_script_only(name, request):
    page = request.getfixturevalue(name)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form"}
    for attributes in (attributes for _, attributes in page.tags):
        for key, value in attributes.items():
            assert not key.startswith("on"), attributes
            assert key not in ("href", "src", "xlink:href") or value.startswith(("#", "data:image/")), attributes
    assert "@import" not in page.html
    assert not re.search(r"url\((?!#)", page.html)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [one["content"] for one in page.all("meta") if "Content-Security-Policy" in one.values()]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_a_large_study_is_small_enough_and_every_plot_has_all_networks(large):
    assert len(large.html.encode()) < MOST_BYTES
    plots = models_of_plots(large)
    assert len(plots) == 8
    assert all(models == {str(i) for i in range(20)} for models in plots)
    assert {row["data-model"] for row in large.all("tr") if "data-model" in row} == plots[0]
    assert {chip["data-model"] for chip in large.all("button", **{"class": "chip"})} == plots[0]


def test_hostile_names_are_text(large):
    assert HOSTILE in large.text  # the title
    assert any(text == f"{HOSTILE} 1" for text in large.text)
    assert not [image for image in large.all("img") if image["src"] == "x"]
    assert len(re.findall("<script", large.html)) == 1


def test_curves_have_a_value_per_point_of_their_path(page, results):
    curves = [attributes["data-values"] for _, attributes in page.tags if "data-values" in attributes]
    assert len(curves) == 4
    assert [pair.split(":")[0] for pair in curves[0].split()] == [str(epoch) for epoch in range(1, 9)]
    assert float(curves[0].split()[0].split(":")[1]) == pytest.approx(results.runs[0].curve[0].val_value, rel=1e-3)
    for path in re.findall(r'data-values="[^"]*"><title>[^<]*</title>\s*<path d="([^"]*)"', page.html):
        assert len(re.findall("[ML]", path)) == 8


def test_the_page_is_complete_without_its_script(page, results):
    positions = [page.words.index(part) for part in (*verdict(results)[:1], "Results", "Plots", "Comparisons")]
    assert positions == sorted(positions)
    for heading in (
        "Results by class",
        "Models",
        "Confusion matrix",
        "Most confident mistakes",
        "Sample images",
        "Every run",
        "How to cite",
    ):
        assert heading in page.words
    for run in results.runs:
        assert run.run_dir in page.words
        assert run.failure in page.words
        assert run.value is None or f"{run.value:.2f}" in page.words
    for network in results.networks:
        assert network.label in page.words
        assert network.failure in page.words
        assert network.cost is None or f"{network.cost.parameters:,}" in page.words
    assert results.commands[0] in page.words
    assert "360 images" in page.words


def test_each_network_has_its_commands(page, results):
    commands = [text for text in page.text if text.startswith(("skipweave predict", "skipweave export"))]
    assert len(commands) == 2 * len(results.summaries)
    for summary in results.summaries:
        run_dir = next(run.run_dir for run in results.runs if run.label == summary.network.label and not run.failure)
        assert sum(run_dir in command for command in commands) == 2


def test_names_that_are_not_utf8_are_escaped(tmp_path, results, data):
    """As that of an image at which a run failed."""
    failed = [replace(run, failure="cannot read caf\udce9.png") for run in results.runs]
    write_report(tmp_path / "report.html", replace(results, runs=tuple(failed)), {}, {}, data)
    assert "cannot read caf\\udce9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_failures_predictions_and_plots_their_sections_are_left_out(tmp_path, results, data):
    clean = replace(results, networks=results.networks[:2], runs=results.runs[:3])
    write_report(tmp_path / "report.html", clean, {}, {}, data)
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert not [
        title for title in ("Not finished", "Results by class", "Confusion", "Plots", "Connections") if title in words
    ]
