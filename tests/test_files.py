"""Locating a corpus, listing its audio files, reading their names and its tables."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dvc.repo import Repo

from stages.sources.files import (
    AUDIO_SUFFIXES,
    audio_files,
    find_file,
    locate,
    odd_entries,
    outside_scheme,
    parse_names,
    read_table,
    unreadable_entries,
    warn_of_letters,
)


def touch(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


# audio_files


def test_files_are_relative_sorted_and_of_any_depth(tmp_path):
    touch(tmp_path, "b/2.wav", "b/10.wav", "a.flac", "b/c/d/e.ogg")
    assert audio_files(tmp_path) == ["a.flac", "b/10.wav", "b/2.wav", "b/c/d/e.ogg"]


@pytest.mark.parametrize(
    "suffix",
    ["wav", "WAV", "Flac", "ogg", "oga", "mp3", "aif", "AIFC", "au", "w64", "caf", "opus", "sph"],
)
def test_every_format_of_libsndfile_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"x.{suffix}")
    assert audio_files(tmp_path) == [f"x.{suffix}"]


@pytest.mark.parametrize("suffix", ["txt", "zip", "raw", "csv", "wav.bak", ""])
def test_other_files_are_skipped(tmp_path, suffix):
    touch(tmp_path, "x.wav", f"y.{suffix}".removesuffix("."))
    assert audio_files(tmp_path) == ["x.wav"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "oga", "aif", "au", "snd", "caf", "mp3"])
def test_listed_files_can_be_read(tmp_path, suffix):
    kind = {"oga": "OGG", "aif": "AIFF", "snd": "AU"}.get(suffix, suffix.upper())
    assert suffix in AUDIO_SUFFIXES
    soundfile.write(tmp_path / f"x.{suffix}", np.zeros(4000), 16000, format=kind)
    samples, rate = soundfile.read(tmp_path / audio_files(tmp_path)[0])
    assert rate == 16000
    assert len(samples) >= 4000


def test_hidden_and_system_files_are_skipped(tmp_path):
    touch(tmp_path, "a.wav", "._a.wav", ".hidden/b.wav", "__MACOSX/c.wav", "d/__MACOSX/._e.wav")
    assert audio_files(tmp_path) == ["a.wav"]


def test_a_root_in_a_hidden_folder_is_read(tmp_path):
    assert audio_files(touch(tmp_path / ".cache" / "corpus", "a.wav")) == ["a.wav"]


def test_links_to_folders_are_skipped_with_a_warning(tmp_path, caplog):
    root = touch(tmp_path / "corpus", "a/x.wav")
    elsewhere = touch(tmp_path / "elsewhere", "y.wav")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "out").symlink_to(elsewhere, target_is_directory=True)
    with caplog.at_level(logging.WARNING):
        assert audio_files(root) == ["a/x.wav"]
    assert sorted(record.args[0] for record in caplog.records) == [
        str(root / "a" / "loop"),
        str(root / "out"),
    ]


def test_links_to_files_and_a_linked_root_are_read(tmp_path):
    corpus = touch(tmp_path / "corpus", "x.wav")
    (corpus / "y.wav").symlink_to(corpus / "x.wav")
    root = tmp_path / "link"
    root.symlink_to(corpus, target_is_directory=True)
    assert audio_files(root) == ["x.wav", "y.wav"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "tess"))):
        audio_files(tmp_path / "tess")


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "tess.zip")
    with pytest.raises(FileNotFoundError, match="tess.zip"):
        audio_files(tmp_path / "tess.zip")


def test_a_folder_without_audio_is_refused_with_its_suffixes(tmp_path):
    touch(tmp_path, "tess.zip", "notes/a.txt", "notes/b.TXT")
    with pytest.raises(ValueError, match=r"audio file.* got 2 \.txt, 1 \.zip, want"):
        audio_files(tmp_path)


def test_an_empty_folder_holds_nothing(tmp_path):
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}: .* got nothing"):
        audio_files(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "a/x.wav", "b/y.wav")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    folder = re.escape(str(tmp_path / "b"))
    with pytest.raises(PermissionError, match=f"Permission denied.*'{folder}'"):
        audio_files(tmp_path)


# odd_entries


def test_entries_at_which_dvc_stops_are_named_with_what_to_do(tmp_path, monkeypatch):
    touch(tmp_path, "a/good.wav", "a/locked.wav", "locked/x.wav", "a\nb.wav")
    touch(tmp_path, ".git/x", os.fsdecode(b"J\xf6rg.wav"), os.fsdecode(b"M\xfcller/x.wav"))
    (tmp_path / ".git" / "gone").symlink_to("/nowhere")
    (tmp_path / "a" / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "a" / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "good too.wav").symlink_to("good.wav")
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    scandir, access = os.scandir, os.access

    def list_folder(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", list_folder)
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode)
    )
    wanted = {
        ".git/gone": "a link that leads nowhere .*datalad get",
        "J\\xf6rg.wav": "its name is not UTF-8; rename",
        "M\\xfcller": "its name is not UTF-8; rename",
        "a/locked.wav": "cannot be read",
        "a/loop.wav": "a link that leads nowhere .*datalad get",
        "a/pipe.wav": "neither a file nor a folder",
        "a/zero.wav": "neither a file nor a folder",
        "locked": "cannot be listed: Permission denied",
    }
    found = odd_entries(tmp_path)
    assert list(found) == sorted(wanted)
    for name, reason in wanted.items():
        assert re.match(reason, found[name])


def test_unreadable_entries_of_all_corpora_are_named_with_the_reason(tmp_path):
    touch(tmp_path, "a/x.wav", "b/y.wav", "c/z.wav")
    assert unreadable_entries(["a", "b"], root=str(tmp_path)) == []
    for name in "abc":
        (tmp_path / name / "gone.wav").symlink_to("/nowhere")
    *lines, why = unreadable_entries(["a", "b"], root=str(tmp_path))
    assert [line.partition(": ")[0] for line in lines] == [
        f"{tmp_path}/{name}/gone.wav" for name in "ab"
    ]
    assert "DVC" in why


def test_paths_with_which_dvc_fails_are_warned_of(caplog):
    plain, odd = Path("/home/miller/x"), Path("/home/müller/x")
    warn_of_letters(repository=plain, corpora=plain)
    assert not caplog.records
    warn_of_letters(repository=plain, corpora=odd)
    warn_of_letters(repository=odd, corpora=odd)
    link, clone = (record.getMessage() for record in caplog.records)
    assert f"ln -s '{odd}' LINK" in link and "clone" in clone
    assert all("--temp" in message and "--queue" in message for message in (link, clone))


def test_a_file_is_found_in_either_unicode_form(tmp_path):
    touch(tmp_path, "Cle\u0301s/e\u0301.csv", "\u00e9.csv", "e\u0301.csv")
    assert find_file(tmp_path, "Cl\u00e9s/\u00e9.csv").name == "e\u0301.csv"
    assert find_file(tmp_path, "e\u0301.csv").name == "e\u0301.csv"
    assert find_file(tmp_path, "\u00e9.csv").name == "\u00e9.csv"
    assert not find_file(tmp_path, "gone/x.csv").exists()


# parse_names


def describe(match: re.Match) -> dict:
    return {"clip": match["clip"], "excluded": ""}


def parse(root: Path, pattern: str = r"(?P<clip>[a-z]\d)") -> list[dict]:
    return parse_names(root, pattern=pattern, form="a letter and a digit, a1", describe=describe)


def test_each_file_has_a_row_in_order(tmp_path):
    touch(tmp_path, "b/b2.wav", "a/a1.FLAC")
    assert parse(tmp_path) == [
        {"clip": "a1", "excluded": "", "file": "a/a1.FLAC"},
        {"clip": "b2", "excluded": "", "file": "b/b2.wav"},
    ]


@pytest.mark.parametrize("name", ["a10", "aa1", "1a", "xa1", "a1 (copy)", "sub/xa1"])
def test_a_name_that_does_not_parse_keeps_a_row_with_the_reason(tmp_path, name):
    touch(tmp_path, "a1.wav", f"{name}.wav")
    (row,) = [row for row in parse(tmp_path) if row["excluded"]]
    reason = row.pop("excluded")
    assert row == {"clip": name, "file": f"{name}.wav"}
    assert reason.endswith(f"got {name}, want a letter and a digit, a1")


def test_a_pattern_may_span_folders(tmp_path):
    touch(tmp_path, "AudioData/DC/a1.wav", "AudioData/XX/a1.wav")
    rows = parse(tmp_path, pattern=r"DC/(?P<clip>a1)")
    assert [row["excluded"] == "" for row in rows] == [True, False]


def test_alternatives_of_a_pattern_are_all_anchored(tmp_path):
    touch(tmp_path, "a.wav", "b.wav", "ax.wav", "xb.wav")
    rows = parse(tmp_path, pattern=r"(?P<clip>a)|b")
    assert [row["file"] for row in rows if not row["excluded"]] == ["a.wav", "b.wav"]


def test_names_match_in_either_unicode_form(tmp_path):
    touch(tmp_path, "Cole\u0300re/a1.wav")
    (row,) = parse(tmp_path, pattern="(?P<clip>Col\u00e8re/a1)")
    assert row == {"clip": "Col\u00e8re/a1", "excluded": "", "file": "Cole\u0300re/a1.wav"}


def test_a_dot_does_not_end_a_name(tmp_path):
    touch(tmp_path, "v1.0/a1.wav", "a1.0.wav")
    assert {row["file"]: row["clip"] for row in parse(tmp_path)} == {
        "a1.0.wav": "a1.0",
        "v1.0/a1.wav": "a1",
    }


# outside_scheme


def test_the_first_code_outside_the_scheme_is_named():
    scheme = {"emotion": ("01", "02"), "actor": [f"{n:02}" for n in range(1, 25)]}
    assert outside_scheme({"emotion": "02", "actor": "24", "free": "99"}, scheme) == ""
    reason = outside_scheme({"emotion": "03", "actor": "25"}, scheme)
    assert re.fullmatch("emotion .*: got 03, want 01 02", reason)
    reason = outside_scheme({"emotion": "01", "actor": "25"}, scheme)
    assert re.fullmatch("actor .*: got 25, want 01 to 24", reason)


# read_table


def table(folder: Path, content: bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content)
    return path


def test_table_of_a_spreadsheet(tmp_path):
    """Byte order mark, Windows line ends, quotes, blanks, empty lines."""
    path = table(tmp_path, b'\xef\xbb\xbffile,who\r\n"a, b.wav", x \r\n\r\nc.wav,\r\n')
    assert read_table(path, columns=("file",)) == [
        (2, {"file": "a, b.wav", "who": "x"}),
        (4, {"file": "c.wav", "who": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "columns nothing, want file, who, .*: file, who$"),
        (b"path;who\na;b\n", "columns path, who, want file, who, .*: file$"),
        (b"file,who,who\na,b,c\n", "columns file, who, who, want file, who, .*: who$"),
        (b"file,who\na,b\nc\n", "t.csv, line 3: got 1 cells, want 2"),
        (b"file,who\na,b,c\n", "t.csv, line 2: got 3 cells, want 2"),
        (b'file,who\na,"b\n', "t.csv, line 2: unexpected end of data"),
        (b"\x89PNG\xff\0\0\0", "t.csv: .*UTF-8"),
        ("file,who\na,b\n".encode("utf-16")[:-1], "t.csv: .*UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(table(tmp_path, content), columns=("file", "who"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]
)
def test_delimiters_and_encodings_of_other_programs(tmp_path, delimiter, encoding, caplog):
    text = 'note,file,who\n"1,5;2",Jörg.wav,Zoë\n'
    cells = (
        text if delimiter == "," else text.replace(",", delimiter).replace("1" + delimiter, "1,")
    )
    got = read_table(table(tmp_path, cells.encode(encoding)), columns=("file", "who"))
    assert got == [(2, {"note": "1,5;2", "file": "Jörg.wav", "who": "Zoë"})]
    assert ("Windows-1252" in caplog.text) == (encoding == "latin-1")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="t.csv: no such"):
        read_table(tmp_path / "t.csv", columns=())


# locate


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A scratch DVC repository, with a subfolder as the working directory."""
    root = tmp_path / "repository"
    below = root / "a" / "b"
    below.mkdir(parents=True)
    Repo.init(str(root), no_scm=True).close()
    monkeypatch.chdir(below)
    return root


