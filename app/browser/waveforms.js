/**
 * From channels of samples to what the model hears: as stages/audio and app/windows.py do it.
 *
 * The settings `audio` are those of the model: sample_rate, trim_db, level, level_db,
 * min_duration_s, min_peak.
 */

const FULL_SCALE = 32767; // the int16 value of a sample of 1
const UNIT = 1 / FULL_SCALE; // times a value of 16 bits: the float32 nearest to their quotient
const STEP = 1 / 32768; // from one value of 16 bits to the next
const INTEGERS = 1.5 * 2 ** 52; // from here on, doubles are integers
const BLOCK = 1 << 20; // samples of all channels that Python reads at a time

/**
 * Average the channels, and subtract a large offset of the first window.
 *
 * @param {Float32Array[]} channels of one length
 * @param {{sampleRate: number, windowS: number}} settings
 * @returns {Float32Array}
 * @throws {Error} with the reason, if they hold no usable sound
 */
export function mix(channels, { sampleRate, windowS }) {
  const samples = channels[0]?.length ?? 0;
  if (!samples) throw new Error("empty: no samples");
  const mono = channels.length > 1 ? average(channels) : channels[0];
  const first = Math.floor(Math.min(samples, BLOCK / channels.length, windowS * sampleRate));
  const [begin, rest] = [moments(mono.subarray(0, first)), moments(mono.subarray(first))];
  const monoEnergy = begin.energy + rest.energy;
  if (!Number.isFinite(monoEnergy)) {
    const broken = channels.reduce((sum, channel) => sum + brokenIn(channel), 0);
    throw new Error(`not finite: ${broken} samples are NaN or infinite`);
  }
  if (channels.length > 1) {
    const energy = channels.reduce((sum, channel) => sum + moments(channel).energy, 0);
    const left = monoEnergy - (begin.total + rest.total) ** 2 / samples;
    const lost = energy / channels.length - monoEnergy;
    if (lost > Math.max(1e3 * left, 1e-10 * samples)) {
      throw new Error(`silent in mono: its ${channels.length} channels cancel each other out`);
    }
  }
  return without(mono, largeOffset(begin.total, begin.energy, first));
}

function average(channels) {
  const sums = new Float64Array(channels[0].length);
  for (const channel of channels) {
    for (let i = 0; i < sums.length; i++) sums[i] += channel[i];
  }
  const mono = new Float32Array(sums.length);
  for (let i = 0; i < sums.length; i++) mono[i] = sums[i] / channels.length;
  return mono;
}

function brokenIn(samples) {
  return samples.reduce((count, sample) => count + !Number.isFinite(sample), 0);
}

function moments(samples) {
  let total = 0;
  let energy = 0;
  for (let i = 0; i < samples.length; i++) {
    total += samples[i];
    energy += samples[i] * samples[i];
  }
  return { total, energy };
}

/** Mean of samples if it holds more than 2 % of their power, or 0. */
function largeOffset(total, energy, count) {
  const mean = total / count;
  return mean ** 2 > (0.02 * energy) / count ? mean : 0;
}

function without(samples, offset) {
  const value = Math.fround(offset);
  return value ? samples.map((sample) => sample - value) : samples;
}

/**
 * Cut samples into the fewest windows of equal length; the last one takes the rest.
 *
 * @param {Float32Array} samples
 * @param {number} longest in samples
 * @returns {{start: number, samples: Float32Array}[]}
 */
export function cut(samples, longest) {
  const number = Math.max(1, Math.ceil(samples.length / longest));
  const length = Math.floor(samples.length / number);
  return Array.from({ length: number }, (_, n) => ({
    start: n * length,
    samples: samples.subarray(n * length, n === number - 1 ? samples.length : (n + 1) * length),
  }));
}

/** Cut a window every `hop` samples, until one reaches the end; see `cut`. */
export function roll(samples, length, hop) {
  const windows = [];
  let start = 0;
  for (; samples.length - start > length; start += hop) {
    windows.push({ start, samples: samples.subarray(start, start + length) });
  }
  return [...windows, { start, samples: samples.subarray(start) }];
}

/**
 * Trim quiet ends, set the level, and round to 16 bits.
 *
 * @param {Float32Array} samples mono, at the model's rate
 * @param {object} audio settings of the model
 * @returns {{waveform: Float32Array, durationS: number, peak: number, excluded: string}}
 *   waveform: in [-1, 1], empty if the samples are silent or too few; excluded: why, or ""
 */
