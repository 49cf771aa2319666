#!/usr/bin/env bash
# Makes .venv-triton: a real tritonserver 2.51 with its Python backend, CPU only, without root.
#
# The binary comes out of the nvidia-pytriton wheel (about 55 MB). We start it by hand, so the
# wheel's own Python dependencies are left out; numpy is there for the models.
# The Python backend's stub is linked against a shared libpython of one minor version, so the
# interpreter that makes the environment has to be built with --enable-shared.
#
# Use: benchmarks/setup_triton.sh        (PYTHON=python3.12 picks another interpreter)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
environment="$root/.venv-triton"
constraints="$here/triton-constraints.txt"
python="${PYTHON:-python3}"

read -r version shared library_directory library < <("$python" - <<'PROBE'
import sys, sysconfig
print(
    f"{sys.version_info.major}.{sys.version_info.minor}",
    sysconfig.get_config_var("Py_ENABLE_SHARED") or 0,
    sysconfig.get_config_var("LIBDIR"),
    sysconfig.get_config_var("INSTSONAME"),
)
PROBE
)
if [[ "$shared" != 1 ]]; then
  echo "setup_triton: $python ($version) has no shared libpython, which Triton's Python backend" \
    "needs; name another interpreter with PYTHON=..." >&2
  exit 1
fi
if [[ ! -e "$library_directory/$library" ]]; then
  echo "setup_triton: $python says its libpython is $library_directory/$library," \
    "but no such file exists" >&2
  exit 1
fi

rm -rf "$environment"
"$python" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  -c "$constraints" nvidia-pytriton numpy

packages="$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
server="$packages/pytriton/tritonserver"
stub="$server/python_backend_stubs/$version/triton_python_backend_stub"
if [[ ! -f "$stub" ]]; then
  echo "setup_triton: the wheel has no Python backend stub for Python $version; it has:" \
    "$(ls "$server/python_backend_stubs" | tr '\n' ' ')" >&2
  exit 1
fi
cp "$stub" "$server/backends/python/triton_python_backend_stub"
chmod +x "$server/bin/tritonserver" "$server/backends/python/triton_python_backend_stub"

# What benchmarks/triton_server.py needs to know, at one fixed place.
ln -sfn "$server" "$environment/tritonserver"
mkdir -p "$environment/lib-triton"
ln -sfn "$library_directory/$library" "$environment/lib-triton/$library"

missing="$(LD_LIBRARY_PATH="$environment/lib-triton" ldd "$server/bin/tritonserver" \
  "$server/backends/python/triton_python_backend_stub" | grep 'not found' || true)"
if [[ -n "$missing" ]]; then
  echo "setup_triton: shared libraries are missing:" >&2
  echo "$missing" >&2
  exit 1
fi
echo "setup_triton: $environment is ready (Python $version)"