def set_alias(file: Path, url: str) -> None:
    with file.open("a") as lines:
        lines.write(f"['remote \"corpora\"']\n    url = {url}\n")


def test_a_path_stays_as_it_is():
    assert locate("data/demo/ravdess") == Path("data/demo/ravdess")
    assert locate("/somewhere/ravdess") == Path("/somewhere/ravdess")


def test_a_relative_alias_starts_at_the_dvc_folder(repository):
    set_alias(repository / ".dvc" / "config", "../data/raw")
    assert locate("remote://corpora/ravdess") == repository / "data" / "raw" / "ravdess"


def test_the_local_alias_takes_precedence(repository, tmp_path):
    set_alias(repository / ".dvc" / "config", "../data/raw")
    set_alias(repository / ".dvc" / "config.local", str(tmp_path / "speech"))
    assert locate("remote://corpora/tess") == tmp_path / "speech" / "tess"


def test_a_relative_local_alias_starts_at_the_dvc_folder_too(repository):
    set_alias(repository / ".dvc" / "config.local", "../../speech")
    assert locate("remote://corpora/tess").resolve() == repository.parent / "speech" / "tess"


def test_the_alias_alone_is_the_folder_of_all_corpora(repository, tmp_path):
    set_alias(repository / ".dvc" / "config.local", str(tmp_path))
    assert locate("remote://corpora") == tmp_path


@pytest.mark.parametrize("url", ["", "s3://bucket/speech"])
def test_an_alias_that_is_no_folder_says_how_to_set_it(repository, url):
    if url:
        set_alias(repository / ".dvc" / "config", url)
    with pytest.raises(ValueError, match=f"got {url or 'nothing'} .*dvc remote modify"):
        locate("remote://corpora/ravdess")
