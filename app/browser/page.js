/** The page: what a visitor does, and what the worker answers. */

import { best, Chart, element, numbers, percent } from "./charts.js";
import { decode, openMicrophone, resample } from "./sounds.js";
import { level } from "./waveforms.js";

const MAX_S = 600; // of a recording made here
const STEP_S = 0.25; // between live answers
const SHOWN_S = 30; // of the live timeline
const SAID_MS = 3000; // between live answers that a screen reader says
/** A module whose only function uses vectors: i8x16.splat and i8x16.popcnt. */
const SIMD = "AGFzbQEAAAABBQFgAAF7AwIBAAoKAQgAQQD9D/1iCw==";

const at = (id) => document.getElementById(id);
const BUTTONS = { live: "Listen live", record: "Record", teach: "Record your voice" };
const STOPS = { live: "Stop listening", record: "Stop recording", teach: "Stop recording" };

let worker;
let model; // model.json
let microphone = null; // the open one: {kind, blocks, close, ...}
let opening = false;
let recordings = 0; // made here so far
let queue = Promise.resolve(); // of files, one after the other
const calls = new Map(); // waiting answers of the worker, by number

begin().catch((error) => {
  at("status").textContent = `This page cannot answer: ${error.message}`;
  at("status").classList.add("fault");
});

