"""Texts that tell of an emotion, for retrieval of music by text: ISEAR and Alm's fairy tales.

Sources: Scherer & Wallbott 1994, J. Pers. Soc. Psychol. 66(2) (ISEAR: 7 situations of each of 1096 students); Alm
2008, PhD thesis, University of Illinois (sentences of tales on which all annotators agree). The test split of Alm,
one author, and the size of ISEAR's (15 %) are those of Won et al., ISMIR 2021, arXiv:2111.13468.
"""

from collections.abc import Collection
from pathlib import PurePosixPath

from s2m_ray.corpora.corpus import Corpus, as_row, label_of
from s2m_ray.corpora.listing import Notes, files, read_text, uri_of
from s2m_ray.corpora.splits import SHARES, at_random, by_group
from s2m_ray.errors import ManifestError
from s2m_ray.files.place import Place
from s2m_ray.manifest.leaks import normalised
from s2m_ray.manifest.schema import Row

ISEAR_COLUMNS = ("ID", "Field1", "MYKEY", "SIT")
ISEAR_EMOTIONS = {name: name for name in ("anger", "disgust", "fear", "guilt", "joy", "sadness", "shame")}
BREAK = "\u00e1"  # the export writes it for a line break within a text
ISEAR_LEAKS = {"respondents": "valid and test are random rows, so the same people and wordings are in train too"}
AUTHORS = {"Grimms": "grimm", "HCAndersen": "andersen", "Potter": "potter"}
ALM_TEST = "Potter"
ALM_CODES = {"2": "anger", "3": "fearful", "4": "happy", "6": "sad", "7": "surprised"}
ALM_LEAKS = {"wordings": "sentences of train and valid may also be in the tales of the test author, word by word"}


def isear_rows(root: Place, notes: Notes, *, leaks: Collection[str] = ()) -> list[Row]:
    """Return one row for each situation; ``root`` is ``isear.csv`` or its folder.

    All answers of one person lie in one split. People who gave the very same answer ("when my grandfather died") also
    share a split.

    Raises:
        ManifestError: The file or a column is missing, or a label is unknown.
    """
    path = root / "isear.csv" if root.is_dir() else root
    lines = read_text(path, "the table of ISEAR, '|' between its fields").splitlines()
    header = lines[0].split("|") if lines else []
    missing = [name for name in ISEAR_COLUMNS if name not in header]
    if missing:
        present = ", ".join(header[:8]) or "an empty file"
        raise ManifestError(
            f"{path}: column '{missing[0]}' is missing, found {present} ...; are the fields split by '|'?"
        )
    person, label, key, text = (header.index(name) for name in ISEAR_COLUMNS)
    after = len(header) - text - 1  # a text may have the separator in it
    items: list[Row] = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("|")
        if len(fields) < len(header):
            raise ManifestError(f"{path}:{number}: {len(fields)} fields, expected {len(header)}")
        words = " ".join(" ".join(fields[text : len(fields) - after]).replace(f" {BREAK}", " ").split())
        items.append(
            as_row(
                "isear",
                fields[key],
                uri_of(path),
                modality="text",
                emotion=label_of(fields[label], ISEAR_EMOTIONS, f"{path}:{number}"),
                speaker=f"isear/{fields[person]}",
                text=words,
            )
        )
    if not items:
        raise ManifestError(f"{path}: no line below the header")
    return _with_splits(items, [row["speaker"] for row in items], "respondents" in leaks)


def _with_splits(items: list[Row], owners: list[str], random: bool) -> list[Row]:
    labels = [row["emotion"] for row in items]
    if random:
        is_test = at_random(labels, SHARES["test"])
        rest = [i for i, chosen in enumerate(is_test) if not chosen]
        is_valid = dict(zip(rest, at_random([labels[i] for i in rest], 0.1), strict=True))
        splits = ["test" if is_test[i] else "valid" if is_valid[i] else "train" for i in range(len(items))]
    else:
        groups = [[owner, f"text {normalised(row['text'])}"] for owner, row in zip(owners, items, strict=True)]
        splits = by_group(groups, labels, SHARES)
    return [{**row, "split": split} for row, split in zip(items, splits, strict=True)]


def alm_rows(root: Place, notes: Notes, *, leaks: Collection[str] = ()) -> list[Row]:
    """Return one row for each sentence of ``AUTHOR/agree-sent/TALE.agree``.

    The tale stands in ``speaker``, and the tales of Potter are the test split.

    Raises:
        ManifestError: An author is missing, a line is not ``number@label@sentence``, or a label is unknown.
    """
    by_author = {author: _author(root, author, notes) for author in AUTHORS}
    test = by_author.pop(ALM_TEST)
    wordings = {normalised(row["text"]) for row in test}
    rest = [row for items in by_author.values() for row in items]
    if "wordings" not in leaks:
        rest = [row for row in rest if normalised(row["text"]) not in wordings]
    groups = [[row["speaker"], f"text {normalised(row['text'])}"] for row in rest]
    splits = by_group(groups, [row["emotion"] for row in rest], {"train": 0.9, "valid": 0.1})
    return [{**row, "split": split} for row, split in zip(rest, splits, strict=True)] + [
        {**row, "split": "test"} for row in test
    ]


def _author(root: Place, author: str, notes: Notes) -> list[Row]:
    folder = root / author / "agree-sent"
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder, expected those of {', '.join(AUTHORS)}")
    items = []
    for file in files(folder, notes, (".agree",)):
        tale = f"{AUTHORS[author]}/{PurePosixPath(file.relative).stem}"
        path = folder / file.relative
        for number, line in enumerate(read_text(path, "sentences of a tale").splitlines(), start=1):
            if not line.strip():
                continue
            sentence, _, rest = line.partition("@")
            code, second, text = rest.partition("@")
            if not second or not sentence.strip().isdigit():
                raise ManifestError(f"{path}:{number}: '{line[:40]}', expected number@label@sentence")
            items.append(
                as_row(
                    "alm",
                    f"{tale}/{sentence.strip()}",
                    uri_of(path),
                    modality="text",
                    emotion=label_of(code.strip(), ALM_CODES, f"{path}:{number}"),
                    speaker=f"alm/{tale}",
                    text=text.strip(),
                )
            )
    if not items:
        raise ManifestError(f"{folder}: no sentence found, expected files TALE.agree")
    return items


ISEAR = Corpus(
    "isear", "isear.csv ('|' between fields)", "by respondent and wording, 75/10/15 (ours)", isear_rows, ISEAR_LEAKS
)
ALM = Corpus(
    "alm", "{Grimms,HCAndersen,Potter}/agree-sent/*.agree", "Potter is test; valid by tale", alm_rows, ALM_LEAKS
)
