/** Ids of agents, as people write them into one field. */
export function agentIDs(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}
