/** Outlines on a 24 by 24 grid, drawn as strokes. */
const MIC = ['M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3Z', 'M6 11a6 6 0 0 0 12 0', 'M12 17v4'];
const CAMERA = ['M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a1.500 1.500 0 0 1-1.500-1.500v-7A1.500 1.500 0 0 1 4 7Z', 'M15 11l6-3.500v9L15 13'];
const SLASH = 'M3.500 3.500l17 17';

export const ICONS = {
  mic: MIC,
  mic_off: [...MIC, SLASH],
  camera: CAMERA,
  camera_off: [...CAMERA, SLASH],
  flip: ['M4 9a8 8 0 0 1 14-3l2 2', 'M20 4v4h-4', 'M20 15a8 8 0 0 1-14 3l-2-2', 'M4 20v-4h4'],
  screen: ['M3 5h18v11H3Z', 'M9 20h6', 'M12 13V8', 'M9.500 10L12 7.500l2.500 2.500'],
  chat: ['M4 5h16v11H10l-4 4v-4H4Z'],
  settings: ['M4 7h9', 'M17 7h3', 'M15 5v4', 'M4 17h3', 'M11 17h9', 'M9 15v4', 'M4 12h13', 'M19 12h1', 'M18 10v4'],
  leave: ['M3 14c5-5 13-5 18 0l-2.500 3-4-1.500v-3a12 12 0 0 0-5 0v3L5.500 17Z'],
  speaking: ['M4 10v4', 'M8 7v10', 'M12 4v16', 'M16 7v10', 'M20 10v4'],
  weak: ['M4 18v2', 'M9 14v6', 'M14 10v10', 'M19 6v14', SLASH],
  lost: ['M4 9a8 8 0 0 1 14-3l2 2', 'M20 4v4h-4', 'M20 15a8 8 0 0 1-14 3l-2-2', 'M4 20v-4h4'],
  wait: ['M12 3a9 9 0 1 1 0 18a9 9 0 0 1 0-18Z', 'M12 7v5l3.500 2'],
  people: ['M9 11a3.500 3.500 0 1 0 0-7a3.500 3.500 0 0 0 0 7Z', 'M3 20a6 6 0 0 1 12 0', 'M16 5a3 3 0 0 1 0 6', 'M18 14a5 5 0 0 1 3 6'],
  aside: ['M6 11h12v9H6Z', 'M8.500 11V8a3.500 3.500 0 0 1 7 0v3'],
  sound: ['M4 9.500v5h3.500L12 18V6L7.500 9.500Z', 'M15.500 9a4 4 0 0 1 0 6', 'M18 6.500a8 8 0 0 1 0 11'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  warning: ['M12 4l9 16H3Z', 'M12 10v4', 'M12 17v.500'],
  info: ['M12 3a9 9 0 1 1 0 18a9 9 0 0 1 0-18Z', 'M12 11v6', 'M12 7.500v.500'],
  done: ['M12 3a9 9 0 1 1 0 18a9 9 0 0 1 0-18Z', 'M8 12.500l3 3 5-6'],
} as const;

export type IconName = keyof typeof ICONS;