export function condition(samples, audio) {
  const length = Math.max(1, Math.floor(audio.sample_rate / 50)); // 20 ms
  let stretches = measure(samples, length);
  const offset = samples.length ? constantOffset(stretches) : 0;
  if (offset) {
    samples = without(samples, offset);
    stretches = measure(samples, length);
  }
  const nothing = { waveform: new Float32Array(0), durationS: 0, excluded: "" };
  const peak = stretches.reduce((most, stretch) => Math.max(most, stretch.peak), 0);
  if (peak <= audio.min_peak) {
    const excluded = `silent: peak ${peak.toFixed(4)}, want over ${audio.min_peak}`;
    return { ...nothing, peak, excluded };
  }
  let [begin, end] = [0, stretches.length];
  if (audio.trim_db !== null) {
    const powers = stretches.map((stretch) => stretch.energy / stretch.count);
    const loudest = powers.reduce((most, power) => Math.max(most, power), 0);
    const loud = (power) => power >= loudest * 10 ** (-audio.trim_db / 10);
    begin = powers.findIndex(loud);
    end = powers.findLastIndex(loud) + 1;
  }
  const stop = Math.min(end * length, samples.length);
  const kept = samples.subarray(begin * length, stop);
  const durationS = kept.length / audio.sample_rate;
  const excluded = short(durationS, audio.min_duration_s, " without its quiet ends");
  if (excluded) return { ...nothing, durationS, peak, excluded };
  const gain = Math.fround(gainOf(stretches.slice(begin, end), kept.length, audio) * FULL_SCALE);
  const waveform = new Float32Array(kept.length);
  for (let i = 0; i < kept.length; i++) {
    waveform[i] = halfEven(Math.fround(kept[i] * gain)) * UNIT;
  }
  return { waveform, durationS, peak, excluded: "" };
}

/** Say why a recording, or a named part of it, is too short, or "" if it is not. */
export function short(durationS, minDurationS, part = "") {
  if (durationS >= minDurationS) return "";
  return `too short${part}: ${durationS.toFixed(3)} s, want at least ${minDurationS} s`;
}

/** Root mean square in dB relative to full scale. */
export function level(samples) {
  const energy = samples.reduce((sum, sample) => sum + sample * sample, 0);
  return 10 * Math.log10(Math.max(energy / samples.length, 1e-20));
}

/** Sum, sum of squares, largest sample and count of each stretch of samples. */
function measure(samples, length) {
  const stretches = [];
  for (let start = 0; start < samples.length; start += length) {
    let [total, energy, peak] = [0, 0, 0];
    const stop = Math.min(start + length, samples.length);
    for (let i = start; i < stop; i++) {
      total += samples[i];
      energy += samples[i] * samples[i];
      peak = Math.max(peak, Math.abs(samples[i]));
    }
    stretches.push({ total, energy, peak, count: stop - start });
  }
  return stretches;
}

/** Mean of a recording if it is an offset, which shows in its quietest stretch, or 0. */
function constantOffset(stretches) {
  const sum = (name) => stretches.reduce((total, stretch) => total + stretch[name], 0);
  const mean = sum("total") / sum("count");
  const whole = stretches.filter((stretch) => stretch.count === stretches[0].count);
  let [power, rest] = [Infinity, Infinity];
  for (const { total, energy, count } of whole) {
    power = Math.min(power, energy / count);
    rest = Math.min(rest, energy / count - (2 * mean * total) / count + mean ** 2);
  }
  return rest < 0.9 * power && Math.abs(mean) > STEP ? mean : 0;
}

/** Gain that levels the kept stretches, held back where a peak would clip. */
function gainOf(stretches, samples, { level: kind, level_db: levelDb }) {
  const peak = stretches.reduce((most, stretch) => Math.max(most, stretch.peak), 0);
  const energy = stretches.reduce((sum, stretch) => sum + stretch.energy, 0);
  const target = 10 ** (levelDb / 20);
  const gains = { rms: target / Math.sqrt(energy / samples), peak: target / peak, none: 1 };
  return Math.min(gains[kind], 1 / peak);
}

/** Round to the nearest integer, and halves to the even one: the sum has no room for more. */
function halfEven(value) {
  return value + INTEGERS - INTEGERS;
}