async function begin() {
  acceptDrops();
  if (!globalThis.WebAssembly?.validate(Uint8Array.from(atob(SIMD), (byte) => byte.charCodeAt(0)))) {
    throw new Error("this browser has no WebAssembly SIMD. Use one of 2023 or newer.");
  }
  worker = new Worker(new URL("answering.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = calls.get(id);
    calls.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  const broken = new Promise((_, reject) => {
    worker.onerror = () => reject(new Error("its program cannot be loaded; reload the page"));
  });
  at("status").textContent = "Loading the model …";
  model = await Promise.race([call("load"), broken]);
  describe();
  for (const kind of Object.keys(BUTTONS)) {
    at(kind).addEventListener("click", () => (microphone ? stop() : start(kind)));
  }
  chosen("files", (files) => files.forEach((file) => enqueue(() => answerFile(file))));
  chosen("own", (files) => enqueue(() => learnFiles(files)));
  at("forget").addEventListener("click", forget);
  enable();
  at("status").textContent = "Ready.";
}

function call(action, content = {}, transfer = []) {
  const id = calls.size ? Math.max(...calls.keys()) + 1 : 0;
  return new Promise((resolve, reject) => {
    calls.set(id, { resolve, reject });
    worker.postMessage({ id, action, content }, transfer);
  });
}

function describe() {
  const { facts, labels } = model;
  const list = (texts) => texts.join(", ");
  at("synthetic").hidden = facts.speech !== "synthetic";
  at("voice").hidden = !model.statistics;
  let text = `The model ${facts.model ?? "unknown"} recognises ${list(labels)}. `;
  text += `It was trained on ${list(facts.corpora ?? ["unknown corpora"])}.`;
  if (facts.ua !== undefined && facts.ua_low !== undefined && facts.ua_high !== undefined) {
    const interval = `${facts.ua_low.toFixed(2)} to ${facts.ua_high.toFixed(2)}`;
    text += ` Unweighted accuracy ${facts.ua.toFixed(2)} (95 % interval ${interval}; chance is `;
    text += `${(1 / labels.length).toFixed(2)}). Protocol: ${facts.protocol ?? "unknown"}.`;
  }
  at("about").textContent = text;
}

function chosen(id, use) {
  at(id).addEventListener("change", () => {
    const files = Array.from(at(id).files);
    at(id).value = ""; // so that the same file can be chosen again
    use(files);
  });
}

function acceptDrops() {
  const mark = (shown) => document.body.classList.toggle("dropping", shown);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? mark(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const files = Array.from(event.dataTransfer.files);
    if (!model) fault("The model is not loaded yet.");
    else if (!files.length) fault("No file was dropped.");
    else files.forEach((file) => enqueue(() => answerFile(file)));
  });
}

/** Work one thing off after the other, and go on after an error. */
function enqueue(work) {
  queue = queue.then(work).catch((error) => fault(error.message));
}

function fault(text) {
  at("fault").textContent = text;
  at("fault").hidden = !text;
}

function say(text) {
  at("announcer").textContent = text;
}

/** What can be pressed now. */
function enable() {
  for (const [kind, text] of Object.entries(BUTTONS)) {
    const on = microphone?.kind === kind;
    at(kind).textContent = on ? STOPS[kind] : text;
    at(kind).classList.toggle("on", on);
    at(kind).disabled = microphone !== null && !on;
  }
  for (const id of ["files", "own"]) at(id).disabled = false;
}

// Files ------------------------------------------------------------------------------------------

async function answerFile(file) {
  await answer(file.name, () => decode(file, model.audio.sample_rate));
}

/** Show the answer for a recording, whose channels a function gives. */
async function answer(name, give) {
  const card = element("article", { className: "card" }, element("h2", {}, `${name}: working …`));
  at("answers").prepend(card);
  try {
    const channels = await give();
    show(card, name, await call("answer", { channels }, transferable(channels)));
  } catch (error) {
    const text = `${name} cannot be used: ${error.message}.`;
    card.replaceWith(element("p", { className: "fault" }, text));
    say(text);
  }
}

function transferable(channels) {
  return channels.map((channel) => channel.buffer);
}

function show(card, name, { probabilities, unknown, points, durationS, ms }) {
  const title = `${name}: ${named(probabilities)}`;
  const chart = new Chart(model.labels, {
    now: "probability",
    curve: points.length ? "over time" : "",
  });
  chart.show(probabilities);
  card.replaceChildren(element("h2", {}, title), chart.table);
  let facts = `${durationS.toFixed(1)} s of sound, answered in ${ms.toFixed(0)} ms.`;
  if (unknown) facts += ` Without knowing your voice, the answer is ${named(unknown)}.`;
  if (points.length) {
    const middles = points.map((p) => ({ ...p, timeS: (p.startS + p.endS) / 2 }));
    chart.draw(middles, middles[0].timeS, middles.at(-1).timeS);
    const first = middles[0].timeS.toFixed(1);
    facts += ` The curves go from 0 to 100 %, and from ${first} s to `;
    facts += `${middles.at(-1).timeS.toFixed(1)} s; each point covers ${model.span_s} s.`;
    card.append(element("p", { className: "hint" }, facts), numbers(model.labels, points));
  } else {
    card.append(element("p", { className: "hint" }, facts));
  }
  say(title);
}

function named(probabilities) {
  const top = best(probabilities);
  return `${model.labels[top]}, ${percent(probabilities[top])}`;
}

// Microphone -------------------------------------------------------------------------------------

async function start(kind) {
  if (opening) return; // a disabled button would lose the focus
  opening = true;
  fault("");
  const blocks = [];
  try {
    const opened = await openMicrophone({
      sampleRate: model.audio.sample_rate,
      onBlock: (block) => microphone && hear(block),
      onEnd: (reason) => stop().then(() => fault(reason)),
    });
    microphone = { kind, blocks, samples: 0, added: 0, busy: false, ...opened };
    if (kind === "live") openStream();
    at(kind === "teach" ? "voice" : "inputs").querySelector(".buttons").after(at("meter"));
    at("meter").hidden = false;
  } catch (error) {
    fault(error.message);
  } finally {
    opening = false;
    enable();
  }
}

async function stop() {
  if (!microphone) return;
  const { kind, blocks, rateHz, close } = microphone;
  microphone = null;
  close();
  at("meter").hidden = true;
  enable();
  if (kind === "live") {
    await call("hush");
    at("now").textContent = "Stopped";
    return;
  }
  const give = async () => [await resample(joined(blocks), rateHz, model.audio.sample_rate)];
  const name = kind === "record" ? `Recording ${++recordings}` : "What you said";
  enqueue(() => (kind === "record" ? answer(name, give) : learn([{ name, give }])));
}

/** Take a block of samples from the microphone. */
function hear(block) {
  const { kind, blocks, rateHz } = microphone;
  blocks.push(block);
  microphone.samples += block.length;
  microphone.added += block.length;
  const db = Math.max(-60, Math.min(0, level(block)));
  at("meter").firstElementChild.style.transform = `scaleX(${1 + db / 60})`;
  at("meter").setAttribute("aria-valuenow", db.toFixed(0));
  if (kind === "live") {
    while (microphone.samples - blocks[0].length >= model.span_s * rateHz) {
      microphone.samples -= blocks.shift().length;
    }
    // A slow machine gives fewer answers, never late ones.
    if (microphone.added >= STEP_S * rateHz && !microphone.busy) listen(microphone);
  } else if (microphone.samples >= MAX_S * rateHz) {
    stop();
  }
}

function joined(blocks) {
  const samples = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  blocks.reduce((place, block) => (samples.set(block, place), place + block.length), 0);
  return samples;
}

// Live -------------------------------------------------------------------------------------------

function openStream() {
  const chart = new Chart(model.labels, { now: "now", curve: `last ${SHOWN_S} s` });
  chart.show(null);
  Object.assign(microphone, { chart, points: [], endS: 0, said: "", saidAt: -SAID_MS });
  at("stream-chart").replaceChildren(chart.table);
  at("now").textContent = "Listening";
  at("facts").textContent = "";
  at("stream").hidden = false;
}

async function listen(stream) {
  const { blocks, rateHz, added } = stream;
  const rate = model.audio.sample_rate;
  [stream.busy, stream.added] = [true, 0];
  stream.endS += added / rateHz;
  try {
    const samples = (await resample(joined(blocks), rateHz, rate)).slice(-model.span_s * rate);
    const content = { samples, added: Math.round((added * rate) / rateHz) };
    const found = await call("listen", content, [samples.buffer]);
    if (microphone === stream) showStream(stream, found);
  } catch (error) {
    fault(error.message);
    if (microphone === stream) stop();
  } finally {
    stream.busy = false;
  }
}

function showStream(stream, { probabilities, ms, clips }) {
  const { chart, points, endS } = stream;
  points.push({ timeS: endS, probabilities });
  while (points[0].timeS < endS - SHOWN_S) points.shift();
  const beginS = Math.max(0, endS - SHOWN_S);
  chart.show(probabilities);
  chart.draw(points, beginS, beginS + SHOWN_S);
  at("now").textContent = probabilities ? named(probabilities) : "Silence";
  let text = `Each answer covers the last ${model.span_s} s and took ${ms.toFixed(0)} ms.`;
  if (clips) text += ` Your voice is known by ${(clips * model.span_s).toFixed(0)} s of speech.`;
  at("facts").textContent = text;
  if (clips) showKnown(clips);
  const emotion = probabilities ? model.labels[best(probabilities)] : "silence";
  if (emotion !== stream.said && performance.now() - stream.saidAt > SAID_MS) {
    [stream.said, stream.saidAt] = [emotion, performance.now()];
    say(emotion);
  }
}

// Voice ------------------------------------------------------------------------------------------

async function learnFiles(files) {
  const rate = model.audio.sample_rate;
  await learn(files.map((file) => ({ name: file.name, give: () => decode(file, rate) })));
}

/** Learn the voice from recordings: {name, give}. */
async function learn(given) {
  at("messages").replaceChildren();
  at("known").textContent = "Learning …";
  const faults = [];
  const usable = [];
  for (const { name, give } of given) {
    try {
      usable.push({ name, channels: await give() });
    } catch (error) {
      faults.push(`${name} was not used: ${error.message}`);
    }
  }
  const { clips, messages } = await call("learn", { recordings: usable });
  for (const text of [...faults, ...messages]) at("messages").append(element("li", {}, text));
  showKnown(clips);
}

async function forget() {
  await call("forget");
  at("messages").replaceChildren();
  showKnown(0);
  at("voice").firstElementChild.focus();
}

function showKnown(clips) {
  const number = Math.max(1, Math.round(clips));
  const count = number === 1 ? "one recording" : `${number} recordings`;
  const text = clips ? `Your voice is known by as much as ${count}.` : "Your voice is not known yet.";
  if (at("known").textContent !== text) at("known").textContent = text;
  at("forget").disabled = !clips;
}
