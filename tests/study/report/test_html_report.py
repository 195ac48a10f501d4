import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from skipweave.study.report.html_report import write_report
from skipweave.study.report.result_plots import write_plots
from skipweave.study.report.verdict import verdict

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Checker(HTMLParser):
    """Collects text, ids and attributes, and complains of a tag that does not close the one opened last."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp("report")
    plots = write_plots(folder / "plots", results)
    pictures = {"plain": plots["macs"]}  # any SVG will do
    write_report(folder / "report.html", results, plots, pictures)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checked(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


def test_it_is_well_formed(checked):
    assert checked.open == []


def test_ids_are_unique_and_references_exist(page, checked):
    ids = [value for _, name, value in checked.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)
    assert {a or b for a, b in references} <= set(ids)


def test_the_page_loads_no_other_files(page, checked):
    assert "http:" not in page
    assert "https:" not in page
    tags = {tag for tag, _, _ in checked.attributes}
    assert not tags & {"script", "link", "img", "iframe"}
    assert all(value.startswith("#") for _, name, value in checked.attributes if name in ("href", "src"))
    assert "@import" not in page


def test_the_answer_comes_first(checked, results):
    text = "".join(checked.text)
    headings = (
        "Results",
        "Comparisons",
        "Test top-1 error against cost",
        "Back-propagation distance",
        "Learning curves",
    )
    positions = [text.index(part) for part in (*verdict(results), *headings)]
    assert positions == sorted(positions)


def test_every_network_run_and_failure_is_listed(checked, results):
    text = " ".join("".join(checked.text).split())
    for run in results.runs:
        assert run.run_dir in text
        assert run.failure in text
        assert run.value is None or f"{run.value:.2f}" in text
    for network in results.networks:
        assert network.label in text
        assert network.failure in text
        assert network.cost is None or f"{network.cost.parameters:,}" in text
    assert results.commands[0] in text
    assert "360 images" in text


def test_names_that_are_not_utf8_are_escaped(tmp_path, results):
    """As that of an image at which a run failed."""
    failed = [replace(run, failure="cannot read caf\udce9.png") for run in results.runs]
    write_report(tmp_path / "report.html", replace(results, runs=tuple(failed)), {}, {})
    assert "cannot read caf\\udce9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_failures_none_are_listed(tmp_path, results):
    clean = replace(results, networks=results.networks[:2], runs=results.runs[:3])
    write_report(tmp_path / "report.html", clean, {}, {})
    assert "Not finished" not in (tmp_path / "report.html").read_text(encoding="utf-8")
