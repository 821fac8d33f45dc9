/** Starts the page; nothing else. */
import { LogLevel, setLogLevel } from 'livekit-client';
import { App, LANGUAGE_KEY } from './app';
import { chooseLanguage, setLanguage } from './i18n';
import { readSetting } from './ui/shortcuts';

// The library's log names rooms and people; a shared computer's console is no place for them.
setLogLevel(LogLevel.silent);
setLanguage(chooseLanguage(navigator.languages ?? [navigator.language], readSetting(LANGUAGE_KEY)));

const root = document.getElementById('app');
if (root) new App(root).start();
