import { useSyncExternalStore } from "react";

/** Whether the last request reached the api. A refusal counts as reached. */
let reachable = true;
const listeners = new Set<() => void>();

export function setReachable(now: boolean): void {
  if (now === reachable) return;
  reachable = now;
  listeners.forEach((tell) => tell());
}

function subscribe(tell: () => void): () => void {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export function useReachable(): boolean {
  return useSyncExternalStore(subscribe, () => reachable);
}

function subscribeOnline(tell: () => void): () => void {
  addEventListener("online", tell);
  addEventListener("offline", tell);
  return () => {
    removeEventListener("online", tell);
    removeEventListener("offline", tell);
  };
}

/** What the browser believes of its network. */
export function useOnline(): boolean {
  return useSyncExternalStore(subscribeOnline, () => navigator.onLine);
}
