// The page of the tests: one participant, driven through `window.call`. It measures, it does not judge.

import './link.js';
import { freezes, Stillness, stills } from './freezes.js';
import { ConnectionErrorReason, DataPacket_Kind, DisconnectReason, Room, RoomEvent, RpcError, setLogLevel, Track, VideoQuality } from 'livekit-client';

setLogLevel('warn');

const stage = document.getElementById('stage');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const now = () => performance.now();

let room;
let events = [];
let texts = [];
let data = [];
let joinedAt = 0;
const watches = new Map();

function note(event, detail = {}) {
  if (events.length < 10_000) events.push({ at: now(), event, ...detail });
}

function person(participant) {
  return participant?.identity;
}

function listen(room) {
  const simple = {
    [RoomEvent.Connected]: 'connected',
    [RoomEvent.Reconnecting]: 'reconnecting',
    [RoomEvent.SignalReconnecting]: 'signalReconnecting',
    [RoomEvent.Reconnected]: 'reconnected',
  };
  for (const [event, name] of Object.entries(simple)) room.on(event, () => note(name));
  room.on(RoomEvent.Disconnected, (reason) => note('disconnected', { reason: DisconnectReason[reason] ?? reason }));
  room.on(RoomEvent.ParticipantConnected, (who) => note('participantConnected', { identity: person(who) }));
  room.on(RoomEvent.ParticipantDisconnected, (who) => note('participantDisconnected', { identity: person(who) }));
  room.on(RoomEvent.TrackPublished, (publication, who) => note('trackPublished', { identity: person(who), source: publication.source }));
  room.on(RoomEvent.TrackUnpublished, (publication, who) => note('trackUnpublished', { identity: person(who), source: publication.source }));
  room.on(RoomEvent.LocalTrackUnpublished, (publication) => note('localTrackUnpublished', { source: publication.source }));
  room.on(RoomEvent.TrackMuted, (publication, who) => note('trackMuted', { identity: person(who), source: publication.source }));
  room.on(RoomEvent.TrackUnmuted, (publication, who) => note('trackUnmuted', { identity: person(who), source: publication.source }));
  room.on(RoomEvent.TrackSubscriptionFailed, (sid, who) => note('trackSubscriptionFailed', { identity: person(who), sid }));
  room.on(RoomEvent.ActiveSpeakersChanged, (who) => note('activeSpeakersChanged', { identities: who.map(person) }));
  room.on(RoomEvent.ConnectionQualityChanged, (quality, who) => note('connectionQualityChanged', { quality, identity: person(who) }));
  room.on(RoomEvent.ParticipantPermissionsChanged, (_before, who) =>
    note('permissionsChanged', { identity: person(who), canPublish: who.permissions?.canPublish, canSubscribe: who.permissions?.canSubscribe }),
  );
  room.on(RoomEvent.MediaDevicesError, (error) => note('mediaDevicesError', { message: error.message }));
  room.on(RoomEvent.DataReceived, (payload, who, kind, topic) =>
    data.push({ at: now(), from: person(who), reliable: kind === DataPacket_Kind.RELIABLE, topic, text: new TextDecoder().decode(payload) }),
  );
  room.on(RoomEvent.TrackSubscribed, (track, publication, who) => {
    note('trackSubscribed', { identity: person(who), source: publication.source, kind: track.kind, sid: publication.trackSid });
    watch(track, publication, who);
  });
  room.on(RoomEvent.TrackUnsubscribed, (track, publication, who) => {
    note('trackUnsubscribed', { identity: person(who), source: publication.source, kind: track.kind, sid: publication.trackSid });
    unwatch(publication.trackSid);
    for (const element of track.detach()) element.remove();
  });
  room.registerTextStreamHandler('chat', async (reader, { identity }) => {
    const text = await reader.readAll();
    texts.push({ at: now(), from: identity, text });
  });
}

