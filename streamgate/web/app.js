import { openFile, openMicrophone } from "/web/sources.js";
import { showServer, watchSlots } from "/web/slots.js";
import { Talk } from "/web/talk.js";

const element = (id) => document.getElementById(id);
const form = element("controls");
const LATENCIES = 25;
const SAMPLE_BYTES = 2;

let models = [];
let translations = [];
let session = null;

async function loadModels() {
  const answer = await fetch("/v1/speech/models");
  if (!answer.ok) throw new Error(`the list of models: ${answer.status} ${answer.statusText}`);
  ({ models, translations } = await answer.json());
  element("model").replaceChildren(...models.map(({ name }) => new Option(name)));
  if (!models.length) complain("No speech model is being served.");
  element("start").disabled = !models.length;
  showLanguages();
}

function showLanguages() {
  const model = models.find(({ name }) => name === element("model").value);
  const named = (tag) => new Intl.DisplayNames(["en"], { type: "language" }).of(tag);
  const languages = model?.languages ?? [];
  element("language").replaceChildren(
    ...(languages.length === 1 ? [] : [new Option("any", "")]),
    ...languages.map((tag) => new Option(named(tag), tag)),
  );
  const targets = new Set();
  for (const each of translations)
    if (!languages.length || !each.languages.length || each.languages.some((tag) => languages.includes(tag)))
      each.target_languages.forEach((tag) => targets.add(tag));
  element("targets").hidden = !targets.size;
  const boxes = [...targets].map((tag) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "target", value: tag });
    label.append(box, ` ${named(tag)}`);
    return label;
  });
  element("targets").replaceChildren(element("targets").querySelector("legend"), ...boxes);
}

function showSource() {
  const isFile = form.elements.source.value === "file";
  element("file").hidden = element("pace-label").hidden = !isFile;
  element("file").required = isFile;
}

function complain(text) {
  element("problem").textContent = text;
  element("problem").hidden = !text;
}

// One text that grows: finished utterances in a list, the one being spoken below it.
class Text {
  constructor(section) {
    this.list = section.querySelector("ol");
    this.stable = section.querySelector(".live .stable");
    this.tail = section.querySelector(".live .tail");
    this.list.replaceChildren();
    this.said = "";
    this.startsAt = null;
    this.show("");
  }

  show(tail) {
    const space = tail.length - tail.trimStart().length;
    this.stable.textContent = this.said + tail.slice(0, space);
    this.tail.textContent = tail.slice(space);
  }

  take({ stable, tail, final, words }) {
    this.said += stable;
    this.startsAt ??= words?.[0]?.start ?? null;
    if (final) {
      if (this.said.trim()) this.list.append(this.line());
      this.list.scrollTop = this.list.scrollHeight;
      this.said = "";
      this.startsAt = null;
    }
    this.show(final ? "" : tail);
  }

  line() {
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = this.startsAt === null ? "" : `${this.startsAt.toFixed(1)} s`;
    const text = document.createElement("span");
    text.textContent = this.said.trim();
    item.append(time, text);
    return item;
  }
}

function textSections(targets) {
  const texts = element("texts");
  texts.querySelectorAll("[data-target]").forEach((each) => each.remove());
  const named = new Intl.DisplayNames(["en"], { type: "language" });
  const sections = {};
  for (const tag of targets) {
    const section = document.createElement("section");
    section.className = "text";
    section.dataset.target = tag;
    section.lang = tag;
    section.setAttribute("aria-label", `Translation into ${named.of(tag)}`);
    section.innerHTML = '<h2></h2><ol aria-live="polite" aria-relevant="additions"></ol>' +
      '<p class="live" aria-hidden="true"><span class="stable"></span><span class="tail"></span></p>';
    section.querySelector("h2").textContent = named.of(tag);
    texts.append(section);
    sections[tag] = new Text(section);
  }
  return sections;
}

