/** A row of the table of groups, as it is edited. */
export interface GroupRow {
  group: string;
  roles: string[];
}

/** What is edited of what is stored: an empty table starts with an empty row. */
export function rowsOf(groups: readonly { group: string; roles: readonly string[] }[]): GroupRow[] {
  return groups.length > 0 ? groups.map((g) => ({ group: g.group, roles: [...g.roles] })) : [{ group: "", roles: [] }];
}

/** What is stored of what was edited, or what is wrong with it. Empty rows are left out. */
export function groupsOf(rows: readonly GroupRow[]): GroupRow[] | string {
  const kept = rows.map((r) => ({ group: r.group.trim(), roles: r.roles })).filter((r) => r.group !== "" || r.roles.length > 0);
  for (const [i, { group, roles }] of kept.entries()) {
    if (group === "") return "A row has roles and no group.";
    if (roles.length === 0) return `Group ${group} has no role.`;
    if (kept.findIndex((other) => other.group === group) !== i) return `Group ${group} is there twice.`;
  }
  return kept;
}
