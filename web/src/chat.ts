/**
 * The messages of this call, in memory only. Pure.
 * Entry points: `ChatLog`, `collect`.
 */

export interface ChatEntry {
  id: number;
  author: string;
  role: string;
  self: boolean;
  text: string;
  cut: boolean;
  /** Milliseconds since 1970. */
  at: number;
  state: 'sending' | 'sent' | 'failed' | 'received';
}

/** Longest message shown or sent, in UTF-16 units: a sender may stream without end. */
export const MAX_MESSAGE = 4_000;
/** A consultation has tens of messages; beyond this the oldest go, so that memory stays bounded. */
const MAX_ENTRIES = 500;

export class ChatLog {
  entries: ChatEntry[] = [];
  unread = 0;
  draft = '';
  open = false;
  private nextId = 1;

  add(entry: Omit<ChatEntry, 'id'>): ChatEntry {
    const full = { ...entry, id: this.nextId };
    this.nextId += 1;
    this.entries.push(full);
    if (this.entries.length > MAX_ENTRIES) this.entries.splice(0, this.entries.length - MAX_ENTRIES);
    if (!full.self && !this.open) this.unread += 1;
    return full;
  }

  show(open: boolean): void {
    this.open = open;
    if (open) this.unread = 0;
  }
}

/** Reads a text stream up to `MAX_MESSAGE` and no further. */
export async function collect(stream: AsyncIterable<string>): Promise<{ text: string; cut: boolean }> {
  let text = '';
  for await (const piece of stream) {
    text += piece;
    if (text.length > MAX_MESSAGE) return { text: text.slice(0, MAX_MESSAGE), cut: true };
  }
  return { text, cut: false };
}
