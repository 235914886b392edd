import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef, useState } from "react";
import { incidents } from "../api/calls";
import type { IncidentSearch } from "./filter";
import { cursorOf, emptyList, type IncidentList, leavesHole, mergePage } from "./list";

const pageSize = 100;
/** A storm opens more than a page between two looks: follow it so far, then begin anew. */
const holePages = 10;

/**
 * The list, kept fresh without fetching all of it again: every 5 s the first
 * page and the page that is being looked at.
 */
export function useIncidentList(search: IncidentSearch) {
  const client = useQueryClient();
  const key = ["incidents", search];
  const looking = useRef<number | undefined>(undefined);
  const [more, setMore] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: null });

  const query = useQuery({
    queryKey: key,
    refetchInterval: 5_000,
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
      const cursor = looking.current === undefined ? "" : cursorOf(list, looking.current);
      if (cursor !== "") list = mergePage(mergePage(before(), "", head), cursor, await fetchPage(cursor));
      return list;
    },
  });

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
