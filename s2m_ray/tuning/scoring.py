"""Score models on the split that a sweep chooses by, with the metrics of an evaluation."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.items import music_map
from s2m_ray.evaluation.evaluate import score
from s2m_ray.evaluation.ranking import Here, Search
from s2m_ray.evaluation.relevance import Qrels, random_floor
from s2m_ray.joint.heads import JointModel
from s2m_ray.joint.projection import project
from s2m_ray.search.order import positions
from s2m_ray.stores.gallery import Gallery
from s2m_ray.stores.store import Store

Values = dict[str, Float[ndarray, "seeds queries"]]


class Scorer:
    """Compute P@k, MRR and nDCG@k of models on one split, as an evaluation computes them."""

    def __init__(self, speech: Store, music: Store, k: int) -> None:
        """Take the labelled queries, the labelled gallery, and the cut-off rank."""
        self._speech, self._gallery, self._k = speech, Gallery.of(music), k
        self._qrels = Qrels.of(speech, self._gallery, music_map([speech.items], music.items))
        self.metrics = (f"P@{k}", "MRR", f"nDCG@{k}")

    def floors(self) -> dict[str, Float[ndarray, " queries"]]:
        """Return what a random ranking gives on average, for each metric and query."""
        ideal = self._qrels.ideal(self._k)
        return {name: random_floor(name, self._qrels, ideal, self._k) for name in self.metrics}

    def values(self, model: JointModel) -> Values:
        """Return the value of each metric, seed and query."""
        joint = project(model, "speech", self._speech.vectors)
        item_positions = positions(self._gallery.items["item_id"])
        search = Search(self._gallery.vectors, model, joint, self._qrels.targets, self._qrels.codes, item_positions)
        scored = score(
            Here(search, threads=1),
            search,
            self._qrels,
            k=self._k,
            depth=self._k,
            sample=np.zeros(0, dtype=np.int64),
            full=False,
            parity=False,
        )
        return {name: scored.values[name] for name in self.metrics}
