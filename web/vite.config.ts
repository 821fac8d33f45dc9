import { defineConfig } from 'vite';

export default defineConfig({
  // The relay may serve the page below a path: every address in the build is relative.
  base: './',
  build: {
    target: ['es2020', 'safari14', 'firefox78', 'chrome87'],
    // No data: addresses, so that a content security policy needs no exception.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    // The client library alone is this large.
    chunkSizeWarningLimit: 700,
  },
});
