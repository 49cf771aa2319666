"""Tells whether a model has changed since it was read, without reading its files.

Names, sizes and modification times, as Triton does it. `__pycache__` is left out: running a
Python model writes it.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_CONFIGURATION = frozenset({"config.pbtxt", "configs"})


def fingerprint(parts: Iterable[str | bytes]) -> str:
    """One digest of the parts, in order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def folder_state(folder: Path, selected: Iterable[int]) -> Iterator[str]:
    """A line for each file of the model, leaving out versions that are not selected.

    Configuration files are left out too: what they say counts, and the caller adds it.
    """
    wanted = {str(version) for version in selected}
    for entry in sorted(folder.iterdir()):
        if entry.name in wanted or not (entry.name.isdigit() or entry.name in _CONFIGURATION):
            yield from _state(entry, entry.name)


def files_state(files: Mapping[str, bytes]) -> Iterator[str | bytes]:
    """The same for files that came with a request, by content."""
    for name in sorted(files):
        yield name
        yield hashlib.sha256(files[name]).digest()


def _state(path: Path, name: str) -> Iterator[str]:
    if not path.is_dir():
        yield _stamp(path, name)
        return
    yield f"{name}/"
    # Links inside are not followed further: they may lead in a circle.
    for root, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        inner = Path(root)
        for entry in sorted(files) + [link for link in folders if (inner / link).is_symlink()]:
            yield _stamp(inner / entry, f"{name}/{(inner / entry).relative_to(path)}")
        yield from (f"{name}/{(inner / folder).relative_to(path)}/" for folder in folders)


def _stamp(path: Path, name: str) -> str:
    try:
        found = path.stat()
    except OSError:  # removed meanwhile, or a link to nowhere
        return f"{name} missing"
    return f"{name} {found.st_size} {found.st_mtime_ns}"
