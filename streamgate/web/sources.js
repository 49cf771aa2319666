// Where audio comes from. Each source has a `rate` (null: bytes of a file in whatever format),
// `start(send, end)` and `stop()`.

const PIECE_SECONDS = 0.05;
const FILE_PIECE_BYTES = 32768;

export async function openMicrophone() {
  if (!navigator.mediaDevices)
    throw new Error("The browser gives no microphone to pages from other machines without HTTPS.");
  const stream = await navigator.mediaDevices
    .getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } })
    .catch((error) => { throw new Error(`No microphone: ${error.message}`); });
  const context = new AudioContext();
  await context.audioWorklet.addModule("/web/capture.js");
  const input = context.createMediaStreamSource(stream);
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  return {
    rate: context.sampleRate,
    start(send) {
      capture.port.onmessage = ({ data }) => send(data);
      input.connect(capture);
    },
    stop() {
      capture.port.onmessage = null;
      stream.getTracks().forEach((track) => track.stop());
      if (context.state !== "closed") context.close();
    },
  };
}

export async function openFile(file, atPace) {
  if (!file) throw new Error("Choose an audio file.");
  const bytes = await file.arrayBuffer();
  return atPace ? pacedFile(bytes.slice(0)) : wholeFile(bytes);
}

// As fast as the server takes it, decoded by the server.
function wholeFile(bytes) {
  let stopped = false;
  return {
    rate: null,
    start(send, end) {
      for (let at = 0; at < bytes.byteLength && !stopped; at += FILE_PIECE_BYTES)
        send(bytes.slice(at, at + FILE_PIECE_BYTES));
      end();
    },
    stop() { stopped = true; },
  };
}

// Decoded by the browser, and played while it is sent.
async function pacedFile(bytes) {
  const context = new AudioContext();
  const audio = await context.decodeAudioData(bytes).catch(() => {
    throw new Error("The browser can't decode this file; without the pace of speech, the server tries.");
  });
  const samples = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++)
    audio.getChannelData(channel).forEach((each, at) => { samples[at] += each; });
  if (audio.numberOfChannels > 1) samples.forEach((each, at) => { samples[at] = each / audio.numberOfChannels; });
  const piece = Math.round(audio.sampleRate * PIECE_SECONDS);
  let timer = null;
  return {
    rate: audio.sampleRate,
    start(send, end) {
      const player = context.createBufferSource();
      player.buffer = audio;
      player.connect(context.destination);
      player.start();
      const startedAt = performance.now();
      let at = 0;
      timer = setInterval(() => {
        const due = ((performance.now() - startedAt) / 1000) * audio.sampleRate;
        while (at + piece <= due && at < samples.length) {
          send(samples.slice(at, at + piece));
          at += piece;
        }
        if (at >= samples.length) end();
      }, PIECE_SECONDS * 500);
    },
    stop() {
      clearInterval(timer);
      if (context.state !== "closed") context.close();
    },
  };
}
