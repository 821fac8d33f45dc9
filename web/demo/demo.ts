/**
 * The call screen without a relay, for design work: `npm run dev`, then `/demo/?scene=duo|grid|shared|alone|trouble|waiting|consent|third|left|door`.
 * Not part of the build.
 */
import { ChatLog } from '../src/chat';
import type { Consultation } from '../src/consult';
import { chooseLanguage, setLanguage, language } from '../src/i18n';
import type { CallActions } from '../src/session';
import type { CallState, Picture, Tile } from '../src/state';
import { Announcer } from '../src/ui/announcer';
import { CallView } from '../src/ui/call';
import { h } from '../src/ui/dom';

const params = new URLSearchParams(location.search);
setLanguage(chooseLanguage(navigator.languages, params.get('lang')));
document.documentElement.lang = language();

function picture(hue: number, wide: boolean): Picture {
  const canvas = document.createElement('canvas');
  canvas.width = wide ? 1280 : 640;
  canvas.height = wide ? 720 : 480;
  const paint = canvas.getContext('2d');
  if (paint) {
    paint.fillStyle = `hsl(${hue} 35% ${wide ? 92 : 45}%)`;
    paint.fillRect(0, 0, canvas.width, canvas.height);
    paint.fillStyle = `hsl(${hue} 30% ${wide ? 55 : 75}%)`;
    if (wide) for (let y = 80; y < 640; y += 60) paint.fillRect(90, y, 500 + ((y * 7) % 500), 22);
    else {
      paint.beginPath();
      paint.ellipse(320, 200, 90, 115, 0, 0, 7);
      paint.ellipse(320, 480, 210, 150, 0, 0, 7);
      paint.fill();
    }
  }
  const stream = canvas.captureStream(1);
  return { attach: (element) => void (element.srcObject = stream), detach: (element) => void (element.srcObject = null) };
}

function person(identity: string, name: string, role: string, more: Partial<Tile> = {}): Tile {
  return { key: `${identity}/person`, kind: 'person', identity, name, role, self: false, microphone: 'on', camera: 'on', speaking: false, quality: 'good', receives: undefined, waiting: false, aside: false, beside: [], emergency: false, mirrored: false, picture: undefined, ...more };
}

const me = person('p1', 'Camille Moreau', 'patient', { self: true, mirrored: true, picture: picture(200, false) });
const doctor = person('d1', 'Dr Anne Lefèvre', 'doctor', { speaking: true, picture: picture(170, false) });
const nurse = person('n1', 'Karim Benali', 'companion', { microphone: 'off', picture: picture(30, false) });
const colleague = person('c1', '', 'colleague', { camera: 'off', quality: 'weak' });
const relative = person('r1', 'Jeanne Moreau', 'relative', { camera: 'paused', quality: 'lost', microphone: 'off' });
const slide: Tile = { ...doctor, key: 'd1/screen', kind: 'screen', speaking: false, picture: picture(210, true) };

const plain: Consultation = { gate: '', role: 'patient', consent: '', waiting: [], declined: [], saidNo: false, aside: undefined, beside: [], endsAt: undefined, locked: false };
const inside: Consultation = { ...plain, gate: 'open', consent: 'v1', endsAt: Date.now() + 20 * 60_000 };
const asDoctor = { ...doctor, self: true, mirrored: true };
const asPatient = { ...me, self: false, mirrored: false };

const scenes: Record<string, Partial<CallState>> = {
  alone: { tiles: [me] },
  waiting: { tiles: [{ ...me, waiting: true }], consultation: { ...plain, gate: 'admission' } },
  consent: { tiles: [{ ...me, waiting: true }], consultation: { ...plain, gate: 'consent' } },
  third: { tiles: [doctor, me], consultation: { ...inside, waiting: [{ ...nurse, gate: 'third_person' }] } },
  left: { tiles: [{ ...doctor, aside: true }, { ...nurse, aside: true, beside: [{ role: 'trainee', count: 1 }] }, me], consultation: { ...inside, aside: { since: Date.now() - 60_000, members: [doctor, nurse], mine: false } } },
  door: { tiles: [asPatient, asDoctor], consultation: { ...inside, role: 'doctor', waiting: [{ ...nurse, gate: 'admission' }, { ...relative, gate: 'admission' }], beside: [{ role: 'trainee', count: 1 }] } },
  duo: { tiles: [doctor, { ...me, microphone: 'off' }] },
  grid: { tiles: [doctor, nurse, colleague, relative, me] },
  shared: { tiles: [doctor, slide, nurse, me] },
  trouble: { tiles: [{ ...doctor, quality: 'lost' }, { ...me, quality: 'weak', camera: 'off', picture: undefined }], connection: 'reconnecting', soundBlocked: true },
};
const base: CallState = { connection: 'connected', tiles: [], sharing: false, canPublish: true, soundBlocked: false, consultation: plain };
let state: CallState = { ...base, ...scenes[params.get('scene') ?? 'duo'] };

function edit(change: (self: Tile) => Tile): void {
  state = { ...state, tiles: state.tiles.map((tile) => (tile.self && tile.kind === 'person' ? change(tile) : tile)) };
  view.update(state);
}

const nothing = async (): Promise<void> => undefined;
const chat = new ChatLog();
chat.add({ author: 'Dr Anne Lefèvre', role: 'doctor', self: false, text: 'Bonjour, est-ce que vous m’entendez bien ?', cut: false, at: Date.now(), state: 'received' });
chat.add({ author: me.name, role: me.role, self: true, text: 'Oui, très bien <b>merci</b>.', cut: false, at: Date.now(), state: 'failed' });
if (params.has('chat')) chat.show(true);

const actions: CallActions = {
  chat,
  devices: {},
  toggle: async (kind) => edit((self) => ({ ...self, [kind]: self[kind] === 'off' ? 'on' : 'off' })),
  toggleScreen: async () => view.update((state = { ...state, sharing: !state.sharing })),
  flipCamera: async () => edit((self) => ({ ...self, mirrored: !self.mirrored })),
  choose: async () => view.problem('device.switch_failed'),
  send: async (text) => {
    chat.add({ author: me.name, role: me.role, self: true, text, cut: false, at: Date.now(), state: 'sent' });
    view.chatChanged(undefined);
  },
  resend: async () => undefined,
  desk: { admit: nothing, refuse: nothing, remove: nothing, agree: nothing, decline: nothing, withdraw: nothing, startAside: nothing, endAside: nothing, declare: nothing, gone: nothing, lock: nothing, extend: nothing, support: async () => '407311' },
  startSound: async () => view.update((state = { ...state, soundBlocked: false })),
  leave: () => location.reload(),
};

const announcer = new Announcer();
announcer.mount(document.body);
const view: CallView = new CallView(actions, state, announcer, () => undefined);
const header = h('header', { class: 'header' }, h('img', { src: '/logo.svg', alt: '', width: 36, height: 36 }), h('span', { class: 'app-name' }, 'Demo'), h('span', { class: 'state' }, 'Demo'));
document.getElementById('app')?.append(h('div', { class: 'page' }, header, h('div', { class: 'call-body' }, view.main, view.chat.element), view.controls.element));
if (params.get('scene') === 'trouble') view.problem('device.silent');
