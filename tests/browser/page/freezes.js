// When a picture stands still: as the browser counts freezes, and as packets that bring no new picture.

// Without a packet for so long nothing arrives: the picture stands still because of the path or the publisher.
const SILENT_MS = 1_000;
// What is shorter is not worth a line.
const NOTED_MS = 1_000;
const MOST_LINES = 5_000;

/** Every freeze the browser counted, and every long time without a picture while packets came; of all tracks there were. */
export const freezes = [];
export const stills = [];

function add(list, line) {
  if (list.length < MOST_LINES) list.push(line);
}

/** Follows one received video track. */
export class Stillness {
  constructor(sid) {
    this.sid = sid;
    this.counted = 0;
    this.frozen = 0;
    this.pictures = 0;
    this.packets = 0;
    this.arrivedAt = 0;
    this.since = undefined;
  }

  /** Takes in what `inbound-rtp` says at a moment. Its counts begin anew with each stream. */
  look(at, { freezeCount = 0, totalFreezesDuration = 0, framesDecoded = 0, packetsReceived = 0 }) {
    if (freezeCount < this.counted || framesDecoded < this.pictures) {
      this.counted = 0;
      this.frozen = 0;
    }
    if (freezeCount > this.counted) {
      add(freezes, { at, sid: this.sid, count: freezeCount - this.counted, ms: Math.round((totalFreezesDuration - this.frozen) * 1000) });
    }
    this.counted = freezeCount;
    this.frozen = totalFreezesDuration;
    if (framesDecoded !== this.pictures || at - this.arrivedAt > SILENT_MS) this.#moves();
    if (packetsReceived !== this.packets) {
      this.since ??= at;
      this.arrivedAt = at;
    }
    this.pictures = framesDecoded;
    this.packets = packetsReceived;
  }

  /** The track goes, or is not wanted for now: what it did until here is noted. */
  rest() {
    this.#moves();
  }

  #moves() {
    const ms = this.since === undefined ? 0 : this.arrivedAt - this.since;
    if (ms >= NOTED_MS) add(stills, { at: this.arrivedAt, sid: this.sid, ms: Math.round(ms) });
    this.since = undefined;
  }
}
