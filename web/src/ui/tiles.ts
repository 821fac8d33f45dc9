/** The people and shared pictures of the call: one tile each, kept between updates so that no picture blinks. */
import { roleName, t } from '../i18n';
import { arrange, bestGrid, initials, type Picture, type Shortfall, type Tile } from '../state';
import { h, icon, setAttributes, setText } from './dom';
import type { IconName } from './icons';

interface Chip {
  icon: IconName;
  words: string;
  tone: 'plain' | 'good' | 'warn';
}

class TileView {
  readonly element: HTMLLIElement;
  private readonly video = h('video', { autoplay: true, playsinline: true });
  private readonly avatar = h('div', { class: 'avatar', 'aria-hidden': 'true' });
  private readonly name = h('span', { class: 'name' });
  private readonly role = h('span', { class: 'role' });
  private readonly chips = h('ul', { class: 'chips' });
  private picture: Picture | undefined;
  private shownChips = '';

  constructor(kind: Tile['kind']) {
    this.video.muted = true;
    this.element = h(
      'li',
      { class: 'tile', 'data-testid': kind === 'person' ? 'tile' : 'shared-tile', 'data-kind': kind },
      this.avatar,
      this.video,
      h('div', { class: 'caption' }, h('span', { class: 'label' }, this.name, ' ', this.role), this.chips),
    );
  }

  /** `short` where the place is small and there is no doubt who it is. */
  update(tile: Tile, short: boolean): void {
    setAttributes(this.element, {
      'data-identity': tile.identity,
      'data-role': tile.role,
      'data-self': String(tile.self),
      'data-microphone': tile.microphone,
      'data-camera': tile.camera,
      'data-speaking': String(tile.speaking && tile.microphone === 'on'),
      'data-quality': tile.quality,
      'data-receives': tile.receives?.lines === undefined ? '' : String(tile.receives.lines),
    });
    setText(this.name, short && tile.self ? t('tile.you_only') : title(tile));
    setText(this.role, tile.kind === 'person' && tile.name !== '' ? roleName(tile.role) : '');
    setText(this.avatar, initials(displayName(tile)));
    this.video.setAttribute('aria-label', t('tile.video', { name: displayName(tile) }));
    this.video.classList.toggle('mirrored', tile.mirrored && tile.kind === 'person');
    this.video.hidden = tile.picture === undefined;
    if (tile.picture !== this.picture) {
      this.picture?.detach(this.video);
      this.picture = tile.picture;
      this.picture?.attach(this.video);
      // The sound has its own elements; a picture must never bring a second copy.
      this.video.muted = true;
    }
    this.updateChips(chipsOf(tile));
  }

  destroy(): void {
    this.picture?.detach(this.video);
    this.picture = undefined;
    this.element.remove();
  }

  private updateChips(chips: Chip[]): void {
    const key = chips.map((chip) => chip.words).join('|');
    if (key === this.shownChips) return;
    this.shownChips = key;
    this.chips.replaceChildren(...chips.map((chip) => h('li', { class: `chip ${chip.tone}`, title: chip.words }, icon(chip.icon), h('span', {}, chip.words))));
    this.chips.hidden = chips.length === 0;
  }
}

export class Stage {
  readonly list = h('ul', { class: 'stage', 'aria-label': t('call.people') });
  private readonly views = new Map<string, TileView>();
  private readonly observer = typeof ResizeObserver === 'function' ? new ResizeObserver(() => this.fit()) : undefined;
  private people = 0;

  constructor() {
    this.observer?.observe(this.list);
  }

