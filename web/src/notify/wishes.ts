import { keepWishes, readWishes, type Wishes } from "./news";

/** What this browser was asked to tell, for all who show it or act by it. */
let now = readWishes(localStorage);
const watchers = new Set<() => void>();

export const wishes = {
  get: (): Wishes => now,
  set(to: Wishes): void {
    now = to;
    keepWishes(localStorage, to);
    watchers.forEach((tell) => tell());
  },
  watch(tell: () => void): () => void {
    watchers.add(tell);
    return () => watchers.delete(tell);
  },
};
