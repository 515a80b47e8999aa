"""Files that are mistaken for files of tensors, recognised by their first bytes."""

from __future__ import annotations

from ..errors import shown

MISTAKES = {  # first bytes -> what the file really is
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched", b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf": "a 7-Zip archive", b"Rar!": "a RAR archive", b"%PDF": "a PDF file",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"PK\x05\x06": "an empty zip archive", b"PK": "a damaged zip archive",
    b"\x7fELF": "a program", b"MZ": "a program", b"#!": "a program", b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file", b"SQLite format 3": "a database",
}  # fmt: skip
TEXTS = {b"<": "a web page", b"{": "JSON", b"[": "JSON"}  # first letter of a text -> what the text is


def mistaken(first: bytes) -> str:
    """What a file that is not a file of tensors is, by its first bytes, as a clause for an error."""
    for start, what in MISTAKES.items():
        if first.startswith(start):
            return what
    if not first.strip(b"\0"):
        return "a download that never came" if first else "empty"
    if first[257:262] == b"ustar":
        return "a tar archive"
    text = first.removeprefix(b"\xef\xbb\xbf").strip()
    if all(byte >= 32 or byte in b"\t\r\n" for byte in text):
        return TEXTS.get(text[:1], f"a text ({shown(text[:40].decode(errors='replace'))!r})")
    return "of a kind that is not known"
