"""Hold the manual label maps of the papers, from speech and text emotions to music emotions."""

from s2m_ray.emotions.maps import LabelMap

# Source: the code of Doh et al. 2022, the earlier version of the speech-to-music system with masking fusion.
MANUAL_SPEECH: LabelMap = {
    "angry": ("angry", "scary"),
    "anger": ("angry", "scary"),
    "happy": ("happy", "exciting", "funny", "tender"),
    "neutral": ("noise",),
    "sad": ("sad",),
    "surprised": ("exciting",),
    "fearful": ("scary",),
    "fear": ("scary",),
    "disgust": ("scary", "angry"),
}
# Source: Won et al., ISMIR 2021, arXiv:2111.13468; the maps for ISEAR and Alm in their code.
MANUAL_TEXT: LabelMap = {
    "anger": ("angry",),
    "disgust": ("angry", "scary"),
    "fear": ("scary",),
    "fearful": ("scary",),
    "guilt": ("sad", "angry"),
    "happy": ("happy", "exciting", "funny"),
    "joy": ("happy", "exciting", "funny"),
    "sad": ("sad",),
    "sadness": ("sad",),
    "shame": ("angry", "sad"),
    "surprised": ("exciting",),
}
# The same source: the nearest music label by the cosine of word2vec vectors, as the authors found it.
WORD_TEXT: LabelMap = {
    "anger": ("angry",),
    "disgust": ("angry",),
    "fear": ("angry",),
    "fearful": ("scary",),
    "guilt": ("angry",),
    "happy": ("happy",),
    "joy": ("tender",),
    "sad": ("sad",),
    "sadness": ("tender",),
    "shame": ("sad",),
    "surprised": ("happy",),
}
