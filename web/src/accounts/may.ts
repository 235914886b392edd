import { getRouteApi } from "@tanstack/react-router";

/** What a role can let its users do, with what that means. The api names and enforces them. */
export const permissions = {
  read: "See all that holds no secret",
  "incidents.respond": "Work on incidents, start and stop investigations",
  "approvals.decide": "Approve and deny what agents ask for",
  "sources.manage": "Sources, grouping rules, maintenance windows",
  "inventory.manage": "Targets, credentials, LLM providers",
  "agents.manage": "Agents, their rules, tokens for the gateway",
  "accounts.manage": "Users and roles",
  "audit.read": "Read the audit log",
} as const;

export type Permission = keyof typeof permissions;

/** What is among the actions of a user or role, in the order above; what this page does not know comes last. */
export function ordered(actions: readonly string[]): string[] {
  const known = Object.keys(permissions);
  return [...known.filter((p) => actions.includes(p)), ...actions.filter((a) => !known.includes(a))];
}

/** Who is signed in. */
export function useUser() {
  return getRouteApi("/signed-in").useRouteContext().user;
}

/** Says what the user may do. It decides what the page shows; the api decides what is done. */
export function useMay(): (permission: Permission) => boolean {
  const { actions } = useUser();
  return (permission) => actions.includes(permission);
}
