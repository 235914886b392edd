import type { Query, QueryClient } from "@tanstack/react-query";

/**
 * Keeps the error of what could never be read while it is tried again. Without
 * it a page that asks every few seconds would change between the error and its
 * stand-in for rows for as long as the api fails.
 */
export function keepErrors(client: QueryClient): void {
  const errors = new WeakMap<Query, Error>();
  client.getQueryCache().subscribe((event) => {
    if (event.type !== "updated") return;
    const { query, action } = event;
    if (action.type === "error") errors.set(query, action.error as Error);
    if (action.type === "success") errors.delete(query);
    const error = errors.get(query);
    if (action.type === "fetch" && error && query.state.data === undefined) query.setState({ ...query.state, status: "error", error });
  });
}
