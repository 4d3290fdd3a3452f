"""The page is written from folders of this file's own making: unit vectors, short tones, no model."""

import base64
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from support.tiny_audio import encoded

from s2m_ray.audio import excerpts as clips
from s2m_ray.errors import DecodeError, EvaluationError
from s2m_ray.files.addresses import member_uri
from s2m_ray.report import players, projection
from s2m_ray.report.page import write_report
from s2m_ray.report.style import COLOURS, flat, number, palette

STRINGS = ("item_id", "modality", "uri", "corpus", "emotion", "speaker", "text")
ITEMS = pa.schema(
    {name: pa.string() for name in STRINGS}
    | {"start_s": pa.float64(), "end_s": pa.float64(), "vector": pa.list_(pa.float32())}
)
RUN = pa.schema(
    {"seed": pa.int32(), "query_id": pa.string(), "rank": pa.int32(), "item_id": pa.string()}
    | {"score": pa.float32(), "relevance": pa.float32(), "hit": pa.bool_()}
)
HOSTILE = [
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "</title></svg><b>' onload='x",
]


def cell(mean: float) -> dict:
    return {
        "mean": mean,
        "std": 0.01,
        "per_seed": [mean, mean],
        "ci95": [mean - 0.1, mean + 0.1],
        "floor": 0.25,
    }


def fake_evaluation(folder: Path, *, emotions=("angry", "sad"), gallery: int = 5, mean=0.5, **header) -> Path:
    """One query an emotion, a gallery of tones; seed 0 ranks it in order, seed 1 begins with the second."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, run = [], []
    for modality, count in (("speech", len(emotions)), ("music", gallery)):
        for i in range(count):
            uri = folder / f"{modality}{i}.wav"
            tone = 0.1 * np.sin(np.arange(4000) * (0.1 + 0.02 * len(rows)))
            soundfile.write(uri, tone, 8000)
            vector = rng.standard_normal(4)
            rows.append(
                {
                    "item_id": f"{modality}{i}",
                    "modality": modality,
                    "uri": str(uri),
                    "corpus": "fake",
                    "emotion": emotions[i % len(emotions)],
                    "speaker": None,
                    "text": "a sentence",
                    "vector": (vector / np.linalg.norm(vector)).tolist(),
                }
            )
    for seed in (0, 1):
        for q in range(len(emotions)):
            for rank in range(1, gallery + 1):
                found = (rank - 1 + seed) % gallery
                run.append(
                    {
                        "seed": seed,
                        "query_id": f"speech{q}",
                        "rank": rank,
                        "item_id": f"music{found}",
                        "score": 1 - rank / 10,
                        "relevance": 0.5,
                        "hit": rank == 1,
                    }
                )
    write(folder, rows, run)
    metrics = {"P@5": cell(mean), "MRR": cell(mean), "nDCG@5": cell(0.9)}
    per_emotion = {e: {"queries": 1, "target": e, "metrics": metrics} for e in emotions}
    content = {
        "queries": len(emotions),
        "gallery": gallery,
        "seeds": [0, 1],
        "synthetic": False,
        "label_map": {e: e for e in emotions},
        "metrics": metrics,
        "per_emotion": per_emotion,
        "speech": {"corpus": ["fake"], "split": "valid", "encoder": "spectral", "items_sha256": str(emotions)},
        "music": {"corpus": ["fake"], "split": "valid", "encoder": "spectral", "items_sha256": str(gallery)},
        "config": {"model": None, "loss": {"framework": "triplet", "margin": 0.4, "emo_lambda": 1.0}},
        "versions": {"s2m_ray": "0.1.0"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    (folder / "evaluation.json").write_text(json.dumps(content | header))
    return folder


def write(folder: Path, rows: list[dict] | None = None, run: list[dict] | None = None) -> None:
    if rows is not None:
        pq.write_table(pa.Table.from_pylist(rows, schema=ITEMS), folder / "items.parquet")
    if run is not None:
        pq.write_table(pa.Table.from_pylist(run, schema=RUN), folder / "run.parquet")


def items_of(folder: Path) -> list[dict]:
    return pq.read_table(folder / "items.parquet", partitioning=None).to_pylist()


def page(root: Path, **options) -> str:
    return write_report(root, root.parent / "out" / "page.html", **options).read_text(encoding="utf-8")


class Parsed(html.parser.HTMLParser):
    """Every element with its attributes, every text; fails on tags that do not nest."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, *tags: str) -> list[dict]:
        return [attrs for tag, attrs in self.elements if tag in tags]


