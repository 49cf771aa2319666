// A session with the server that outlives its connections (docs/resume.md): what is said is kept
// until it is known to have come, and after a lost connection it is said again from there on.

const FIRST_DELAY = 100; // milliseconds
const LONGEST_DELAY = 2000;
const LOST = new Set([1001, 1005, 1006, 1012]); // how connections are closed that may come back

export class Talk {
  // `onMessage` gets each message once; `onLost` and `onBack` tell how it goes; `onEnd` the close
  // code, when it is over for good.
  constructor(address, { onMessage, onLost, onBack, onEnd }) {
    Object.assign(this, { address, onMessage, onLost, onBack, onEnd });
    this.outbox = []; // [message, where its audio ends in bytes]
    this.first = 0; // the number of the oldest one in it
    this.next = 0; // of the one that is sent next
    this.audioBytes = 0;
    this.lastEvent = 0;
    this.token = null;
    this.isOver = false;
    this.connect(address);
  }

  connect(address) {
    this.isGreeted = !this.token;
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.pump();
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.socket.onclose = ({ code }) => this.closed(code);
  }

  send(message) {
    if (typeof message !== "string") this.audioBytes += message.byteLength;
    this.outbox.push([message, this.audioBytes]);
    this.pump();
  }

  // So many bytes of the audio have come for certain.
  confirm(bytes) {
    while (this.first < this.next && typeof this.outbox[0][0] !== "string" && this.outbox[0][1] <= bytes) {
      this.outbox.shift();
      this.first += 1;
    }
  }

  // The user wants no more.
  leave() {
    this.isOver = true;
    this.socket.close(1000);
  }

  pump() {
    if (!this.isGreeted || this.socket.readyState !== WebSocket.OPEN) return;
    while (this.next < this.first + this.outbox.length) {
      this.socket.send(this.outbox[this.next - this.first][0]);
      this.next += 1;
    }
  }

  hear(message) {
    if (message.resume) ({ token: this.token, seconds: this.seconds } = message.resume);
    if (message.type === "resumed") {
      this.next = message.received.messages;
      this.isGreeted = true;
      this.lostAt = null;
      this.onBack();
      this.pump();
      return;
    }
    this.lastEvent = message.event ?? this.lastEvent;
    if (message.type === "ended") this.isOver = true;
    this.onMessage(message);
  }

  closed(code) {
    const now = performance.now();
    this.lostAt ??= now;
    const isLate = now - this.lostAt > (this.seconds ?? 0) * 1000;
    if (this.isOver || !this.token || !LOST.has(code) || isLate) {
      this.isOver = true;
      this.onEnd(code);
      return;
    }
    if (this.lostAt === now) this.delay = FIRST_DELAY;
    this.onLost();
    const address = new URL(this.address);
    address.searchParams.set("resume", this.token);
    address.searchParams.set("last_event", this.lastEvent);
    setTimeout(() => { if (!this.isOver) this.connect(address); }, this.delay);
    this.delay = Math.min(2 * this.delay, LONGEST_DELAY);
  }
}
