import { QueryClient } from "@tanstack/react-query";
import { expect, it, vi } from "vitest";
import { incidents } from "../api/calls";
import type { Incident } from "../api/types";
import { emptyList, type IncidentList, mergePage } from "./list";
import { listOf } from "./useIncidentList";

const page = (numbers: number[], next: string) => ({ items: numbers.map((number) => ({ id: `i${number}`, number }) as Incident), next_cursor: next });

it("keeps a page that comes while the one that is looked at is refreshed", async () => {
  const client = new QueryClient();
  const list = listOf(client, {}, () => 7);
  const two = mergePage(mergePage(emptyList, "", page([9, 8], "8")), "8", page([7, 6], "6"));
  client.setQueryData<IncidentList>(list.queryKey, two);
  vi.spyOn(incidents, "list").mockImplementation(async ({ cursor }) => {
    if (cursor === "") return page([9, 8], "8");
    client.setQueryData<IncidentList>(list.queryKey, (now) => mergePage(now ?? emptyList, "6", page([5, 4], "")));
    return page([7, 6], "6");
  });
  const { items } = await client.fetchQuery(list);
  expect(items.map((i) => i.number)).toEqual([9, 8, 7, 6, 5, 4]);
});
