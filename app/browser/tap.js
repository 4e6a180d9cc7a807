/** Passes the samples of the microphone on, in blocks of a length that the page chooses. */

registerProcessor(
  "tap",
  class extends AudioWorkletProcessor {
    constructor({ processorOptions: { length } }) {
      super();
      this.block = new Float32Array(length);
      this.filled = 0;
    }

    process([[samples]]) {
      for (const sample of samples ?? []) {
        this.block[this.filled++] = sample;
        if (this.filled === this.block.length) {
          this.port.postMessage(this.block);
          this.filled = 0;
        }
      }
      return true;
    }
  },
);