# The page


def test_page_has_its_parts(tmp_path):
    fake_evaluation(tmp_path / "root" / "one")
    text = page(tmp_path / "root")
    parsed = Parsed(text)
    assert [attrs.get("lang") for attrs in parsed.all("html")] == ["en"]
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for part in (
        "0.500",
        "± 0.010",
        "CI 0.400 – 0.600",
        "floor 0.250",
        "not picked by hand",
        "by PCA",
        "triplet",
    ):
        assert part in text, part
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in parsed.all("a")} <= set(ids)


def test_banner_says_synthetic_only_where_it_is(tmp_path):
    fake_evaluation(tmp_path / "root" / "a")
    assert "The corpus is synthetic:" not in page(tmp_path / "root")
    fake_evaluation(tmp_path / "root" / "b", synthetic=True)
    assert "The corpus is synthetic:</strong> in b, nobody" in page(tmp_path / "root")


def test_audio_elements_are_one_a_query_and_one_a_found_item(tmp_path):
    fake_evaluation(tmp_path / "root" / "one")
    players = Parsed(page(tmp_path / "root")).all("audio")
    assert len(players) == 2 * (1 + 5)
    assert all(attrs["src"].startswith("data:audio/mpeg;base64,") for attrs in players)
    assert all(attrs["preload"] == "none" and attrs["aria-label"] and "controls" in attrs for attrs in players)


def test_only_the_first_seed_is_played(tmp_path):
    fake_evaluation(tmp_path / "root" / "one", seeds=[1, 0])
    found = re.findall(r'aria-label="Music, rank 1, (\S+),', page(tmp_path / "root"))
    assert found == ["music1", "music1"]  # seed 1 begins with the second piece


def test_queries_are_drawn_not_picked(tmp_path):
    fake_evaluation(tmp_path / "root" / "one", emotions=("angry",) * 4)
    queries = [re.findall(r"Speech query (\w+)", page(tmp_path / "root", seed=seed)) for seed in range(8)]
    assert all(len(drawn) == 1 for drawn in queries)
    assert len({drawn[0] for drawn in queries}) > 1
    three = re.findall(r"Speech query (\w+)", page(tmp_path / "root", queries_per_emotion=3))
    assert len(set(three)) == 3


def test_the_highest_mean_is_shown_and_marked_within_its_task(tmp_path):
    fake_evaluation(tmp_path / "root" / "a", mean=0.5)
    assert '<span class="tag' not in page(tmp_path / "root")  # alone
    fake_evaluation(tmp_path / "root" / "b" / "margin=0.4", mean=0.7)
    fake_evaluation(tmp_path / "root" / "c", mean=0.9, gallery=4)  # another gallery: not comparable
    text = page(tmp_path / "root")
    rows = re.findall(r'<th scope="row" class="id">(.*?)</tr>', text.split("Values of each seed")[0], re.DOTALL)
    marks = '<span class="tag soft">highest mean</span>'  # values of the queries are missing, so nothing is tested
    assert [row.count(marks) for row in rows] == [1, 3, 0]  # a shares the highest nDCG@5 with b
    assert text.count('<span class="tag') == 4
    assert "best ranked pieces of music of <b>c</b>" in text


def test_two_renders_are_equal(tmp_path):
    fake_evaluation(tmp_path / "root" / "one")
    assert page(tmp_path / "root") == page(tmp_path / "root")


def test_missing_fields_become_dashes(tmp_path):
    side = {"items_sha256": ""}
    folder = fake_evaluation(tmp_path / "root" / "one", config={}, speech=side, music=side, seeds=[0])
    header = json.loads((folder / "evaluation.json").read_text())
    del header["versions"], header["created"], header["synthetic"]
    header["metrics"] = {"P@5": {"mean": float("nan"), "std": None, "per_seed": [None]}, "items": {}}
    header["per_emotion"]["sad"] = {"queries": 1, "target": None}
    (folder / "evaluation.json").write_text(json.dumps(header))
    text = page(tmp_path / "root")
    assert "same space" in text
    assert "one seed" in text
    assert not re.search(r"\bnan\b|built-in|Undefined", text)


# What may not happen


