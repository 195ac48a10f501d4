import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from skipweave.study.report import result_plots
from skipweave.study.report.result_plots import plot_styles, write_plots
from skipweave.study.results import Network, Results

KEYS = ["parameters", "macs", "inference_ms", "step_ms", "max_distance", "mean_distance", "curves", "loss"]
SVG = {"svg": "http://www.w3.org/2000/svg"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plots")


@pytest.fixture(scope="module")
def written(folder, results):
    return write_plots(folder, results)


@pytest.fixture
def draw_only(monkeypatch):
    """Leave out the plots of other names, whose keys are returned all the same."""
    save = result_plots._save

    def leave_out(*names):
        monkeypatch.setattr(
            result_plots, "_save", lambda draw, path, *rest: path.name in names and save(draw, path, *rest)
        )

    return leave_out


def texts(svg):
    return [
        " ".join("".join(text.itertext()).split()) for text in ElementTree.fromstring(svg).findall(".//svg:text", SVG)
    ]


def test_every_plot_is_written_as_svg_and_png(folder, written):
    assert list(written) == KEYS
    files = sorted(folder.glob("*.svg"))
    assert len(files) == len(KEYS)
    for path in files:  # with the names beside the marks, or in a legend
        assert {"plain", "SparseNet <2>"} <= {*texts(path.read_text())}
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_every_mark_has_the_number_of_its_network(written):
    for key, svg in written.items():
        ids = re.findall(r'id="(model-[^"]*)"', svg)
        assert len(ids) == len(set(ids))
        parts = {"curve", "band"} if key in ("curves", "loss") else {"seeds", "mean", "name"}
        for index in (0, 1):
            own = {re.sub(r"\d", "", one.split("-")[2]) for one in ids if one.split("-")[1] == str(index)}
            assert parts <= own, key
        assert not any(one.split("-")[1] == "2" for one in ids)  # it was not trained


def test_names_are_at_the_marks_and_not_in_a_legend_of_each_plot(written):
    for key, svg in written.items():
        assert ("plain" in texts(svg)) == (key not in ("curves", "loss"))
        assert 'id="legend' not in svg


def test_plots_fit_the_width_of_a_phone_with_text_that_is_not_too_small(written):
    for svg in written.values():
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
        sizes = [float(size) for size in re.findall(r'font(?:-size)?: [^;"]*?([\d.]+)px', svg)]
        assert len(sizes) == svg.count("<text")
        assert min(sizes) * min(1, 358 / width) >= 11


def test_plots_are_the_same_each_time(tmp_path, results, folder, written):
    assert write_plots(tmp_path, results) == written
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_plots_of_what_was_not_measured_are_left_out(tmp_path, results, draw_only):
    draw_only()
    untimed = replace(results, timings={}, runs=tuple(replace(run, curve=()) for run in results.runs))
    assert list(write_plots(tmp_path, untimed)) == ["parameters", "macs", "max_distance", "mean_distance"]


@pytest.mark.parametrize(("worst", "scale"), [(14.0, "linear"), (60.0, "log")])
def test_a_network_that_fails_to_train_does_not_hide_differences(results, worst, scale):
    runs = tuple(replace(run, value=worst if run.label == "plain" else run.value) for run in results.runs)
    figure, named = result_plots._cost_plot(replace(results, runs=(*runs, replace(runs[2], seed=1))), "parameters")
    (axes,) = figure.axes
    assert (axes.get_yscale(), named) == (scale, {"plain", "SparseNet <2>"})
    low, high = axes.get_ylim()
    assert 0 <= low < 1.5 < worst < high


def test_computed_memory_has_a_plot(tmp_path, results, draw_only):
    draw_only("top1_error_vs_training_bytes")
    plain, sparse, broken = results.networks
    known = replace(plain, cost=replace(plain.cost, training_bytes=1_500_000))
    drawn = write_plots(tmp_path, replace(results, networks=(known, sparse, broken)))["training_bytes"]
    assert {"memory of a training step [B]", "plain"} <= {*texts(drawn)}
    assert "SparseNet <2>" not in texts(drawn)  # of which it is not known


def test_without_different_distances_there_is_no_plot_of_them(tmp_path, results, draw_only):
    draw_only()
    plain, sparse, broken = results.networks
    twins = (plain, replace(sparse, cost=replace(sparse.cost, max_distance=5, mean_distance=2.25)), broken)
    assert "max_distance" not in write_plots(tmp_path, replace(results, networks=twins))


def test_lines_join_networks_of_equal_links(tmp_path, results, written, draw_only):
    draw_only("top1_error_vs_mean_distance")
    plain, sparse, broken = results.networks
    alike = replace(sparse, args={"topology": "dense"}, cost=replace(sparse.cost, links=plain.cost.links))
    joined = write_plots(tmp_path, replace(results, networks=(plain, alike, broken)))["mean_distance"]
    assert "15 links" in texts(joined)
    assert "15 links" not in texts(written["mean_distance"])


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
    assert "multiply-accumulates per image until the exit" in texts(write_plots(tmp_path, found)["exits"])
