"""Whether somebody else's `streamgate` is installed over ours.

Another project owns the distribution name `streamgate` and installs an import package of the same
name. Installed together, whichever came last has overwritten the other's files.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata

from streamgate.errors import Code, StreamGateError

OURS = "streamgate-server"
THEIRS = "streamgate"


def check_name() -> None:
    """Raises StreamGateError when the other project is installed as well. Takes no time."""
    try:
        metadata.distribution(THEIRS)
    except metadata.PackageNotFoundError:
        return
    raise _clash([THEIRS])


def check_owners(owners: Mapping[str, Sequence[str]] | None = None) -> None:
    """Raises StreamGateError when any other distribution provides `streamgate`.

    `owners` maps import names to distributions; by default what is installed, which takes long to
    find out.
    """
    found = (metadata.packages_distributions() if owners is None else owners).get("streamgate", [])
    others = sorted({name for name in found if name.lower().replace("_", "-") != OURS})
    if others:
        raise _clash(others)


def _clash(others: Sequence[str]) -> StreamGateError:
    return StreamGateError(
        Code.INTERNAL,
        f"the import package 'streamgate' is provided by {', '.join(others)} as well as by {OURS}, "
        f"and one has overwritten the other; uninstall both, then install {OURS}",
    )
