import type { Run } from "../api/types";

/** A run with those that it has asked for, in the order in which it did. */
export interface Relative {
  run: Run;
  asked: Relative[];
}

/** What one run and all below it have taken. */
export interface Taken {
  turns: number;
  tokens: number;
  usd: number;
  unpriced: boolean;
}

/** The run of that id with all that it has asked for, at any depth; undefined if it is not there. */
export function familyOf(runs: Run[], root: string): Relative | undefined {
  const byParent = new Map<string, Run[]>();
  for (const run of runs) {
    if (!run.asked_by) continue;
    byParent.set(run.asked_by, [...(byParent.get(run.asked_by) ?? []), run]);
  }
  const relative = (run: Run): Relative => ({
    run,
    // A run never asks for one that is above it, so this ends.
    asked: (byParent.get(run.id) ?? []).sort((a, b) => Date.parse(a.created_at) - Date.parse(b.created_at)).map(relative),
  });
  const first = runs.find((r) => r.id === root);
  return first && relative(first);
}

export function takenBy({ run, asked }: Relative): Taken {
  return asked.map(takenBy).reduce(
    (sum, t) => ({ turns: sum.turns + t.turns, tokens: sum.tokens + t.tokens, usd: sum.usd + t.usd, unpriced: sum.unpriced || t.unpriced }),
    { turns: run.turns ?? 0, tokens: run.input_tokens + run.output_tokens, usd: run.usd, unpriced: run.unpriced ?? false },
  );
}

/** "4 turns, 12,345 tokens, $0.02". */
export function takenText(t: Taken): string {
  const parts = [`${t.turns} ${t.turns === 1 ? "turn" : "turns"}`, `${t.tokens.toLocaleString("en")} tokens`];
  if (t.usd > 0) parts.push(`${t.unpriced ? "at least " : ""}$${t.usd.toFixed(t.usd < 0.1 ? 4 : 2)}`);
  return parts.join(", ");
}
