"""Trees as they are on real disks: links, forks, capitals, foreign names, folders that cannot be read."""

import os
from pathlib import Path

import pytest

from s2m_ray.corpora.listing import Notes, by_stem, files, read_text
from s2m_ray.errors import ManifestError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(root, notes=None):
    return [file.relative for file in files(root, notes or Notes())]


def test_names_of_all_kinds(tmp_path):
    names = ["A b/ÄÖ ü.WAV", "A b/日本語.mp3", "c#d?e%f.flac", "deep/" * 30 + "x.Ogg", "z.M4A"]
    touch(tmp_path, *names, "._z.wav", ".hidden/a.wav", "__MACOSX/._a.wav", "__MACOSX/a.wav", "cover.jpg", "noext")
    (tmp_path / "folder.wav").mkdir()
    found = list(files(tmp_path, Notes()))
    assert [file.relative for file in found] == sorted(names)
    assert all(Path(file.uri).samefile(tmp_path / file.relative) for file in found)


def test_links(tmp_path):
    root = touch(tmp_path / "root", "a/1.wav", "b/2.wav")
    touch(tmp_path / "outside", "3.wav", "sub/4.wav")
    (root / "a/loop").symlink_to(root)  # up, around and around
    (root / "a/self").symlink_to(root / "a/self")
    (root / "b/again").symlink_to(root / "a")
    (root / "c").symlink_to(tmp_path / "outside")
    (root / "d").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(root)
    (tmp_path / "outside/sub/up").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/above").symlink_to(tmp_path)
    (root / "e.wav").symlink_to(root / "a/1.wav")
    (root / "gone.wav").symlink_to(tmp_path / "nowhere")
    notes = Notes()
    assert listed(root, notes) == ["a/1.wav", "b/2.wav", "c/3.wav", "c/sub/4.wav", "e.wav"]
    assert notes.broken_links == 2
    assert notes.folder_links >= 4
    assert "2 links lead nowhere" in notes.lines()


def test_a_folder_that_cannot_be_read_is_noted_and_the_others_go_on(tmp_path, monkeypatch):
    root = touch(tmp_path, "a/1.wav", "b/2.wav", "c/3.wav")
    really = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    notes = Notes()
    assert listed(root, notes) == ["a/1.wav", "c/3.wav"]
    assert notes.lines() == [f"1 folders or files cannot be read: {root}/b: Permission denied"]
    with pytest.raises(ManifestError, match="b: Permission denied, expected a folder that can be listed"):
        listed(root / "b")


def test_names_that_no_manifest_can_hold_are_noted(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"x")
    notes = Notes()
    assert listed(tmp_path, notes) == ["a.wav"]
    assert "1 names are not UTF-8" in notes.lines()[0]


def test_a_root_that_is_none(tmp_path):
    touch(tmp_path, "a.wav")
    with pytest.raises(ManifestError, match="a.wav: is a file, expected the folder"):
        listed(tmp_path / "a.wav")
    with pytest.raises(ManifestError, match="none: no such folder"):
        listed(tmp_path / "none")


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "a/1.wav", "b/2.wav")
    assert set(by_stem(tmp_path, Notes())) == {"1", "2"}
    touch(tmp_path, "b/1.flac")
    with pytest.raises(ManifestError, match="'a/1.wav' and 'b/1.flac' have one name"):
        by_stem(tmp_path, Notes())


def test_texts_of_old_corpora_may_be_latin_1(tmp_path):
    (tmp_path / "a").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "b").write_bytes("\ufeffGrüße".encode())
    assert read_text(tmp_path / "a", "x") == read_text(tmp_path / "b", "x") == "Grüße"
    with pytest.raises(ManifestError, match="none: no such file, expected the words"):
        read_text(tmp_path / "none", "the words")
