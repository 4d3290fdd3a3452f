"""How much of what a manifest holds, by split; rows come piece by piece."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy import ndarray

NONE = "None"
MISSING = "-"


class Duplicates:
    """Which rows have the very sound, and window, of an earlier one; eight bytes a row are held."""

    def __init__(self) -> None:
        self._parts: list[ndarray] = []
        self._first: ndarray | None = None

    def add(self, table: pa.Table) -> None:
        """Look at rows, in order; one without a checksum is like no other."""
        if "checksum" not in table.column_names:
            self._parts.append(np.array([hash(item_id) for item_id in table["item_id"].to_pylist()], np.int64))
            return
        keys = zip(*(table[name].to_pylist() for name in ("checksum", "start_s", "end_s", "item_id")), strict=True)
        self._parts.append(np.array([hash(key[:3] if key[0] else key[3]) for key in keys], np.int64))

    def _is_first(self) -> ndarray:
        if self._first is None:
            hashes = np.concatenate(self._parts) if self._parts else np.array([], np.int64)
            self._first = np.zeros(len(hashes), bool)
            self._first[np.unique(hashes, return_index=True)[1]] = True
        return self._first

    @property
    def count(self) -> int:
        """How many rows repeat an earlier one."""
        return int((~self._is_first()).sum())

    def without(self, table: pa.Table, first: int) -> pa.Table:
        """The table's rows that repeat none; ``first`` is the number of its first row among all that were added."""
        return table.filter(pa.array(self._is_first()[first : first + table.num_rows]))


class Summary:
    """Counts of the rows that were added."""

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self.emotions: dict[str, Counter[str]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._unknown: Counter[str] = Counter()  # items of which nothing tells the length
        self._speakers: dict[str, set[str]] = {}
        self._texts: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Count rows."""
        table = table.set_column(table.schema.get_field_index("split"), "split", pc.fill_null(table["split"], NONE))
        for split in pc.unique(table["split"]).to_pylist():
            rows = table.filter(pc.equal(table["split"], split))
            self.items[split] += rows.num_rows
            emotions = pc.value_counts(pc.fill_null(rows["emotion"], NONE)).to_pylist()
            self.emotions.setdefault(split, Counter()).update({e["values"]: e["counts"] for e in emotions})
            self._speakers.setdefault(split, set()).update(pc.unique(rows["speaker"].drop_null()).to_pylist())
            is_text = pc.equal(rows["modality"], "text")
            self._texts[split] += pc.sum(is_text).as_py()
            sound = rows.filter(pc.invert(is_text))
            start = pc.fill_null(sound["start_s"], 0.0)
            stop = pc.coalesce(pc.min_element_wise(sound["end_s"], sound["duration_s"], skip_nulls=True))
            seconds = pc.subtract(stop, start)
            self._seconds[split] += pc.sum(seconds).as_py() or 0.0
            self._unknown[split] += seconds.null_count

    def rows(self) -> list[list[str]]:
        """A table for people, by split."""
        found = [["split", "items", "hours", "speakers", "emotions"]]
        for split in self._order():
            tags = self.emotions[split]
            text = ", ".join(f"{tag} {tags[tag]}" for tag in sorted(tags))
            found.append([split, str(self.items[split]), self._hours(split), self._known_speakers(split), text])
        return found

    def to_dict(self) -> dict[str, Any]:
        """For scripts."""
        emotions = sum((self.emotions[split] for split in self._order()), Counter[str]())
        by_split = {
            split: {
                "items": self.items[split],
                "hours": round(self._seconds[split] / 3600, 6),
                "items_of_unknown_length": self._unknown[split],
                "speakers": len(self._speakers[split]),
                "emotions": dict(sorted(self.emotions[split].items())),
            }
            for split in self._order()
        }
        return {
            "items": self.items.total(),
            "splits": {split: self.items[split] for split in self._order()},
            "emotions": dict(sorted(emotions.items())),
            "by_split": by_split,
        }

    def _order(self) -> list[str]:
        known = ("train", "valid", "test", NONE)
        return [split for split in known if split in self.items]

    def _hours(self, split: str) -> str:
        sound, unknown = self.items[split] - self._texts[split], self._unknown[split]
        if unknown == sound:
            return MISSING
        return f"{self._seconds[split] / 3600:.2f}" + (f" + {unknown} items" if unknown else "")

    def _known_speakers(self, split: str) -> str:
        return str(len(self._speakers[split])) if self._speakers[split] else MISSING
