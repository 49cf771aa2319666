"""Files that come with a load request: they stand in for the model's folder.

They are written to a temporary folder that lives as long as the object that holds it.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import final

from streamgate.errors import ConfigError, ConfigPhase
from streamgate.repository.layout import path_inside

_PREFIX = "file:"


@final
class OverrideFolder:
    """A model folder in temporary storage. Removed when the last reference is gone, or at exit."""

    __slots__ = ("__weakref__", "path")

    def __init__(self, model: str, files: Mapping[str, bytes]) -> None:
        """Write `files`, by path in the model folder (`1/model.py`, or `file:1/model.py`).

        Raises ConfigError (POLL) for a path that leads out of the folder or can't be written.
        """
        root = Path(tempfile.mkdtemp(prefix="streamgate-"))
        weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
        self.path = root / model
        self.path.mkdir()
        for name, content in files.items():
            self._write(name.removeprefix(_PREFIX), content)

    def _write(self, name: str, content: bytes) -> None:
        try:
            path = path_inside(self.path, name, "file override")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise ConfigError(f"file override: '{name}' is given twice, or is a folder too")
            path.write_bytes(content)
        except ConfigError as error:
            # The temporary path means nothing to whoever sent the file.
            message = error.message.replace(f"'{self.path}'", "the model's folder")
            raise ConfigError(message, phase=ConfigPhase.POLL) from None
        except OSError as error:
            raise ConfigError(
                f"file override: '{name}' can't be written: {error.strerror}",
                phase=ConfigPhase.POLL,
            ) from error