class Session {
  constructor(source, query, targets) {
    this.source = source;
    this.transcript = new Text(element("transcript").closest("section"));
    this.translations = textSections(targets);
    this.sent = []; // [seconds of audio, when they were sent]
    this.sentSamples = 0;
    this.latencies = [];
    this.isEnding = false;
    const address = new URL(`/v1/speech?${query}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.talk = new Talk(address, {
      onMessage: (message) => this.take(message),
      onLost: () => complain("The connection was lost: coming back …"),
      onBack: () => complain(""),
      onEnd: (code) => this.close(code),
    });
  }

  take(message) {
    if (message.type === "ready") {
      this.sequence = message.sequence_id;
      this.source.start((samples) => this.send(samples), () => this.end());
    } else if (message.type === "text") {
      this.transcript.take(message);
      this.measure(message.audio_seconds);
      if (message.speech) showSpeech(message.speech.began);
      else if (message.speech_probability !== undefined) showSpeech(message.speech_probability > 0.5);
    } else if (message.type === "translation") {
      this.translations[message.language]?.take(message);
    } else if (message.type === "error") {
      complain(message.message);
    } else if (message.type === "ended") {
      this.reason = message.reason;
    }
  }

  // `samples` are floats at the source's rate, or bytes of a file as they are.
  send(samples) {
    if (samples instanceof Float32Array) {
      showLevel(samples);
      const integers = Int16Array.from(samples, (each) => Math.max(-1, Math.min(1, each)) * 32767);
      this.talk.send(integers);
      this.sentSamples += samples.length;
      this.sent.push([this.sentSamples / this.source.rate, performance.now()]);
    } else {
      this.talk.send(samples);
    }
  }

  // How long ago the last audio that this result covers was sent.
  measure(audioSeconds) {
    element("heard").textContent = `${audioSeconds.toFixed(1)} s`;
    // A second less than that: silence behind the audio may have been heard, too.
    if (this.source.rate) this.talk.confirm((audioSeconds - 1) * this.source.rate * SAMPLE_BYTES);
    let sentAt = null;
    while (this.sent.length && this.sent[0][0] <= audioSeconds + 1e-3) [, sentAt] = this.sent.shift();
    if (sentAt === null) return;
    this.latencies.push(performance.now() - sentAt);
    if (this.latencies.length > LATENCIES) this.latencies.shift();
    const sorted = [...this.latencies].sort((a, b) => a - b);
    element("latency").textContent = `${sorted[sorted.length >> 1].toFixed(0)} ms`;
  }

  end() {
    if (this.isEnding) return;
    this.isEnding = true;
    this.source.stop();
    if (this.sequence) this.talk.send('{"type":"end"}');
    else this.talk.leave();
    element("stop").disabled = true;
  }

  close(code) {
    this.source.stop();
    if (!this.sequence) complain("The server refused the stream: no free slot, or it can't serve it.");
    else if (this.reason !== "client_end") complain(`The stream ended: ${this.reason ?? `connection lost (${code})`}.`);
    session = null;
    showSpeech(false);
    showLevel(null);
    element("start").disabled = false;
    element("stop").disabled = true;
    document.body.dataset.state = "done";
  }
}

function showSpeech(isOn) {
  const output = element("speech");
  output.dataset.on = isOn;
  output.textContent = isOn ? "speaking" : "silent";
}

function showLevel(samples) {
  let sum = 0;
  for (const each of samples ?? []) sum += each * each;
  const decibels = samples ? Math.max(-60, 10 * Math.log10(sum / samples.length + 1e-9)) : -60;
  element("level").firstElementChild.style.width = `${((decibels + 60) / 60) * 100}%`;
  element("level").setAttribute("aria-valuenow", decibels.toFixed(0));
}

async function start(event) {
  event.preventDefault();
  complain("");
  element("start").disabled = true;
  document.body.dataset.state = "running";
  try {
    const isFile = form.elements.source.value === "file";
    const source = isFile
      ? await openFile(element("file").files[0], element("pace").checked)
      : await openMicrophone();
    const targets = [...form.querySelectorAll("[name=target]:checked")].map(({ value }) => value);
    const query = new URLSearchParams({ model: element("model").value });
    if (source.rate) {
      query.set("encoding", "s16le");
      query.set("sample_rate", source.rate);
    }
    if (element("language").value) query.set("language", element("language").value);
    if (targets.length) query.set("translate", targets.join(","));
    element("spoken").textContent = element("model").value;
    session = new Session(source, query, targets);
    element("stop").disabled = false;
    element("stop").focus();
  } catch (error) {
    complain(error.message);
    element("start").disabled = false;
  }
}

form.addEventListener("submit", start);
element("stop").addEventListener("click", () => session?.end());
addEventListener("pagehide", () => session?.talk.leave());
element("model").addEventListener("change", showLanguages);
form.addEventListener("change", showSource);
showSource();
showServer();
watchSlots(() => session?.sequence);
loadModels().catch((error) => complain(error.message));
