from dataclasses import replace
from xml.etree import ElementTree

from skipweave.study.plots import looks, write_plots
from skipweave.study.results import Network, Results


def test_every_plot_is_written_as_svg_and_png(tmp_path, results):
    written = write_plots(tmp_path / "plots", results)
    assert list(written) == ["parameters", "macs", "inference_ms", "step_ms", "curves"]
    for path in written.values():
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert "plain" in text
        assert "SparseNet <2>" in text
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_plots_are_the_same_each_time(tmp_path, results):
    first, second = (write_plots(tmp_path / name, results) for name in "ab")
    assert all(first[key].read_bytes() == second[key].read_bytes() for key in first)


def test_plots_of_what_was_not_measured_are_left_out(tmp_path, results):
    untimed = replace(results, timings={}, runs=tuple(replace(run, curve=()) for run in results.runs))
    assert list(write_plots(tmp_path, untimed)) == ["parameters", "macs"]


def test_nothing_finished_draws_nothing(tmp_path, results):
    assert write_plots(tmp_path, replace(results, runs=())) == {}


def test_twenty_networks_look_different():
    networks = tuple(Network(str(i), "m", {}) for i in range(20))
    assert len(set(looks(Results("t", networks, ())).values())) == 20