  update(tiles: readonly Tile[]): void {
    const ordered = order(tiles);
    const layout = arrange(ordered);
    const seen = new Set(ordered.map((tile) => tile.key));
    for (const [key, view] of this.views) {
      if (seen.has(key)) continue;
      view.destroy();
      this.views.delete(key);
    }
    ordered.forEach((tile, index) => {
      let view = this.views.get(tile.key);
      if (view === undefined) {
        view = new TileView(tile.kind);
        this.views.set(tile.key, view);
      }
      // Moving an element restarts its picture in some browsers: move only what is out of place.
      const at = this.list.children[index] ?? null;
      if (at !== view.element) this.list.insertBefore(view.element, at);
      view.update(tile, layout === 'duo');
    });
    this.list.dataset['layout'] = layout;
    this.people = ordered.filter((tile) => tile.kind === 'person').length;
    this.list.style.setProperty('--people', String(Math.max(1, this.people)));
    this.list.style.setProperty('--shared', String(Math.max(1, ordered.length - this.people)));
    this.fit();
  }

  destroy(): void {
    this.observer?.disconnect();
    for (const view of this.views.values()) view.destroy();
    this.views.clear();
  }

  private fit(): void {
    const { clientWidth, clientHeight } = this.list;
    this.list.style.setProperty('--columns', String(bestGrid(this.people, clientWidth, clientHeight)));
  }
}

/** Shared pictures first, then the others, oneself last. */
function order(tiles: readonly Tile[]): Tile[] {
  const rank = (tile: Tile): number => (tile.kind !== 'person' ? 0 : tile.self ? 2 : 1);
  return [...tiles].sort((a, b) => rank(a) - rank(b));
}

export function displayName(tile: { name: string; role: string }): string {
  return tile.name === '' ? roleName(tile.role) : tile.name;
}

function title(tile: Tile): string {
  const name = displayName(tile);
  if (tile.kind === 'screen') return tile.self ? t('tile.screen.you') : t('tile.screen', { name });
  if (tile.kind === 'extra') return t('tile.extra', { name });
  return tile.self ? t('tile.you', { name }) : name;
}

/** What this person receives of me, where it is less than it should be. */
function receivesChips(short: Shortfall, name: string): Chip[] {
  const chips: Chip[] = [];
  if (short.still || short.lines === 0) chips.push({ icon: 'camera_off', words: t('tile.receives.none', { name }), tone: 'warn' });
  else if (short.lines !== undefined) chips.push({ icon: 'weak', words: t('tile.receives.lines', { name, n: short.lines }), tone: 'plain' });
  else if (short.slow) chips.push({ icon: 'weak', words: t('tile.receives.slow', { name }), tone: 'plain' });
  if (short.gaps) chips.push({ icon: 'weak', words: t('tile.receives.gaps', { name }), tone: 'warn' });
  return chips;
}

function chipsOf(tile: Tile): Chip[] {
  const chips: Chip[] = [];
  if (tile.kind !== 'person') {
    if (tile.camera === 'paused') chips.push({ icon: 'weak', words: t('camera.paused'), tone: 'warn' });
    return chips;
  }
  if (tile.waiting) chips.push({ icon: 'wait', words: t('tile.waiting'), tone: 'plain' });
  if (tile.aside) chips.push({ icon: 'aside', words: t('tile.aside'), tone: 'plain' });
  for (const { role, count } of tile.beside) chips.push({ icon: 'people', words: t('tile.beside', { role: roleName(role), n: count }), tone: 'plain' });
  if (tile.emergency) chips.push({ icon: 'warning', words: t('tile.emergency'), tone: 'warn' });
  if (tile.quality === 'lost') chips.push({ icon: 'lost', words: t('tile.lost'), tone: 'warn' });
  if (tile.quality === 'weak') chips.push({ icon: 'weak', words: t('tile.weak'), tone: 'warn' });
  if (tile.receives) chips.push(...receivesChips(tile.receives, displayName(tile)));
  if (tile.microphone !== 'on') chips.push({ icon: 'mic_off', words: t(`mic.${tile.microphone}`), tone: 'plain' });
  else if (tile.speaking) chips.push({ icon: 'speaking', words: t('tile.speaking'), tone: 'good' });
  if (tile.camera !== 'on') chips.push({ icon: 'camera_off', words: t(`camera.${tile.camera}`), tone: 'plain' });
  return chips;
}