def test_hostile_text_stays_text(tmp_path):
    tag, script, svg = HOSTILE
    folder = fake_evaluation(tmp_path / "root" / "one", emotions=(tag, script, svg))
    rows = items_of(folder)
    for i, row in enumerate(rows):
        row |= {"text": script, "speaker": tag, "corpus": svg}
        if row["modality"] == "music":
            row |= {"item_id": f"{tag}{i}", "uri": f"/nowhere/{tag}"}
    run = [
        {
            "seed": 0,
            "query_id": "speech0",
            "rank": k + 1,
            "item_id": row["item_id"],
            "score": 0.1,
            "relevance": 0.1,
            "hit": False,
        }
        for k, row in enumerate(rows[3:])
    ]
    write(folder, rows, run)
    header = json.loads((folder / "evaluation.json").read_text())
    header |= {"config": {script: {tag: tag}}, "versions": {svg: svg}, "created": tag, "queries": tag}
    header["metrics"] = {tag: cell(0.5), script: {"mean": svg, "std": tag, "floor": tag, "ci95": [tag, tag]}}
    header["speech"] = {"corpus": [tag], "split": script, "encoder": svg, "items_sha256": svg}
    header["label_map"] = {"angry": tag, script: "sad"}
    (folder / "evaluation.json").write_text(json.dumps(header))
    text = page(tmp_path / "root")
    parsed = Parsed(text)
    assert not {tag for tag, _ in parsed.elements} & {"img", "script", "b onload", "iframe", "object", "link"}
    assert not [key for _, attrs in parsed.elements for key in attrs if key.startswith("on")]
    assert any(tag in data for data in parsed.texts)  # it is there, as text
    assert any(script in data for data in parsed.texts)
    for drawing in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing.replace("&middot;", ""))  # parses on its own, so nothing broke out of it


def test_hostile_folder_name(tmp_path):
    fake_evaluation(tmp_path / "root" / "<img src=x onerror=alert(1)>")
    parsed = Parsed(page(tmp_path / "root"))
    assert not parsed.all("img", "script")


def test_nothing_is_loaded(tmp_path):
    fake_evaluation(tmp_path / "root" / "one")
    text = page(tmp_path / "root")
    parsed = Parsed(text)
    policy = [m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:")
    assert not re.findall(r"https?://", re.sub(r'xmlns="http://www.w3.org/2000/svg"', "", text))
    assert not re.findall(r"@import|url\(", text)
    loads = [attrs[key] for _, attrs in parsed.elements for key in ("src", "href") if key in attrs]
    assert all(load.startswith(("data:audio/mpeg;", "#")) for load in loads)


def test_bytes_that_are_not_audio_never_get_in(tmp_path):
    folder = fake_evaluation(tmp_path / "root" / "one")
    secret = folder / "secret.raw"
    secret.write_bytes(b"SECRET-TOKEN " * 500)
    rows = items_of(folder)
    for row, uri in zip(rows, (secret, "/dev/zero", folder, "", "https://example.org/a.wav", "x\0y"), strict=False):
        row["uri"] = str(uri)
    write(folder, rows)
    text = page(tmp_path / "root")
    assert "SECRET" not in text
    assert "audio unavailable: not audio: secret.raw" in text
    assert len(Parsed(text).all("audio")) == 2  # the only music left, once a query


def test_missing_audio_is_said_in_place(tmp_path):
    folder = fake_evaluation(tmp_path / "root" / "one")
    (folder / "music0.wav").unlink()
    text = page(tmp_path / "root")
    assert text.count("audio unavailable: file not found: music0.wav") == 2
    assert str(folder) not in text  # a page that travels does not tell where it was made
    assert len(Parsed(text).all("audio")) == 10


# What is refused


def test_no_evaluation(tmp_path):
    (tmp_path / "root").mkdir()
    with pytest.raises(EvaluationError, match=r"root: no evaluation\.json in it or below it, expected"):
        write_report(tmp_path / "root", tmp_path / "page.html")
    with pytest.raises(EvaluationError, match="no such folder") as error:
        write_report(tmp_path / "nowhere", tmp_path / "page.html")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*page*"))


def test_folder_without_header_is_unfinished(tmp_path):
    fake_evaluation(tmp_path / "root" / "done")
    (fake_evaluation(tmp_path / "root" / "unfinished") / "evaluation.json").unlink()
    text = page(tmp_path / "root")
    assert "One evaluation" in text
    assert "unfinished" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "expected a JSON object"), ('{"queries": 1}', "no gallery")],
)
def test_broken_header(tmp_path, content, message):
    (fake_evaluation(tmp_path / "root" / "one") / "evaluation.json").write_text(content)
    with pytest.raises(EvaluationError, match=f"evaluation.json: {message}"):
        page(tmp_path / "root")


