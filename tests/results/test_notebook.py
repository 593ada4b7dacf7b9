"""The notebook in docs: its cells run, say what is stored, and tell of no machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"


def outputs(cell: dict) -> list[str]:
    """What a cell printed or gave as text; of objects their kind, of pictures that they are one."""
    told = []
    for one in cell.get("outputs", []):
        if one["output_type"] == "stream":
            told.append("".join(one["text"]))
        else:
            assert one["output_type"] in ("execute_result", "display_data"), one
            told.append("".join(one["data"]["text/plain"]))
            told += sorted(kind for kind in one["data"] if kind in ("text/html", "image/jpeg"))
    return told


def test_it_is_small_executed_and_of_no_machine() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|work|tmp|Users|usr)/|[A-Z]:\\\\|0x[0-9a-f]{6,}", text)
    stored = json.loads(text)
    cells = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)


def test_its_cells_run_and_give_what_is_stored(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    expected = [outputs(cell) for cell in stored.cells if cell.cell_type == "code"]
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(tmp_path)}}  # it needs nothing of where it runs
    nbclient.NotebookClient(fresh, timeout=300, resources=resources).execute()
    assert [outputs(cell) for cell in fresh.cells if cell.cell_type == "code"] == expected
    assert sum("text/html" in told for told in expected) == 1
    assert sum("image/jpeg" in told for told in expected) == 3
