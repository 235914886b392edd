import { closeSync, openSync } from "node:fs";
import { resolve } from "node:path";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Go embeds dist and must find something there before the first build. */
function keepDist(): Plugin {
  return {
    name: "keep-dist",
    apply: "build",
    closeBundle() {
      closeSync(openSync(resolve(import.meta.dirname, "dist/.keep"), "a"));
    },
  };
}

export default defineConfig({
  plugins: [react(), keepDist()],
  build: {
    target: "es2023",
    // Everything is a file of its own: the page runs under script-src 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  // The second folder holds what the api's tests write for the page's.
  server: { proxy: { "/api": process.env.API_URL ?? "http://127.0.0.1:8080" }, fs: { allow: [".", "../internal/api/testdata"] } },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/testing.ts"],
    restoreMocks: true,
  },
});
