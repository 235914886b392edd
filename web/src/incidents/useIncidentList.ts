import { type QueryClient, queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef, useState } from "react";
import { incidents } from "../api/calls";
import type { IncidentSearch } from "./filter";
import { cursorOf, emptyList, type IncidentList, leavesHole, mergePage } from "./list";

const pageSize = 100;
/** A storm opens more than a page between two looks: follow it so far, then begin anew. */
const holePages = 10;

/** How the list is read, with the page of it that is being looked at: its number, if there is one. */
export function listOf(client: QueryClient, search: IncidentSearch, looking: () => number | undefined = () => undefined) {
  const key = ["incidents", search];
  return queryOptions({
    queryKey: key,
    structuralSharing: false,
    queryFn: async ({ signal }) => {
      const fetchPage = (cursor: string) => incidents.list({ ...search, cursor, limit: pageSize }, { signal });
      const before = () => client.getQueryData<IncidentList>(key) ?? emptyList;
      const head = await fetchPage("");
      let list = before();
      const hole = leavesHole(list, head);
      const newest = list.items[0]?.number ?? -Infinity;
      list = mergePage(list, "", head);
      if (hole) {
        let after = head.items.at(-1)?.number ?? -Infinity;
        let cursor = head.next_cursor;
        for (let i = 0; cursor !== "" && after > newest; i++) {
          if (i === holePages) return mergePage(emptyList, "", head);
          const page = await fetchPage(cursor);
          list = mergePage(list, cursor, page, after);
          after = page.items.at(-1)?.number ?? -Infinity;
          cursor = page.next_cursor;
        }
        return list;
      }
      const at = looking();
      const cursor = at === undefined ? "" : cursorOf(list, at);
      if (cursor !== "") {
        const page = await fetchPage(cursor);
        list = mergePage(mergePage(before(), "", head), cursor, page); // with what was loaded meanwhile
      }
      return list;
    },
  });
}

export function facetsOf(search: IncidentSearch) {
  return queryOptions({ queryKey: ["incidents", "facets", search], queryFn: ({ signal }) => incidents.facets(search, { signal }) });
}

/** How long a page that is gone to is held back for its rows, in ms: less than one notices. */
const patience = 150;

/** Begins to read what the page shows, so that it mostly appears with its rows at once. */
export async function prepare(client: QueryClient, search: IncidentSearch): Promise<void> {
  const list = listOf(client, search);
  const reading = client.prefetchQuery(list);
  void client.prefetchQuery(facetsOf(search));
  if (client.getQueryData(list.queryKey)) return;
  await Promise.race([reading, new Promise((late) => setTimeout(late, patience))]);
}

/**
 * The list, kept fresh without fetching all of it again: every 5 s the first
 * page and the page that is being looked at.
 */
export function useIncidentList(search: IncidentSearch) {
  const client = useQueryClient();
  const looking = useRef<number | undefined>(undefined);
  const [more, setMore] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: null });
  const query = useQuery({ ...listOf(client, search, () => looking.current), refetchInterval: 5_000 });

  const list = query.data ?? emptyList;
  const loading = useRef(false);
  const loadMore = useCallback(async () => {
    const at = client.getQueryData<IncidentList>(["incidents", search]);
    if (!at || at.next === "" || loading.current) return;
    loading.current = true;
    setMore({ busy: true, error: null });
    try {
      const page = await incidents.list({ ...search, cursor: at.next, limit: pageSize }, {});
      client.setQueryData<IncidentList>(["incidents", search], (now) => mergePage(now ?? at, at.next, page));
      setMore({ busy: false, error: null });
    } catch (error) {
      setMore({ busy: false, error });
    } finally {
      loading.current = false;
    }
  }, [client, search]);

  return {
    list,
    query,
    loadMore,
    more,
    /** Says which incident is at the top of the screen. */
    look: (number: number | undefined) => {
      looking.current = number;
    },
  };
}