/** Largest time between two growths of a count; what is still running is counted by `close`. */
class Gap {
  constructor() {
    this.restart();
  }
  restart(at = now()) {
    this.last = at;
    this.max = 0;
    this.maxAt = 0;
  }
  grown(at) {
    if (at - this.last > this.max) {
      this.max = at - this.last;
      this.maxAt = at;
    }
    this.last = at;
  }
  value(at) {
    return Math.max(this.max, at - this.last);
  }
}

function watch(track, publication, who) {
  const element = track.attach();
  element.muted = false;
  stage.append(element);
  const watched = {
    identity: person(who), kind: track.kind, source: publication.source, sid: publication.trackSid, track, element,
    subscribedAt: now(), firstAt: undefined, live: true, decoded: 0, lastReport: {}, base: undefined,
    polled: new Gap(), shown: new Gap(), pictures: 0, sizes: [], stillness: new Stillness(publication.trackSid),
  };
  watches.set(watched.sid, watched);
  if (track.kind === Track.Kind.Video) {
    const onPicture = (at) => {
      if (!watched.live) return;
      watched.pictures += 1;
      watched.firstAt ??= at;
      watched.shown.grown(at);
      element.requestVideoFrameCallback(onPicture);
    };
    element.requestVideoFrameCallback?.(onPicture);
  }
  void poll(watched);
}

function unwatch(sid) {
  const watched = watches.get(sid);
  if (watched) {
    watched.live = false;
    watched.stillness.rest();
  }
  watches.delete(sid);
}

async function inbound(track) {
  const report = await track.receiver?.getStats();
  for (const entry of report?.values() ?? []) {
    if (entry.type === 'inbound-rtp') return entry;
  }
  return {};
}

async function poll(watched) {
  while (watched.live) {
    const entry = await inbound(watched.track).catch(() => ({}));
    const at = now();
    watched.lastReport = entry;
    const count = watched.kind === 'video' ? (entry.framesDecoded ?? 0) : (entry.packetsReceived ?? 0);
    if (count > watched.decoded) {
      watched.decoded = count;
      watched.firstAt ??= at;
      watched.polled.grown(at);
    }
    if (watched.kind === 'video' && watched.live) watched.stillness.look(at, entry);
    if (watched.kind === 'video' && entry.frameWidth) {
      const size = `${entry.frameWidth}x${entry.frameHeight}`;
      if (watched.sizes.at(-1)?.size !== size && watched.sizes.length < 1000) watched.sizes.push({ at, size });
    }
    await sleep(watched.firstAt === undefined ? 20 : 60);
  }
}

function picked(entry, names) {
  return Object.fromEntries(names.map((name) => [name, entry?.[name] ?? 0]));
}

const RECEIVED = [
  'framesDecoded', 'framesReceived', 'framesDropped', 'keyFramesDecoded', 'freezeCount', 'totalFreezesDuration', 'pauseCount', 'totalPausesDuration', 'packetsReceived',
  'packetsLost', 'nackCount', 'pliCount', 'firCount', 'totalAudioEnergy', 'totalSamplesDuration', 'concealedSamples', 'totalSamplesReceived', 'bytesReceived',
  'silentConcealedSamples', 'packetsDiscarded', 'jitterBufferDelay', 'jitterBufferEmittedCount', 'totalDecodeTime', 'totalInterFrameDelay',
];
const SENT = ['framesEncoded', 'framesSent', 'packetsSent', 'bytesSent', 'nackCount', 'pliCount', 'firCount', 'keyFramesEncoded', 'retransmittedPacketsSent'];

async function sent(publication) {
  const report = await publication.track?.sender?.getStats();
  const layers = {};
  let captured = 0;
  for (const entry of report?.values() ?? []) {
    if (entry.type === 'outbound-rtp') {
      layers[entry.rid ?? ''] = {
        ...picked(entry, SENT), width: entry.frameWidth ?? 0, height: entry.frameHeight ?? 0, active: entry.active ?? true,
        limited: entry.qualityLimitationReason, target: entry.targetBitrate ?? 0,
      };
    }
    if (entry.type === 'media-source') captured = entry.frames ?? 0;
  }
  return { source: publication.source, kind: publication.kind, sid: publication.trackSid, muted: publication.isMuted, captured, layers };
}

