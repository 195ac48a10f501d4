import re
from dataclasses import replace

from skipweave.study.report.result_table import cost_section, result_table
from skipweave.study.results import Network, Timing


def columns(table):
    """The cells of the table's body, by heading, without markup."""
    plain = [
        [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table)
    ]
    return dict(zip(plain[0], zip(*plain[1:], strict=True), strict=True))


def test_rows_are_ranked_and_have_what_they_are_sorted_by(results):
    table = result_table(results)
    found = columns(table)
    assert found["model"] == ("SparseNet &lt;2&gt;", "plain")
    assert found["links"] == ("24", "15")
    assert found["difference to the best"][0] == "–"
    assert re.findall(r'<tr data-model="(\d)"', table) == ["1", "0"]
    sparse, _ = re.findall(r"<tr data.*?</tr>", table)
    assert re.findall(r'data-value="([^"]*)"', sparse)[:2] == ["1.5", "30510"]


def test_networks_without_a_known_topology_have_no_links_and_paths(results):
    plain, sparse, broken = results.networks
    unknown = replace(plain, cost=replace(plain.cost, links=0, max_distance=0, mean_distance=0))
    found = columns(result_table(replace(results, networks=(unknown, sparse, broken))))
    assert [found[name][1] for name in ("links", "longest path", "mean path")] == ["–"] * 3
    assert found["links"][0] == "24"


def test_columns_without_any_value_are_left_out(results):
    alone = tuple(
        Network(n.label, n.model, n.args, n.cost and replace(n.cost, links=0), n.failure) for n in results.networks
    )
    found = columns(result_table(replace(results, networks=alone, timings={})))
    assert list(found) == [
        "model",
        "test top-1 error [%]",
        "difference to the best",
        "parameters",
        "MACs",
    ]


def test_costs_are_memory_engines_and_training(results):
    plain, sparse, broken = results.networks
    known = replace(plain, cost=replace(plain.cost, training_bytes=123_456_789, inference_bytes=1_250_000))
    timings = {
        "plain": Timing(1, 2, {"torch": 1.5, "openvino": 0.125}),
        "SparseNet <2>": Timing(1, 2, {"torch": 2.5}, {"openvino": "no <operator>"}),
    }
    runs = tuple(replace(run, energy_wh={"cpu": 0.5}) if run.label == "plain" else run for run in results.runs)
    found = replace(results, networks=(known, sparse, broken), timings=timings, runs=runs, engine_note="by torch 2")
    section = cost_section(found)
    assert columns(section) == {
        "model": ("SparseNet &lt;2&gt;", "plain"),
        "training memory [MB]": ("–", "123 ○"),
        "inference memory [MB]": ("–", "1.25"),
        "PyTorch [ms]": ("2.50", "1.50"),
        "OpenVINO [ms]": ("failed", "0.12"),
        "trained in [s]": ("14.0", "12.2"),
        "processor energy [Wh]": ("–", "0.5"),
    }
    assert 'title="no &lt;operator&gt;"' in section
    assert "Engines: by torch 2." in section
