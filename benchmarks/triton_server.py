"""A real Triton (tritonserver 2.51, Python backend, CPU) on a model repository.

`benchmarks/setup_triton.sh` makes the environment that this module starts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.server_process import (
    HOST,
    ROOT,
    ServerProcess,
    free_ports,
    launch,
    terminate,
    wait_http_ready,
)

ENVIRONMENT: Final = ROOT / ".venv-triton"
BINARY: Final = ENVIRONMENT / "tritonserver" / "bin" / "tritonserver"
VERSION: Final = "2.51.0"
START_LIMIT_SECONDS: Final = 90.0


def is_installed() -> bool:
    return BINARY.is_file()


MISSING_REASON: Final = "no .venv-triton: benchmarks/setup_triton.sh makes it"


@contextlib.contextmanager
def triton_server(
    repository: Path, scratch: Path, options: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """Run Triton on `repository`; its log goes to `scratch`. Yields once every model is ready.

    Raises `FileNotFoundError` without the environment and `ServerFailedError` when Triton does
    not start.
    """
    if not is_installed():
        raise FileNotFoundError(MISSING_REASON)
    http, grpc, metrics = free_ports(3)
    region_prefix = f"streamgate-triton-{os.getpid()}-{grpc}"
    command: list[str | Path] = [
        BINARY,
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={ENVIRONMENT / 'tritonserver' / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        *(f"--{front}-address={HOST}" for front in ("http", "grpc", "metrics")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=3",
        *options,
    ]
    log = scratch / "triton.log"
    process = launch(command, log, _environment())
    server = ServerProcess(
        name="triton",
        version=VERSION,
        process=process,
        log=log,
        grpc=f"{HOST}:{grpc}",
        http=f"{HOST}:{http}",
        metrics=f"{HOST}:{metrics}",
    )
    try:
        wait_http_ready(server, START_LIMIT_SECONDS)
        yield server
    finally:
        terminate(process)
        for region in Path("/dev/shm").glob(f"{region_prefix}*"):
            region.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """The stub finds its interpreter as `python3` on PATH and libpython by the loader."""
    return {
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": str(ENVIRONMENT / "lib-triton"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