function publicationOf(identity, source) {
  return room.remoteParticipants.get(identity)?.getTrackPublication(source);
}

const canvases = [];

/** A still full of noise, which costs an encoder bits wherever it is drawn. */
function noise(width, height) {
  const tile = new OffscreenCanvas(width, height);
  const context = tile.getContext('2d');
  const picture = context.createImageData(width, height);
  // A small generator (xorshift), so that every run shows the same.
  let state = 0x9e3779b9;
  for (let at = 0; at < picture.data.length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    picture.data.set([state & 255, (state >>> 8) & 255, (state >>> 16) & 255, 255], at);
  }
  context.putImageData(picture, 0, 0);
  return tile;
}

/** A picture that changes everywhere and says its number, from a canvas: any size, any rate. `grain` (0 to 1) costs bits. */
function canvasTrack(width, height, rate, grain) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { alpha: false });
  const tile = grain > 0 ? noise(width / 4 + 64, height / 4 + 64) : undefined;
  let number = 0;
  const timer = setInterval(() => {
    number += 1;
    context.fillStyle = `hsl(${(number * 3) % 360} 60% 45%)`;
    context.fillRect(0, 0, width, height);
    for (let index = 0; index < 12; index += 1) {
      context.fillStyle = `hsl(${(number * 7 + index * 30) % 360} 80% 60%)`;
      context.fillRect((number * 5 * (index + 1)) % width, (index * height) / 12, width / 8, height / 12);
    }
    if (tile) {
      context.globalAlpha = grain;
      context.drawImage(tile, (number * 37) % 64, (number * 23) % 64, width / 4, height / 4, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    context.fillStyle = '#fff';
    context.font = `${Math.round(height / 6)}px sans-serif`;
    context.fillText(String(number), width / 3, height / 2);
  }, 1000 / rate);
  const track = canvas.captureStream(rate).getVideoTracks()[0];
  canvases.push({ track, timer });
  return track;
}

window.call = {
  /** Connects; resolves with the time it took, or with the error as plain data. */
  async connect(url, token, { roomOptions = {}, connectOptions = {} } = {}) {
    for (const sid of [...watches.keys()]) unwatch(sid);
    stage.replaceChildren();
    room = new Room({ adaptiveStream: false, dynacast: false, ...roomOptions });
    listen(room);
    joinedAt = now();
    note('connect');
    try {
      await room.connect(url, token, { maxRetries: 0, ...connectOptions });
    } catch (error) {
      return { error: { name: error.name, message: error.message, reason: ConnectionErrorReason[error.reason] ?? error.reason, status: error.status, ms: now() - joinedAt } };
    }
    return { ms: now() - joinedAt, sid: room.localParticipant.sid, room: room.name };
  },

  async disconnect() {
    await room.disconnect();
    for (const sid of [...watches.keys()]) unwatch(sid);
  },

  async publishCamera({ width = 320, height = 180, rate = 15, simulcast = true, encoding } = {}) {
    const start = now();
    await room.localParticipant.setCameraEnabled(
      true,
      { resolution: { width, height, frameRate: rate } },
      { simulcast, videoEncoding: encoding },
    );
    return now() - start;
  },

  async publishMicrophone() {
    const start = now();
    await room.localParticipant.setMicrophoneEnabled(true, { echoCancellation: false, noiseSuppression: false, autoGainControl: false });
    return now() - start;
  },

  /** Publishes a steady tone as microphone: a voice that does not pause, unlike the beeps of Chromium's fake device. */
  async publishTone() {
    const context = new AudioContext();
    const oscillator = new OscillatorNode(context, { frequency: 300 });
    const volume = new GainNode(context, { gain: 0.4 });
    const destination = new MediaStreamAudioDestinationNode(context);
    oscillator.connect(volume).connect(destination);
    oscillator.start();
    await context.resume();
    await room.localParticipant.publishTrack(destination.stream.getAudioTracks()[0], { source: Track.Source.Microphone, name: 'tone' });
  },

  /** Publishes a drawn picture as camera or screen share. */
  async publishCanvas({ width = 1280, height = 720, rate = 15, grain = 0, simulcast = true, source = Track.Source.Camera, encoding, options = {} } = {}) {
    const start = now();
    const publication = await room.localParticipant.publishTrack(canvasTrack(width, height, rate, grain), {
      simulcast, source, name: source, videoEncoding: encoding, screenShareEncoding: encoding, ...options,
    });
    return { ms: now() - start, sid: publication.trackSid };
  },

  async unpublish(source) {
    const publication = room.localParticipant.getTrackPublication(source);
    await room.localParticipant.unpublishTrack(publication.track, true);
  },

  async mute(source) {
    await room.localParticipant.getTrackPublication(source).mute();
  },

  async unmute(source) {
    await room.localParticipant.getTrackPublication(source).unmute();
  },

  setSubscribed(identity, source, on) {
    publicationOf(identity, source).setSubscribed(on);
  },

  setEnabled(identity, source, on) {
    publicationOf(identity, source).setEnabled(on);
  },

  /** `LOW`, `MEDIUM` or `HIGH`; answers when it was asked, on the clock of `received`. */
  setQuality(identity, source, quality) {
    publicationOf(identity, source).setVideoQuality(VideoQuality[quality]);
    return now();
  },

  setDimensions(identity, source, width, height) {
    publicationOf(identity, source).setVideoDimensions({ width, height });
    return now();
  },

  async sendText(text, destinations) {
    await room.localParticipant.sendText(text, { topic: 'chat', destinationIdentities: destinations });
  },

  async sendData(text, { reliable = true, topic, destinations } = {}) {
    await room.localParticipant.publishData(new TextEncoder().encode(text), { reliable, topic, destinationIdentities: destinations });
  },

  /** Sends `count` numbered messages, one every `every` ms; answers how many were accepted. */
  async sendNumbered(prefix, count, every) {
    let accepted = 0;
    const refused = [];
    const pending = [];
    for (let number = 0; number < count; number += 1) {
      pending.push(
        window.call.sendData(`${prefix}${number}`).then(
          () => { accepted += 1; },
          (error) => refused.push(error.message),
        ),
      );
      await sleep(every);
    }
    await Promise.all(pending);
    return { accepted, refused };
  },

  registerRpc(method) {
    room.registerRpcMethod(method, async ({ callerIdentity, payload }) => {
      if (payload === 'fail') throw new RpcError(1999, 'asked to fail');
      return `${callerIdentity}:${payload}`;
    });
  },

  async performRpc(destinationIdentity, method, payload) {
    const start = now();
    try {
      return { answer: await room.localParticipant.performRpc({ destinationIdentity, method, payload }), ms: now() - start };
    } catch (error) {
      return { error: { code: error.code, message: error.message }, ms: now() - start };
    }
  },

  state: () => room?.state,
  now,
  events: () => events,
  clearEvents: () => {
    events = [];
  },
  texts: () => texts,
  data: () => data,
  permissions: () => ({ ...room.localParticipant.permissions }),

  /** Everybody as this participant sees them. */
  roster() {
    const one = (participant) => ({
      identity: participant.identity,
      sid: participant.sid,
      name: participant.name,
      speaking: participant.isSpeaking,
      attributes: { ...participant.attributes },
      tracks: [...participant.trackPublications.values()]
        .map((publication) => ({ sid: publication.trackSid, source: publication.source, muted: publication.isMuted, subscribed: publication.isSubscribed }))
        .sort((a, b) => a.source.localeCompare(b.source)),
    });
    return { self: one(room.localParticipant), others: [...room.remoteParticipants.values()].map(one).sort((a, b) => a.identity.localeCompare(b.identity)) };
  },

  /** First pictures: milliseconds from `connect` to the first decoded frame of each video. */
  firstPictures() {
    return [...watches.values()]
      .filter((watched) => watched.kind === 'video')
      .map((watched) => ({
        identity: watched.identity,
        subscribed: watched.subscribedAt - joinedAt,
        first: watched.firstAt === undefined ? null : watched.firstAt - joinedAt,
        sinceSubscribed: watched.firstAt === undefined ? null : watched.firstAt - watched.subscribedAt,
      }));
  },

  /** Starts a measurement of everything sent and received. */
  async mark() {
    for (const watched of watches.values()) {
      const entry = await inbound(watched.track);
      watched.base = { at: now(), report: picked(entry, RECEIVED), pictures: watched.pictures };
      watched.decoded = watched.kind === 'video' ? (entry.framesDecoded ?? 0) : (entry.packetsReceived ?? 0);
      watched.polled.restart();
      watched.shown.restart();
    }
    window.call.sentBase = await window.call.sent();
  },

  /** What was received since `mark` (or since the subscription began), per track. */
  async received() {
    const list = [];
    for (const watched of watches.values()) {
      const entry = await inbound(watched.track);
      const at = now();
      const report = picked(entry, RECEIVED);
      const base = watched.base ?? { at: watched.subscribedAt, report: picked({}, RECEIVED), pictures: 0 };
      const since = Object.fromEntries(RECEIVED.map((name) => [name, report[name] - base.report[name]]));
      // Both see a gap no shorter than it was: the one waits for the screen, the other for its next look.
      const gaps = [watched.polled.value(at), ...(watched.pictures > 0 ? [watched.shown.value(at)] : [])];
      list.push({
        identity: watched.identity, kind: watched.kind, source: watched.source, sid: watched.sid, ms: at - base.at, since, total: report,
        gap: Math.min(...gaps), gaps, still: at - Math.max(watched.polled.last, watched.shown.last), pictures: watched.pictures - base.pictures,
        width: entry.frameWidth ?? 0, height: entry.frameHeight ?? 0, codec: entry.codecId, decoder: entry.decoderImplementation,
        audioLevel: entry.audioLevel ?? 0, sizes: watched.sizes,
      });
    }
    return list;
  },

  /** Freezes as the browser counted them and times without a picture while packets came, of all tracks so far. */
  stillness: () => ({ freezes, stills }),

  rawInbound: () => Promise.all([...watches.values()].map((watched) => inbound(watched.track))),

  sent: async () => Promise.all([...room.localParticipant.trackPublications.values()].map(sent)),

  async sentSince() {
    const base = window.call.sentBase ?? [];
    const list = await window.call.sent();
    return list.map((one) => {
      const before = base.find((other) => other.sid === one.sid) ?? { captured: 0, layers: {} };
      const layers = Object.fromEntries(
        Object.entries(one.layers).map(([rid, layer]) => [
          rid,
          { ...layer, ...Object.fromEntries(SENT.map((name) => [name, layer[name] - (before.layers[rid]?.[name] ?? 0)])) },
        ]),
      );
      return { ...one, captured: one.captured - before.captured, layers };
    });
  },

  simulate: (scenario) => room.simulateScenario(scenario),

  /** How many peer connections the client has. */
  connections: () => [room.engine.pcManager?.publisher, room.engine.pcManager?.subscriber].filter(Boolean).length,

  /** The path in use: round trip, selected pair, DTLS and SRTP. */
  async transport() {
    const manager = room.engine.pcManager;
    const list = [];
    for (const one of [manager?.publisher, manager?.subscriber].filter(Boolean)) {
      const report = await one.getStats?.();
      for (const entry of report?.values() ?? []) {
        if (entry.type === 'transport') list.push({ state: entry.dtlsState, cipher: entry.srtpCipher, changes: entry.selectedCandidatePairChanges, tls: entry.tlsVersion });
        if (entry.type === 'candidate-pair' && entry.nominated) list.push({ rtt: entry.currentRoundTripTime, available: entry.availableOutgoingBitrate, requests: entry.requestsSent, answers: entry.responsesReceived });
      }
    }
    return list;
  },
};