def test_an_evaluation_of_an_earlier_version(tmp_path):
    fake_evaluation(tmp_path / "root" / "one", music={"corpus": ["fake"], "split": "valid", "encoder": "spectral"})
    with pytest.raises(EvaluationError, match="one/evaluation.json: .* earlier version: evaluate again") as error:
        page(tmp_path / "root")
    assert "\n" not in str(error.value)


def test_sealed_folder_that_lost_a_file(tmp_path):
    (fake_evaluation(tmp_path / "root" / "one") / "run.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"run\.parquet: no such file; expected a Parquet file"):
        page(tmp_path / "root")


def test_unequal_vectors(tmp_path):
    folder = fake_evaluation(tmp_path / "root" / "one")
    rows = items_of(folder)
    rows[0]["vector"] = [1.0]
    write(folder, rows)
    with pytest.raises(EvaluationError, match="vectors of unequal length"):
        page(tmp_path / "root")


def test_out_that_cannot_be_written_leaves_nothing(tmp_path):
    fake_evaluation(tmp_path / "root" / "one")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(EvaluationError, match=r"page\.html: .*; expected a file that can be written"):
        write_report(tmp_path / "root", tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir() if "page" in path.name] == ["page.html"]


# Clips


def decoded(src: str) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(base64.b64decode(src.partition(",")[2])))


@pytest.mark.parametrize(("rate", "expected"), [(8000, 8000), (44100, 24000), (48000, 24000), (20000, 24000)])
def test_excerpt_is_short_mono_and_slow(tmp_path, rate, expected):
    soundfile.write(tmp_path / "a.wav", np.zeros((rate * 8, 2)), rate)
    wave, sample_rate = decoded(clips.excerpt(str(tmp_path / "a.wav")))
    assert sample_rate == expected
    assert wave.ndim == 1
    assert len(wave) / sample_rate == pytest.approx(6.0, abs=0.15)  # MP3 pads to whole frames


@pytest.mark.parametrize("uri", ["{}", "file://{}"])
@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_excerpt_is_that_of_the_window(tmp_path, uri, ending):
    rate = 16000
    time_s = np.arange(rate * 4) / rate
    wave = np.where(time_s < 2, 0, 0.5 * np.sin(2 * np.pi * 440 * time_s))  # silence, then a tone
    soundfile.write(tmp_path / f"a.{ending}", wave, rate)
    path = uri.format(tmp_path / f"a.{ending}")
    before, _ = decoded(clips.excerpt(path, start_s=0.5, end_s=1.5))
    after, _ = decoded(clips.excerpt(path, start_s=2.5, end_s=3.5))
    assert np.abs(before).max() < 0.01
    middle = after[rate // 4 : rate // 2 + rate // 4]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.08)  # LAME scales by 0.95


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start_s": 9.0}, "no_samples: nothing in the window from 9.000 s; 1.000 s in all"),
        ({"start_s": 0.3, "end_s": 0.2}, "empty window"),
        ({"start_s": -1.0}, "empty window"),
        ({"start_s": float("nan")}, "empty window"),
    ],
)
def test_window_without_samples(tmp_path, window, message):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    with pytest.raises(DecodeError, match=message):
        clips.excerpt(str(tmp_path / "a.wav"), **window)


