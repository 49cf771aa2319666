"""Whether somebody else's `streamgate` is installed over ours.

Another project owns the distribution name `streamgate` and installs an import package of the same
name. Installed together, whichever came last has overwritten the other's files.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata

from streamgate.errors import Code, StreamGateError

OURS = "streamgate-server"


def check_name(owners: Mapping[str, Sequence[str]] | None = None) -> None:
    """Raises StreamGateError when another distribution provides `streamgate` as well.

    `owners` maps import names to distributions; by default, what is installed.
    """
    found = (metadata.packages_distributions() if owners is None else owners).get("streamgate", [])
    others = sorted({name for name in found if name.lower().replace("_", "-") != OURS})
    if others:
        raise StreamGateError(
            Code.INTERNAL,
            f"the import package 'streamgate' is provided by {', '.join(others)} as well as by "
            f"{OURS}, and one has overwritten the other; uninstall both, then install {OURS}",
        )
