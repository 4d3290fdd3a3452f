"""The embedded corpus: emotional speech and music made from acoustic correlates of emotion, no download.

It shows that the whole path works and lets tests hear real files. It is no benchmark: its emotions are
additive rules with noise, and a model that is good on it has learnt the rules of :mod:`s2m_ray.corpora.synth.cues`.
"""

from s2m_ray.corpora.synth.corpus import PIECES, VOICES, write_corpus

__all__ = ["PIECES", "VOICES", "write_corpus"]
