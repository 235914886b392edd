/** Says that nobody sits here: what the page asks by itself keeps no session alive. */
export const unattended = "Akmatori-Unattended";

/** How long somebody who has touched nothing still counts as sitting here, in ms. */
const presence = 60_000;

let touched = performance.now();

for (const what of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
  addEventListener(what, () => (touched = performance.now()), { capture: true, passive: true });
}

/** Whether a person has done anything here lately. */
export function attended(): boolean {
  return performance.now() - touched < presence;
}
