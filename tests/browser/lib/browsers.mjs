// Chromium and Firefox, driven by puppeteer-core. Each browser is a process of its own with a profile of its own, and
// never more than three are open: the machine that runs the tests may have two cores.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const AT_ONCE = 3;
const CLOSE_MS = 10_000;
const open = new Set();

const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-extensions',
  '--mute-audio',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=fps=15',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  // Firefox captures at these whatever a page asks of a fake camera.
  'media.navigator.video.default_width': 320,
  'media.navigator.video.default_height': 180,
  'media.navigator.video.default_fps': 15,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.autoplay.block-webaudio': false,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  'dom.min_background_timeout_value': 4,
  'dom.timeout.enable_budget_timer_throttling': false,
  'widget.windows.window_occlusion_tracking.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'services.settings.server': 'http://127.0.0.1:9/',
  'toolkit.telemetry.enabled': false,
};

function executable(kind) {
  const [asked, ...known] =
    kind === 'firefox'
      ? [process.env.COLLOQUE_FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox']
      : [process.env.COLLOQUE_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'];
  const found = (asked ? [asked] : known).find((place) => existsSync(place));
  if (!found) throw new Error(`no ${kind} at ${asked || known.join(' or ')}`);
  return found;
}

/** Opens `chromium` or `firefox`; `flags` are more words for Chromium, `prefs` more preferences for Firefox. */
export async function openBrowser(kind, { flags = [], prefs = {}, width = 1000, height = 700 } = {}) {
  if (open.size >= AT_ONCE) throw new Error(`a scenario opened more than ${AT_ONCE} browsers`);
  const profile = await mkdtemp(path.join(os.tmpdir(), 'colloque-browser-'));
  const common = { executablePath: executable(kind), headless: true, userDataDir: profile, defaultViewport: { width, height }, protocolTimeout: 120_000 };
  const launched =
    kind === 'firefox'
      ? puppeteer.launch({ ...common, browser: 'firefox', extraPrefsFirefox: { ...FIREFOX_PREFS, ...prefs } })
      : puppeteer.launch({ ...common, args: [...CHROMIUM_FLAGS, ...flags] });
  const slot = { profile };
  open.add(slot);
  try {
    slot.browser = await launched;
  } catch (error) {
    open.delete(slot);
    await rm(profile, { recursive: true, force: true });
    throw error;
  }
  return {
    kind,
    browser: slot.browser,
    pid: slot.browser.process()?.pid,
    async close() {
      const child = slot.browser.process();
      const insist = setTimeout(() => child?.kill('SIGKILL'), CLOSE_MS);
      await slot.browser.close().catch(() => {});
      clearTimeout(insist);
      open.delete(slot);
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }).catch(() => {});
    },
  };
}
