import { closeSync, openSync } from "node:fs";
import { resolve } from "node:path";
import react from "@vitejs/plugin-react";
import type { Plugin, Rolldown } from "vite";
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

/** Has the browser fetch the program while it reads index.html, which names only what starts it. */
function preloadMain(): Plugin {
  return {
    name: "preload-main",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(html, { bundle }) {
        const chunks = Object.values(bundle ?? {}).filter((c) => c.type === "chunk");
        const main = chunks.find((c) => c.facadeModuleId?.endsWith("/src/main.tsx"));
        if (!main) throw new Error("no chunk is src/main.tsx");
        const loaded = new Set([main]);
        for (const chunk of loaded) for (const c of chunks) if (chunk.imports.includes(c.fileName)) loaded.add(c);
        const links = [...loaded].flatMap((c) => [
          ...[...(c.viteMetadata?.importedCss ?? [])].map((file) => ({ rel: "stylesheet", file })),
          { rel: "modulepreload", file: c.fileName },
        ]);
        return links
          .filter(({ file }) => !html.includes(file))
          .map(({ rel, file }) => ({ tag: "link", attrs: { rel, crossorigin: true, href: `/${file}` }, injectTo: "head" as const }));
      },
    },
  };
}

/**
 * Says whether a module is of the program, which each page stands in. Few files:
 * on a slow machine each one costs the first paint, however small it is, and
 * without this every module that two pages share would be a file of its own.
 */
function ofProgram(): (id: string, context: Rolldown.ChunkingContext) => string | null {
  const main = resolve(import.meta.dirname, "src/main.tsx");
  const program = new Set<string>();
  return (id, context) => {
    if (program.size === 0) {
      program.add(main);
      // Mantine is imported by one file that names all of it: what the program has of it is said here.
      for (const at of program) if (!at.includes("/@mantine/")) context.getModuleInfo(at)?.importedIds.forEach((to) => program.add(to));
    }
    const mantine = /@mantine\/core\/esm\/(core|utils|components\/(ActionIcon|Button|FloatingArrow|Kbd|Loader|Portal|Skeleton|Tooltip|Transition|UnstyledButton))\//;
    return mantine.test(id) || (program.has(id) && id !== main) ? "program" : null;
  };
}

export default defineConfig({
  plugins: [react(), preloadMain(), keepDist()],
  build: {
    target: "es2023",
    // Everything is a file of its own: the page runs under script-src 'self'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            // What runs before the program is there, and must not wait for it.
            { name: "start", test: /\/src\/api\/early\.ts$|preload-helper/, priority: 4 },
            { name: "react", test: /node_modules\/(react|react-dom|scheduler)\/|rolldown\/runtime/, priority: 3 },
            { name: ofProgram(), debugName: "program", priority: 2 },
            // What most pages have: fields, marks, tables of words.
            { name: "shared", minShareCount: 6, maxModuleSize: 20_000, priority: 1 },
          ],
        },
      },
    },
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
