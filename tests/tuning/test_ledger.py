"""What is entered is read back; what is broken counts as not there."""

from pathlib import Path

import numpy as np

from s2m_ray.tuning import ledger
from s2m_ray.tuning.ledger import Entry


def entry(key: str = "k", seed: int = 0, **changes: object) -> Entry:
    values = {"MRR": np.array([0.1, 1 / 3]), "P@5": np.array([0.2, 0.4])}
    fields = {
        "key": key,
        "seed": seed,
        "status": "done",
        "best_epoch": 3,
        "epochs": 5,
        "seconds": 1.5,
        "history": [(0, 0.5, 0.25), (1, 0.4, 0.2)],
        "config": {"loss": {"margin": 0.1}},
        "values": values,
    }
    return Entry(**(fields | changes))


def test_entries_come_back_to_the_last_bit(tmp_path: Path) -> None:
    one, two = entry(), entry("other", 7, status="diverged", values={}, history=[])
    for each in (one, two):
        ledger.write(tmp_path, each)
    found = ledger.read(tmp_path)
    assert set(found) == {("k", 0), ("other", 7)}
    back = found["k", 0]
    assert (back.history, back.config, back.seconds) == (one.history, one.config, one.seconds)
    assert all((back.values[name] == value).all() for name, value in one.values.items())
    assert back.mean("MRR") == (0.1 + 1 / 3) / 2
    assert found["other", 7].mean("MRR") is None


def test_broken_and_renamed_files_are_not_there(tmp_path: Path) -> None:
    ledger.write(tmp_path, entry())
    path = ledger.path_of(tmp_path, "k", 0)
    (tmp_path / "k-1.parquet").write_bytes(path.read_bytes())  # says that it is seed 0
    (tmp_path / "k-2.parquet").write_bytes(path.read_bytes()[:-20])
    (tmp_path / "k-3.parquet").write_bytes(b"")
    assert set(ledger.read(tmp_path)) == {("k", 0)}


def test_no_folder_is_an_empty_ledger(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "none") == {}
