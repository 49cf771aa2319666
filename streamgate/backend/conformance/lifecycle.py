"""Checks of what happens around the steps: loading, completing a configuration."""

import copy
from dataclasses import replace
from pathlib import Path

from streamgate.backend.conformance.report import Broken, Unfit
from streamgate.backend.conformance.subject import Check, Subject, wrong_kind
from streamgate.backend.contract import RequestSession, TensorSession
from streamgate.errors import StreamGateError


def loads(subject: Subject) -> None:
    """Loads."""
    with subject.loaded() as session:
        kinds = isinstance(session, TensorSession), isinstance(session, RequestSession)
        if kinds == (True, True):
            raise Broken("load made a session with both 'run' and 'execute'")
        if kinds == (False, False):
            wrong_kind(session, "run' or 'execute")
        subject.kind = "tensor" if kinds[0] else "request"


def names_its_file(subject: Subject) -> None:
    """Names its model file."""
    name: object = subject.backend.default_model_filename
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise Broken(f"default_model_filename is {name!r}, expected a file's name")


def completes(subject: Subject) -> None:
    """Auto-completion changes nothing that was given."""
    given = copy.deepcopy(subject.given)
    completed = subject.backend.auto_complete(subject.given, subject.context.files)
    if subject.given != given:
        raise Broken("auto_complete changed the configuration that it was given in place")
    for key, value in given.items():
        if key not in completed:
            raise Broken(f"auto_complete dropped the field '{key}'")
        if completed[key] != value:
            raise Broken(f"auto_complete changed '{key}' from {value!r} to {completed[key]!r}")


def misses_its_file(subject: Subject) -> None:
    """A missing model file is a StreamGateError."""
    files = subject.context.files
    nowhere = files.directory / "no-such-version"
    missing = replace(files, version_directory=nowhere, path=nowhere / files.path.name)
    try:
        session = subject.backend.load(replace(subject.context, files=missing))
    except StreamGateError as error:
        if not error.message.strip():
            raise Broken("the error has no message") from error
        return
    except Exception as error:
        raise Broken(f"load raised {type(error).__name__}: {error}") from error
    session.close()
    raise Unfit("the backend needs no file")


LIFECYCLE_CHECKS: tuple[Check, ...] = (loads, names_its_file, completes, misses_its_file)
