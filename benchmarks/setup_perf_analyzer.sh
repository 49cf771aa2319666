#!/usr/bin/env bash
# Makes .venv-perf: the perf_analyzer binary of tritonclient 2.45.0, and py-spy, without root.
#
# Downloads about 16 MB: tritonclient 12.6, the CUDA runtime that the binary is linked against
# 0.9 (no GPU needed), py-spy 2.8. The one library that no package index has, libb64, is made
# here from libb64.c with the C compiler.
#
# Use: benchmarks/setup_perf_analyzer.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
environment="$root/.venv-perf"
constraints="$here/triton-constraints.txt"
compiler="${CC:-cc}"

if ! command -v "$compiler" >/dev/null; then
  echo "setup_perf_analyzer: no C compiler '$compiler'; perf_analyzer needs a libb64, which is" \
    "compiled from benchmarks/libb64.c (set CC=...)" >&2
  exit 1
fi

rm -rf "$environment"
"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  -c "$constraints" tritonclient nvidia-cuda-runtime-cu12 py-spy

packages="$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
libraries="$environment/lib-perf"
mkdir -p "$libraries"
ln -sfn "$packages/nvidia/cuda_runtime/lib/libcudart.so.12" "$libraries/libcudart.so.12"
"$compiler" -O2 -Wall -Werror -shared -fPIC -Wl,-soname,libb64.so.0d \
  -o "$libraries/libb64.so.0d" "$here/libb64.c"
chmod +x "$environment/bin/perf_analyzer"

missing="$(LD_LIBRARY_PATH="$libraries" ldd "$environment/bin/perf_analyzer" \
  | grep 'not found' || true)"
if [[ -n "$missing" ]]; then
  echo "setup_perf_analyzer: shared libraries are missing (OpenSSL 3 comes with the system):" >&2
  echo "$missing" >&2
  exit 1
fi
LD_LIBRARY_PATH="$libraries" "$environment/bin/perf_analyzer" --version
echo "setup_perf_analyzer: $environment is ready"
