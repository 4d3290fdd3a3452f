"""Count what a manifest holds, split by split; the rows come piece by piece."""

from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NONE = "None"
MISSING = "-"


class Summary:
    """Count the items, hours, speakers and emotions of the rows that are added.

    >>> from s2m_ray.manifest.checks import from_rows
    >>> row = {"item_id": "a", "uri": "/a.wav", "modality": "music", "split": "train", "emotion": "sad"}
    >>> summary = Summary()
    >>> summary.add(from_rows([row | {"duration_s": 5400.0}], "my rows"))
    >>> summary.rows()[1]
    ['train', '1', '1.50', '-', 'sad 1']
    """

    def __init__(self) -> None:
        self.items: Counter[str] = Counter()
        self.emotions: dict[str, Counter[str]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._unknown: Counter[str] = Counter()  # items whose length is not known
        self._speakers: dict[str, set[str]] = {}
        self._texts: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Count some more rows."""
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
        """Return a table for people: the names of the columns, then a row for each split."""
        lines = [["split", "items", "hours", "speakers", "emotions"]]
        for split in self._order():
            tags = self.emotions[split]
            text = ", ".join(f"{tag} {tags[tag]}" for tag in sorted(tags))
            lines.append([split, str(self.items[split]), self._hours(split), self._known_speakers(split), text])
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the counts for scripts, as JSON values."""
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
