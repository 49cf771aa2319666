#!/usr/bin/env bash
# Makes .venv-clients: the clients of other speech services, as their users install them.
#
# Downloads about 150 MB. No root, no compiler.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
environment="$(dirname "$(dirname "$here")")/.venv-clients"

rm -rf "$environment"
"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check -c "$here/constraints.txt" \
  nvidia-riva-client 'openai[realtime]' deepgram-sdk google-cloud-speech assemblyai \
  speechmatics-rt wyoming vosk sherpa-onnx-bin sherpa-onnx-core \
  msgpack websocket-client numpy scipy soundfile
# It declares torch and a microphone's library; its client needs neither for a file.
"$environment/bin/pip" install --quiet --disable-pip-version-check -c "$here/constraints.txt" \
  --no-deps whisper-live
