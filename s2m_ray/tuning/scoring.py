"""Score models on the split that a sweep chooses by, with the metrics of an evaluation."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from s2m_ray.emotions.items import emotion_codes, own_points
from s2m_ray.emotions.maps import max_map
from s2m_ray.evaluation import metrics
