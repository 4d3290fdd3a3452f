"""Train a joint space on two stores of made-up vectors, and print P@5 beside the value of a random ranking.

Run ``python examples/train_and_evaluate.py``. Replace the made-up stores with your own, as `s2m embed` writes them.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import s2m_ray
from s2m_ray.config.training import FitConfig, ModelConfig
from s2m_ray.joint.checkpoint import seal, write_seed
from s2m_ray.joint.training.epochs import Method

EMOTIONS = ["angry", "happy", "sad"]


def write_store(path: Path, modality: str, dim: int) -> None:
    """Write vectors that lie around one centre for each emotion, 60 for each split."""
    random = np.random.default_rng(dim)
    emotions = EMOTIONS * 60
    splits = [split for split in ("train", "valid", "test") for _ in range(60)]
    centres = dict(zip(EMOTIONS, random.normal(size=(3, dim)), strict=True))
    vectors = [(centres[emotion] + 0.5 * random.normal(size=dim)).tolist() for emotion in emotions]
    ids = [f"{modality}-{number}" for number in range(len(emotions))]
    pq.write_table(pa.table({"item_id": ids, "emotion": emotions, "split": splits, "embedding": vectors}), path)


def main() -> None:
    """Write two stores, train on them, and score the test split."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_store(folder / "speech.parquet", "speech", 16)
        write_store(folder / "music.parquet", "music", 24)
        speech = s2m_ray.read_store(folder / "speech.parquet")
        music = s2m_ray.read_store(folder / "music.parquet")

        optimisation = FitConfig(batch_size=16, epochs=10, warmup_epochs=1, lr=0.01)
        method = Method(ModelConfig(dim=8), optimisation=optimisation)
        trained = s2m_ray.fit(speech, music, method, seeds=(0,))

        model = folder / "model"
        model.mkdir()
        sides = {
            side: {"dim": store.vectors.shape[1], "space_id": store.space_id, "encoder": store.encoder}
            for side, store in (("speech", speech), ("music", music))
        }
        write_seed(model, trained, 0)
        seal(model, model, seeds=trained.seeds, header={**sides, "config": {"model": {"dim": 8}}})

        out = folder / "evaluation"
        out.mkdir()
        checkpoint = s2m_ray.read_checkpoint(model)
        header = s2m_ray.evaluate(speech.labelled("test"), music.labelled("test"), checkpoint, out)
        precision = header["metrics"]["P@5"]
        print(f"P@5 {precision['mean']:.3f}, random ranking {precision['floor']:.3f}")


if __name__ == "__main__":
    main()
