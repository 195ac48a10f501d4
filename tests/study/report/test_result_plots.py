from dataclasses import replace
from xml.etree import ElementTree

import pytest

from skipweave.study.report import result_plots
from skipweave.study.report.result_plots import plot_styles, write_plots
from skipweave.study.results import Network, Results


@pytest.fixture(scope="module")
def written(tmp_path_factory, results):
    return write_plots(tmp_path_factory.mktemp("plots"), results)


@pytest.fixture
def draw_only(monkeypatch):
    """Leave out the plots of other names, which are told all the same."""
    save = result_plots._save

    def leave_out(*names):
        monkeypatch.setattr(
            result_plots, "_save", lambda draw, path, *rest: path.name in names and save(draw, path, *rest)
        )

    return leave_out


def test_every_plot_is_written_as_svg_and_png(written):
    assert list(written) == ["parameters", "macs", "inference_ms", "step_ms", "distance", "curves"]
    for path in written.values():
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert "plain" in text
        assert "SparseNet <2>" in text
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_plots_are_the_same_each_time(tmp_path, results, written):
    again = write_plots(tmp_path, results)
    for key, path in written.items():
        for suffix in (".svg", ".png"):
            assert path.with_suffix(suffix).read_bytes() == again[key].with_suffix(suffix).read_bytes()


def test_plots_of_what_was_not_measured_are_left_out(tmp_path, results, draw_only):
    draw_only()
    untimed = replace(results, timings={}, runs=tuple(replace(run, curve=()) for run in results.runs))
    assert list(write_plots(tmp_path, untimed)) == ["parameters", "macs", "distance"]


def test_without_different_distances_there_is_no_plot_of_them(tmp_path, results, draw_only):
    draw_only()
    plain, sparse, broken = results.networks
    twins = (plain, replace(sparse, cost=replace(sparse.cost, max_distance=5, mean_distance=2.25)), broken)
    assert "distance" not in write_plots(tmp_path, replace(results, networks=twins))


def test_lines_join_networks_of_equal_links(tmp_path, results, written, draw_only):
    draw_only("top1_error_vs_distance")
    plain, sparse, broken = results.networks
    alike = replace(sparse, args={"topology": "dense"}, cost=replace(sparse.cost, links=plain.cost.links))
    joined = write_plots(tmp_path, replace(results, networks=(plain, alike, broken)))["distance"]
    assert "15 links" in joined.read_text()
    assert "15 links" not in written["distance"].read_text()


def test_nothing_finished_draws_nothing(tmp_path, results):
    assert write_plots(tmp_path, replace(results, runs=())) == {}


def test_twenty_networks_look_different():
    networks = tuple(Network(str(i), "m", {}) for i in range(20))
    assert len(set(plot_styles(Results("t", networks, ())).values())) == 20


def test_exits_are_drawn_as_lines_where_there_are_some(tmp_path, results, draw_only):
    draw_only("top1_error_vs_exits")
    plain, sparse, broken = results.networks
    with_exits = replace(plain, cost=replace(plain.cost, exit_macs=(500_000, 1_100_000, 1_600_000)))
    runs = tuple(replace(run, exit_values=(9.0, 5.0) if run.label == "plain" else ()) for run in results.runs)
    found = replace(results, networks=(with_exits, sparse, broken), runs=runs)
    assert found.summaries[0].exit_values == (9.0, 5.0)
    assert "until the exit" in write_plots(tmp_path, found)["exits"].read_text()
