/**
 * How a voice usually sounds, learnt from unlabelled speech: as app/profiles.py and
 * stages/learning/speaker_statistics.py do it. It stays in the memory of the page.
 */

const FEWEST = 1e-6; // clips, in place of none
const WEIGHT = 10; // clips that the training speakers' average variance counts for
const OTHER_VOICE = 0.15; // nats against the same voice above which a recording is reported
const ENOUGH = 50; // other recordings that one is compared with

export class Voice {
  /** @param {{mean: number[], axis: number[], std: boolean}} statistics the attributes in Python */
  constructor(statistics) {
    this.statistics = statistics;
    this.forget();
  }

  forget() {
    this.clips = 0;
    this.mean = new Float64Array(this.statistics.mean.length);
    this.square = new Float64Array(this.statistics.mean.length);
  }

  /** Include a vector; the others then count for a fraction `keep` of before. */
  add(vector, { weight = 1, keep = 1 } = {}) {
    this.clips = keep * this.clips + weight;
    const share = weight / this.clips;
    vector.forEach((value, d) => {
      this.mean[d] += share * (value - this.mean[d]);
      this.square[d] += share * (value * value - this.square[d]);
    });
  }

  /**
   * Estimate the mean and standard deviation of the voice by empirical Bayes.
   *
   * @returns {{mean: Float32Array, std: Float32Array}}
   */
  speaker() {
    const { mean: average, within, axis, place, around, std: estimated } = this.statistics;
    const at = place.reduce((sum, weight, d) => sum + weight * (this.mean[d] - average[d]), 0);
    const [mean, std] = [new Float32Array(average.length), new Float32Array(average.length)];
    for (let d = 0; d < average.length; d++) {
      const total = around[d] + within[d] / Math.max(this.clips, FEWEST);
      const share = total > 0 ? around[d] / total : 1;
      const guess = average[d] + at * axis[d];
      mean[d] = this.clips > 0 ? guess + share * (this.mean[d] - guess) : average[d];
      let spread = within[d];
      if (estimated) {
        const variance = Math.max(this.square[d] - this.mean[d] ** 2, 0);
        spread = (this.clips * variance + WEIGHT * within[d]) / (this.clips + WEIGHT);
      }
      std[d] = spread > 0 ? Math.sqrt(spread) : 1;
    }
    return { mean, std };
  }

  /** Positions of vectors that sound like another voice than the others. */
  strangers(vectors) {
    const some = vectors.slice(0, ENOUGH);
    return [...vectors.keys()].filter((place) => {
      const others = some.filter((_, n) => n !== place);
      return others.length && sameSpeaker(this.statistics, vectors[place], others) < -OTHER_VOICE;
    });
  }
}

/** Log-likelihood ratio in nats, a mean over dimensions; over 0: rather the same speaker. */
function sameSpeaker({ mean, between, within }, vector, others) {
  let [sum, known] = [0, 0];
  for (let d = 0; d < mean.length; d++) {
    const anyOne = within[d] + between[d];
    if (!(anyOne > 0)) continue;
    const share = between[d] / (between[d] + within[d] / others.length);
    const centre = mean[d] + share * (median(others.map((other) => other[d])) - mean[d]);
    const same = within[d] + between[d] * (1 - share);
    sum += (vector[d] - mean[d]) ** 2 / anyOne + Math.log(anyOne);
    sum -= (vector[d] - centre) ** 2 / same + Math.log(same);
    known++;
  }
  return sum / known / 2;
}

function median(values) {
  const sorted = values.sort((a, b) => a - b);
  const half = sorted.length / 2;
  return half % 1 ? sorted[Math.floor(half)] : (sorted[half - 1] + sorted[half]) / 2;
}
