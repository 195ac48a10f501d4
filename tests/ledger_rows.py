"""Rows of the ledger for tests."""

from skipweave.ledger import Row


def row(**changes: object) -> Row:
    """A row whose figure is the printed one, with changed fields."""
    values: dict[str, object] = dict(
        paper="sparsenet",
        table="Table 3",
        row="SparseNet-BC, depth 100, k=12",
        dataset="cifar10",
        quantity="parameters",
        printed="0.37",
        unit="M",
        model="sparsenet_bc100_12",
        overrides={"num_classes": 10},
        expected=367858,
        match="yes",
        note="",
    )
    return Row(**(values | changes))
