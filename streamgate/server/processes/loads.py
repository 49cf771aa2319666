"""What clients have loaded and unloaded, so that an engine that is started anew has it, too."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import msgpack

from streamgate.errors import StreamGateError
from streamgate.session.local import ModelControl

log = logging.getLogger(__name__)

FILES_BYTES_MAX: Final = 256 * 2**20
"""A model that was sent with more files than this is not remembered."""


@final
class LoadMemory:
    """Remembers in a folder, which all engines of a server share: a file for each model, with
    the last word about it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, name: str, word: Mapping[str, Any]) -> None:
        """The last word about a model. What is being written is not seen."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._directory / hashlib.sha256(name.encode()).hexdigest()
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(msgpack.packb({"name": name, **word}))
        unfinished.replace(path)

    def words(self) -> list[dict[str, Any]]:
        """The last word about each model."""
        if not self._directory.is_dir():
            return []
        paths = sorted(path for path in self._directory.iterdir() if not path.suffix)
        return [msgpack.unpackb(path.read_bytes()) for path in paths]


@final
class RememberedLoads:
    """Implements `ModelControl` over another, and remembers what succeeded."""

    def __init__(self, control: ModelControl, memory: LoadMemory) -> None:
        self._control = control
        self._memory = memory

    def names(self) -> Sequence[str]:
        return self._control.names()

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        await self._control.load(name, config, files, nested=nested)
        if sum(map(len, files.values())) > FILES_BYTES_MAX:
            log.warning("the files of model '%s' are too many to be remembered", name)
            return
        await self._note(name, {"config": config, "files": dict(files)})

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        await self._control.unload(name, unload_dependents=unload_dependents)
        await self._note(name, {"unload_dependents": unload_dependents})

    async def repeat(self) -> None:
        """Do again what is remembered. What fails now is logged, and left."""
        for word in await asyncio.to_thread(self._memory.words):
            name = word["name"]
            try:
                if "files" in word:
                    await self._control.load(name, word["config"], word["files"])
                else:
                    dependents = word["unload_dependents"]
                    await self._control.unload(name, unload_dependents=dependents)
            except StreamGateError as error:
                log.error("what a client had loaded can't be had again: %s", error.message.strip())

    async def _note(self, name: str, word: Mapping[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._memory.note, name, word)
        except OSError as error:
            log.warning("what became of model '%s' can't be remembered: %s", name, error)
