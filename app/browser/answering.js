/** The worker that holds the model: takes samples, gives answers, and never blocks the page. */

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";
import { Voice } from "./voice.js";
import { condition, cut, mix, roll, short } from "./waveforms.js";

const OVER_TIME = 240; // windows at most over the time of a recording
const MEMORY_S = 600; // of speech after which what was heard counts for half

let model; // model.json
let session;
let voice; // of the visitor; null if the model is not calibrated
let average; // speaker that the model takes an unknown voice for
let waiting = []; // live windows that the voice has yet to learn from: {end, seconds, vector}
let heard = 0; // samples of the live stream

const ACTIONS = { load, answer, learn, listen, hush, forget };

self.onmessage = async ({ data: { id, action, content } }) => {
  try {
    self.postMessage({ id, result: await ACTIONS[action](content) });
  } catch (error) {
    self.postMessage({ id, error: error.message ?? String(error) });
  }
};

async function load() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = {
    wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href,
  };
  const [facts, graph] = await Promise.all([
    fetched("model.json").then((response) => response.json()),
    fetched("model.onnx").then((response) => response.arrayBuffer()),
  ]);
  model = facts;
  await check(graph);
  try {
    // 8-bit weights become float32 once, when the model is loaded, and not for each answer.
    const extra = { session: { disable_quant_qdq: "1" } };
    session = await ort.InferenceSession.create(graph, { logSeverityLevel: 3, extra });
  } catch (error) {
    throw new Error(`model.onnx cannot be used: ${error.message}`);
  }
  voice = model.statistics && new Voice(model.statistics);
  average = voice?.speaker();
  const { probabilities } = await run(new Float32Array(3 * model.audio.sample_rate).fill(0.01));
  if (probabilities.length !== model.labels.length) mismatch(probabilities.length, "labels");
  return model;
}

async function fetched(name) {
  let response;
  try {
    // A browser may hold one of the files of an older build.
    response = await fetch(new URL(name, import.meta.url), { cache: "no-cache" });
  } catch {
    throw new Error(`${name} cannot be fetched: the connection or the server is gone`);
  }
  if (!response.ok) throw new Error(`${name} is missing (status ${response.status})`);
  return response;
}

async function check(graph) {
  if (graph.byteLength !== model.bytes) mismatch(graph.byteLength, "bytes");
  if (!crypto.subtle) return; // only https and localhost have it
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", graph));
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (text !== model.sha256) throw new Error("model.onnx is not the file of model.json");
}

function mismatch(got, unit) {
  const want = unit === "bytes" ? model.bytes : model.labels.length;
  throw new Error(`model.onnx is not the file of model.json: got ${got} ${unit}, want ${want}`);
}

/** Probabilities, and the vector if the model is calibrated, of a conditioned waveform. */
async function run(waveform, speaker = average) {
  const feeds = { waveform: new ort.Tensor("float32", waveform, [1, waveform.length]) };
  if (speaker) {
    feeds.speaker_mean = new ort.Tensor("float32", speaker.mean);
    feeds.speaker_std = new ort.Tensor("float32", speaker.std);
  }
  const wanted = ["probabilities", ...(speaker ? ["representation"] : [])];
  const { probabilities, representation } = await session.run(feeds, wanted);
  return { probabilities: Array.from(probabilities.data), vector: representation?.data };
}

function windowsOf(channels) {
  const samples = mix(channels, { sampleRate: model.audio.sample_rate, windowS: model.window_s });
  let best = { durationS: 0, peak: 0, excluded: "" };
  const windows = cut(samples, model.window_s * model.audio.sample_rate).map((window) => {
    const kept = condition(window.samples, model.audio);
    const longer = kept.durationS - best.durationS || kept.peak - best.peak;
    if (longer >= 0) best = kept;
    return kept.waveform;
  });
  const durationS = samples.length / model.audio.sample_rate;
  const reason = short(durationS, model.audio.min_duration_s) || best.excluded;
  if (reason) throw new Error(reason);
  return { samples, windows: windows.filter((waveform) => waveform.length), durationS };
}

/** Let live speech be answered during long work. */
function pause() {
  return new Promise((resolve) => setTimeout(resolve));
}

/** Average of the answers for windows, by their length. */
async function mean(windows, speaker) {
  const total = model.labels.map(() => 0);
  let samples = 0;
  for (const waveform of windows) {
    if (windows.length > 1) await pause();
    const { probabilities } = await run(waveform, speaker);
    probabilities.forEach((value, n) => (total[n] += value * waveform.length));
    samples += waveform.length;
  }
  return total.map((value) => value / samples);
}

/** Answer a recording as a whole, and window by window. */
async function answer({ channels }) {
  const begin = performance.now();
  const { samples, windows, durationS } = windowsOf(channels);
  const speaker = voice?.clips ? voice.speaker() : undefined;
  const probabilities = await mean(windows, speaker);
  const ms = performance.now() - begin;
  const unknown = speaker && (await mean(windows));
  const rate = model.audio.sample_rate;
  const hopS = Math.max(model.hop_s, (durationS - model.span_s) / OVER_TIME);
  const points = [];
  const spans = roll(samples, Math.round(model.span_s * rate), Math.round(hopS * rate));
  for (const span of spans.length > 1 ? spans : []) {
    await pause();
    const { waveform } = condition(span.samples, model.audio);
    points.push({
      startS: span.start / rate,
      endS: (span.start + span.samples.length) / rate,
      probabilities: waveform.length ? (await run(waveform, speaker)).probabilities : null,
    });
  }
  return { probabilities, unknown, points, durationS, ms };
}

/** Learn how the voice sounds from recordings: {name, channels}. */
async function learn({ recordings }) {
  const [vectors, names, messages] = [[], [], []];
  for (const { name, channels } of recordings) {
    try {
      for (const waveform of windowsOf(channels).windows) {
        vectors.push((await run(waveform)).vector);
        names.push(name);
      }
    } catch (error) {
      messages.push(`${name} was not used: ${error.message}`);
    }
  }
  vectors.forEach((vector) => voice.add(vector));
  const strangers = new Set(voice.strangers(vectors).map((place) => names[place]));
  strangers.forEach((name) => messages.push(`${name} sounds like another voice than the others`));
  return { clips: voice.clips, messages };
}

/** Answer the last window of a live stream, which is `added` samples longer than before. */
async function listen({ samples, added }) {
  const begin = performance.now();
  const rate = model.audio.sample_rate;
  heard += added;
  while (voice && waiting.length && waiting[0].end <= heard - model.span_s * rate) {
    const { seconds, vector } = waiting.shift();
    voice.add(vector, { weight: seconds / model.span_s, keep: 0.5 ** (seconds / MEMORY_S) });
  }
  const { waveform } = condition(samples, model.audio);
  let probabilities = null;
  if (waveform.length) {
    const found = await run(waveform, voice?.speaker());
    probabilities = found.probabilities;
    if (voice) waiting.push({ end: heard, seconds: added / rate, vector: found.vector });
  }
  return { probabilities, ms: performance.now() - begin, clips: voice?.clips ?? 0 };
}

/** End the live stream. */
function hush() {
  [waiting, heard] = [[], 0];
}

function forget() {
  waiting = [];
  voice.forget();
}
