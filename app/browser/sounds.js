/** Sound from files and from the microphone, at the rate of the model. */

const MAX_S = 600;
const MAX_MB = 200; // 10 minutes in two channels of 24 bits at 48 kHz take 173
const BLOCK_S = 0.05;
const PROBE_MS = 3000;

/**
 * Decode a file to the channels of its samples.
 *
 * @param {File} file
 * @param {number} sampleRate in Hz; the browser resamples
 * @returns {Promise<Float32Array[]>}
 * @throws {Error} with the reason, if the file is too large, too long or not decodable
 */
export async function decode(file, sampleRate) {
  const megabytes = file.size / 1e6;
  if (megabytes > MAX_MB) {
    throw new Error(`too large: ${megabytes.toFixed(0)} MB, want at most ${MAX_MB} MB`);
  }
  // Hours of sound in a small file would take all memory.
  checkLength(await lengthOf(file));
  let decoded;
  try {
    const context = new OfflineAudioContext(1, 1, sampleRate);
    decoded = await context.decodeAudioData(await file.arrayBuffer());
  } catch (error) {
    if (error.name === "NotReadableError") throw new Error("cannot be read: it has changed or gone");
    throw new Error("cannot be decoded: this browser knows no sound of this kind");
  }
  checkLength(decoded.duration);
  return Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
}

function checkLength(seconds) {
  if (seconds > MAX_S) {
    const minutes = (seconds / 60).toFixed(1);
    throw new Error(`too long: ${minutes} minutes, want at most ${MAX_S / 60} minutes`);
  }
}

/** Length in seconds as the header says it; 0 if it does not. */
function lengthOf(file) {
  const url = URL.createObjectURL(file);
  const audio = new Audio();
  return new Promise((resolve) => {
    audio.onloadedmetadata = () => resolve(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => resolve(0);
    setTimeout(resolve, PROBE_MS, 0);
    audio.preload = "metadata";
    audio.src = url;
  }).finally(() => {
    audio.removeAttribute("src");
    URL.revokeObjectURL(url);
  });
}

/** Resample mono samples as the browser does it. */
export async function resample(samples, rateHz, sampleRate) {
  if (rateHz === sampleRate || !samples.length) return samples;
  const length = Math.max(1, Math.round((samples.length * sampleRate) / rateHz));
  const context = new OfflineAudioContext(1, length, sampleRate);
  const source = new AudioBufferSourceNode(context, {
    buffer: new AudioBuffer({ length: samples.length, sampleRate: rateHz }),
  });
  source.buffer.copyToChannel(samples, 0);
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

/**
 * Open the microphone.
 *
 * @param {{sampleRate: number, onBlock: function(Float32Array), onEnd: function(string)}} options
 *   onBlock: takes mono samples at `rateHz`; onEnd: told why the microphone was lost
 * @returns {Promise<{rateHz: number, close: function()}>}
 * @throws {Error} with the reason
 */
export async function openMicrophone({ sampleRate, onBlock, onEnd }) {
  if (!navigator.mediaDevices) {
    throw new Error("The microphone works on pages of https and of localhost alone.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      // What makes calls clearer changes how a voice sounds.
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
  let context;
  const close = () => {
    stream.getTracks().forEach((track) => track.stop());
    context?.close();
  };
  try {
    let source;
    [context, source] = await connected(stream, sampleRate);
    await context.audioWorklet.addModule(new URL("tap.js", import.meta.url));
    const length = Math.round(BLOCK_S * context.sampleRate);
    const tap = new AudioWorkletNode(context, "tap", {
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { length },
    });
    tap.port.onmessage = ({ data }) => onBlock(data);
    source.connect(tap).connect(context.destination); // it is silent; unconnected nodes may rest
    await context.resume();
  } catch (error) {
    close();
    throw new Error(`The microphone cannot be used: ${error.message}`);
  }
  stream.getTracks()[0].onended = () => onEnd("The microphone is gone.");
  return { rateHz: context.sampleRate, close };
}

const REFUSALS = {
  NotAllowedError: "The microphone was refused. Allow it for this page in the browser, and try again.",
  NotFoundError: "No microphone was found. Connect one and try again, or choose a file.",
  NotReadableError: "The microphone is in use by another program. Close that, and try again.",
};

/** Connect a stream at the model's rate, or, as some browsers cannot, at its own. */
async function connected(stream, sampleRate) {
  for (const options of [{ sampleRate }, {}]) {
    let context;
    try {
      context = new AudioContext(options);
      return [context, context.createMediaStreamSource(stream)];
    } catch (error) {
      await context?.close();
      if (!("sampleRate" in options)) throw error;
    }
  }
}
