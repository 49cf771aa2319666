// Runs on the audio thread: hands the microphone's samples on, in pieces of about 50 ms.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(Math.round(sampleRate / 20));
    this.filled = 0;
  }

  process(inputs) {
    const input = inputs[0][0];
    if (!input) return true;
    let at = 0;
    while (at < input.length) {
      const count = Math.min(input.length - at, this.piece.length - this.filled);
      this.piece.set(input.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.piece.length) {
        this.port.postMessage(this.piece.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