def test_samples_that_are_not_finite(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(800, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(DecodeError, match="not_finite: 800 of 800 samples"):
        clips.excerpt(str(tmp_path / "a.wav"))


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_a_file_that_only_ffmpeg_reads_has_its_player(tmp_path, container, codec):
    folder = fake_evaluation(tmp_path / "root" / "one")
    content = encoded(container, codec, 48000)
    for path in folder.glob("*.wav"):
        path.write_bytes(content)
    rows = items_of(folder)
    (folder / "shard.tar").write_bytes(bytes(512) + content)
    rows[0]["uri"] = member_uri(str(folder / "shard.tar"), 512, 512 + len(content))
    write(folder, rows)
    text = page(tmp_path / "root")
    assert "audio unavailable" not in text
    assert text.count("<audio") == len(players_of(text)) > 1


def players_of(text: str) -> list[str]:
    return re.findall(r'src="data:audio/mpeg;base64,[^"]+"', text)


def test_shelf_repeats_while_small_then_points_back(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    once = len(clips.excerpt(str(tmp_path / "a.wav")))
    shelf = players.Shelf(repeat_bytes=2 * once)
    first, second, third = (shelf.place(str(tmp_path / "a.wav")) for _ in range(3))
    assert (first.number, second.number) == (1, 2)
    assert first.src == second.src
    assert (third.src, third.first) == (None, 1)


# Map, plane, colours


@pytest.mark.parametrize("method", ["t-SNE", "PCA"])
def test_projection_keeps_two_clusters_apart_and_repeats(method):
    noise = np.random.default_rng(0).normal(size=(40, 8)) * 0.05
    vectors = noise + np.repeat(np.eye(8)[:2], 20, axis=0)
    xy = projection.project(vectors, seed=0, method=method)
    np.testing.assert_array_equal(xy, projection.project(vectors, seed=0, method=method))
    a, b = xy[:20], xy[20:]
    between = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    assert between > 2 * max(np.linalg.norm(c - c.mean(axis=0), axis=1).mean() for c in (a, b))


@pytest.mark.slow
def test_umap_repeats():
    pytest.importorskip("umap")
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    xy = projection.project(vectors, seed=0, method="UMAP")
    np.testing.assert_array_equal(xy, projection.project(vectors, seed=0, method="UMAP"))


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # scikit-learn: the share of no variance
def test_projection_of_very_few():
    assert projection.method_for(9) == "PCA"
    assert projection.method_for(10) in ("UMAP", "t-SNE")
    for count in (1, 2, 3):
        xy = projection.fit_box(projection.project(np.ones((count, 3)), seed=0, method="PCA"))
        np.testing.assert_allclose(xy, np.tile(np.array(projection.MAP_SIZE) / 2, (count, 1)))


def test_fit_box_keeps_the_shape():
    box = projection.fit_box(np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]), margin=0)
    width, height = projection.MAP_SIZE
    np.testing.assert_allclose(box[:, 0], [0, width, width])
    np.testing.assert_allclose(box[:, 1], height / 2 + np.array([-1, -1, 1]) * width / 4)


def test_joint_map_of_no_items_and_of_damaged_vectors():
    row = {"item_id": "a", "modality": "speech", "emotion": None}
    schema = pa.schema([ITEMS.field(name) for name in ("item_id", "modality", "emotion", "vector")])
    table = pa.Table.from_pylist([row | {"vector": v} for v in (None, [], [float("nan")])], schema=schema)
    assert projection.joint_map(table, seed=0) == {"points": [], "method": "PCA", "total": 3}


CROWDED = [
    {"angry": "angry", "calm": "sad", "disgust": "scary", "fearful": "sad", "happy": "happy"}
    | {"neutral": "noise", "sad": "sad", "surprised": "exciting"},
    {"frustration": "angry", "excitement": "exciting", "anger": "funny", "neutral": "tender"} | {"fear": "scary"},
]


@pytest.mark.parametrize("label_map", CROWDED)
def test_plane_labels_do_not_overlap(label_map):
    drawn = projection.plane(label_map)
    boxes = [(m["label_x"], m["label_y"], projection.LETTER * len(m["emotion"])) for m in drawn["marks"]]
    for i, (x, y, width) in enumerate(boxes):
        assert 0 < x - width / 2 < x + width / 2 < projection.PLANE_SIZE[0]
        for a, b, other in boxes[:i]:
            assert abs(x - a) >= (width + other) / 2 or abs(y - b) >= 13


def test_plane_by_hand():
    drawn = projection.plane({"neutral": "happy", "angry": "angry", "puzzled": "sad"})
    assert drawn["unplaced"] == ["puzzled"]
    marks = {mark["emotion"]: mark for mark in drawn["marks"]}
    # the plane is 640 - 56 - 24 = 560 wide and 480 - 24 - 44 = 412 high; neutral is in its middle
    assert (marks["neutral"]["x"], marks["neutral"]["y"]) == (56 + 280, 24 + 206)
    assert (marks["happy"]["speech"], marks["happy"]["music"]) == (False, True)
    assert [arrow["emotion"] for arrow in drawn["arrows"]] == ["neutral"]  # angry stays where it is


def test_palette_gives_each_emotion_its_own_colour():
    known = palette(COLOURS)
    assert [known[label]["slot"] for label in COLOURS] == list(range(len(COLOURS)))
    mixed = palette(["angry", "zeal", "awe", "sad"])
    assert len({style["slot"] for style in mixed.values()}) == 4
    assert mixed["angry"]["slot"] == known["angry"]["slot"]
    assert len(palette(map(str, range(40)))) == 40


def test_numbers_and_rows():
    assert [number(v) for v in (0.12345, 1, None, float("nan"), "x", True)] == ["0.123", "1.000", *"––––"]
    assert flat({"loss": {"margin": 0.4, "tags": ["a", "b"]}, "model": None}) == [
        ("loss.margin", "0.4"),
        ("loss.tags", "a, b"),
        ("model", "–"),
    ]


# Comparisons and warnings


def with_queries(folder: Path, gain: float) -> None:
    """Values of each query beside a fake evaluation: 24 queries, seeds 0 and 1."""
    values = np.tile(np.random.default_rng(0).random(24), (2, 1)) * 0.4 + gain
    columns = {
        "seed": np.repeat([0, 1], 24).astype(np.int32),
        "query_id": [f"q{n}" for n in range(24)] * 2,
        "emotion": ["angry"] * 48,
        "speaker": [f"s{n % 12}" for n in range(24)] * 2,
        "P@5": values.ravel(),
    }
    pq.write_table(pa.table(columns), folder / "per_query.parquet")


def test_evaluations_of_one_task_are_compared(tmp_path):
    for name, gain in (("plain", 0.0), ("better", 0.2)):
        with_queries(fake_evaluation(tmp_path / "in" / name), gain)
    fake_evaluation(tmp_path / "in" / "other", gallery=4)  # another task
    text = page(tmp_path / "in")
    section = text[text.index('id="differences"') : text.index('id="emotions"')]
    parsed = Parsed(text)
    assert {"href": "#differences"} in parsed.all("a")
    assert "plain is worse than better in P@5 (-0.200, Holm p &lt;0.001)." in section
    for cell in ("plain − better", "-0.200", "-0.200 to -0.200", "Holm p", "d_z", "d_w"):
        assert cell in parsed.texts
    assert '<td class="n best">yes</td>' in section
    assert "other" not in section
    assert "Holm’s correction" in text


def test_why_a_task_was_not_compared_is_said_and_one_evaluation_has_no_differences(tmp_path):
    for name in ("a", "b"):
        fake_evaluation(tmp_path / "in" / name)
    text = page(tmp_path / "in")
    assert re.search(r"Not compared: .*per_query.parquet: no such file", text)
    fake_evaluation(tmp_path / "one" / "a")
    assert 'id="differences"' not in page(tmp_path / "one")


def test_of_many_evaluations_the_best_are_compared(tmp_path):
    for trial in range(8):
        with_queries(fake_evaluation(tmp_path / "in" / f"trial{trial}", mean=trial / 10), trial / 10)
    text = page(tmp_path / "in")
    section = text[text.index('id="differences"') : text.index('id="emotions"')]
    assert "2 more evaluations of this task have a lower P@5 and were left out." in section
    assert "trial1" not in section
    assert section.count("<tr><th") == 1 + 15  # the head; 6 * 5 / 2 pairs


def test_leakage_is_shown_and_escaped(tmp_path):
    warnings = [{"kind": "speaker", "text": f"leakage: 2 of 2 queries ({evil})"} for evil in HOSTILE]
    fake_evaluation(tmp_path / "in" / "a", warnings=warnings)
    parsed = Parsed(page(tmp_path / "in"))
    for warning in warnings:
        assert any(warning["text"] in text for text in parsed.texts)
    assert not parsed.all("script", "img")
    assert len([attrs for attrs in parsed.all("p") if attrs.get("class") == "banner"]) == 3


def test_hostile_names_are_escaped_in_comparisons(tmp_path):
    for place, evil in enumerate(("<img src=x onerror=alert(1)>", "<script>x<%script>")):
        with_queries(fake_evaluation(tmp_path / "in" / evil), place / 10)
    parsed = Parsed(page(tmp_path / "in"))
    assert not parsed.all("script", "img")
    assert any("<img src=x onerror=alert(1)> − " in text or " − <img src=x" in text for text in parsed.texts)


def test_interval_over_speakers_is_shown(tmp_path):
    metrics = {"P@5": cell(0.5) | {"ci95_speakers_seeds": [0.321, 0.678]}}
    fake_evaluation(tmp_path / "in" / "a", metrics=metrics)
    assert "speakers 0.321 – 0.678" in page(tmp_path / "in")
