"""What a process records: the recorder that its settings ask for, and who writes for it."""

import asyncio
import logging
from typing import Final, final

import streamgate
from streamgate.link.contract import FindRoute, ModelLink
from streamgate.recording.writer import BundleWriter
from streamgate.server.settings import Settings
from streamgate.session.recorded import Recorder

log = logging.getLogger(__name__)

WRITING_SECONDS: Final = 10.0
"""How long the disk may take over what was recorded last."""


@final
class Recordings:
    """Begin them before any model has a link, and close them when nothing comes any more."""

    def __init__(self) -> None:
        self._writer: BundleWriter | None = None
        self._recorder: Recorder | None = None

    async def begin(self, settings: Settings, find_route: FindRoute) -> None:
        """Record as the settings say, or nothing. Raises StreamGateError for a directory that can't
        be had."""
        options = settings.recording
        if options is None:
            return
        self._writer = writer = await asyncio.to_thread(BundleWriter, options)
        log.warning("sequences are recorded: what clients send is stored in %s", options.directory)
        self._recorder = Recorder(options, writer, streamgate.__version__, find_route)

    def front(self, link: ModelLink) -> ModelLink:
        """The link that records a model's sequences; itself where nothing is recorded."""
        return link if self._recorder is None else self._recorder.front(link)

    async def close(self) -> None:
        """Write what was recorded last. Idempotent."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.close, WRITING_SECONDS)
