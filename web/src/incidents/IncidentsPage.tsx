import { Button, Loader, NativeSelect } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useCallback, useRef, useState } from "react";
import { useMay } from "../accounts/may";
import type { FacetValue, Incident } from "../api/types";
import { useHotkeys } from "../ui/hotkeys";
import { CheckIcon } from "../ui/icons";
import { SearchBox } from "../ui/SearchBox";
import { Empty, LoadingRows, Problem, useTitle } from "../ui/parts";
import { Bulk } from "./Bulk";
import { Facets } from "./Facets";
import { type IncidentSearch, sameFilter } from "./filter";
import css from "./IncidentsPage.module.css";
import { Rows, severityWords } from "./Rows";
import { extend, first, noSelection, type Selection, toggle } from "./selection";
import { facetsOf, useIncidentList } from "./useIncidentList";
import { Views } from "./Views";

export { prepare } from "./useIncidentList";

/** Counts of one kind, for tabs and choices. */
function countOf(values: FacetValue[] | undefined, ...of: string[]): number | undefined {
  return values?.filter((v) => of.length === 0 || of.includes(v.value)).reduce((sum, v) => sum + v.count, 0);
}

const tabs: { status?: string; label: string }[] = [
  { label: "All" },
  { status: "triggered,acknowledged", label: "Open" },
  { status: "triggered", label: "Triggered" },
  { status: "acknowledged", label: "Acknowledged" },
  { status: "resolved", label: "Resolved" },
  { status: "closed", label: "Closed" },
];

export function IncidentsPage() {
  const search = getRouteApi("/signed-in/incidents").useSearch();
  const navigate = useNavigate();
  useTitle("Incidents");
  const { list, query, loadMore, more, look } = useIncidentList(search);
  const searchBox = useRef<HTMLInputElement>(null);
  const rows = useRef<HTMLDivElement>(null);

  const mayChange = useMay()("incidents.respond");
  const [selection, setSelection] = useState<Selection>(noSelection);
  const [filteredBy, setFilteredBy] = useState(search);
  if (!sameFilter(filteredBy, search)) {
    // What is no longer in the list is not changed with what is.
    setFilteredBy(search);
    setSelection(noSelection);
  }
  const { items } = list;
  const choose = useCallback(
    (item: Incident, range: boolean) => setSelection((now) => (range ? extend(now, items, item) : toggle(now, item))),
    [items],
  );

  const links = () => [...(rows.current?.querySelectorAll<HTMLElement>("a[data-index]") ?? [])].sort((a, b) => Number(a.dataset.index) - Number(b.dataset.index));
  /** The row that has the focus, or whose checkbox has it. */
  const focused = () => document.activeElement?.parentElement?.closest("[data-row]")?.querySelector<HTMLElement>("a[data-index]") ?? undefined;
  const step = (by: number) => {
    const all = links();
    const now = focused();
    const at = now ? all.indexOf(now) : -1;
    const visible = all.findIndex((row) => row.getBoundingClientRect().top >= 0);
    const row = at < 0 ? all[Math.max(visible, 0)] : all[at + by];
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  };
  const focusedItem = () => items[Number(focused()?.dataset.index ?? -1)];
  const chooseFocused = (range: boolean) => {
    const item = focusedItem();
    if (item) choose(item, range);
    else step(0);
  };
  useHotkeys("incidents", {
    j: () => step(1),
    k: () => step(-1),
    "/": () => searchBox.current?.focus(),
    x: mayChange ? () => chooseFocused(false) : undefined,
    X: mayChange ? () => chooseFocused(true) : undefined,
  });

  const change = (to: Partial<IncidentSearch>) =>
    void navigate({ to: "/incidents", search: { ...search, ...to }, replace: "q" in to });
  const filtered = !sameFilter({}, search);
  const facets = useQuery({
    ...facetsOf(search),
    refetchInterval: 15_000,
    placeholderData: keepPreviousData,
  });
  const counts = facets.data;
  // What is not counted to the end is not shown as if it were.
  const atLeast = (n: number | undefined) => (n === undefined ? "" : n.toLocaleString() + (counts?.exact ? "" : "+"));

  return (
    <div className={css.page}>
      <header className={css.head}>
        <h1>Incidents</h1>
        <div className={css.tools} role="search">
          <SearchBox
            ref={searchBox}
            className={css.search}
            label="Search incidents"
            placeholder="Search"
            rest={80}
            value={search.q ?? ""}
            onChange={(q) => change({ q: q || undefined })}
          />
          <NativeSelect
            aria-label="Severity"
            value={search.severity ?? ""}
            onChange={(e) => change({ severity: e.currentTarget.value || undefined })}
            data={[
              { value: "", label: "Any severity" },
              ...(search.severity?.includes(",") ? [{ value: search.severity, label: search.severity.split(",").join(", ") }] : []),
              ...Object.entries(severityWords).map(([value, label]) => ({ value, label: counts ? `${label} (${atLeast(countOf(counts.severity, value) ?? 0)})` : label })),
            ]}
          />
          <Views search={search} />
        </div>
      </header>
      <nav className={css.tabs} aria-label="Status">
        {tabs.map((tab) => (
          <Link
            key={tab.label}
            to="/incidents"
            search={{ ...search, status: tab.status }}
            className={css.tab}
            activeOptions={{ exact: true }}
            aria-current={search.status === tab.status ? "page" : undefined}
            activeProps={{}}
          >
            {tab.label}
            {counts && <span className={`${css.count} num`}>{atLeast(countOf(counts.status, ...(tab.status?.split(",") ?? [])))}</span>}
          </Link>
        ))}
      </nav>

      <div className={css.split}>
        <Facets counts={counts} search={search} change={change} />
        <div className={css.main}>
          {query.error && list.items.length > 0 && (
            <div className={css.stale}>
              <Problem what="The list could not be refreshed." error={query.error} kept="What is shown is from before." />
            </div>
          )}
          {query.isPending ? (
            <LoadingRows rows={10} height={20} />
          ) : list.items.length === 0 ? (
            query.error ? (
              <div className={css.stale}>
                <Problem what="The incidents could not be read." error={query.error} retry={() => void query.refetch()} />
              </div>
            ) : filtered ? (
              <Empty title="Nothing matches" more={<Link to="/incidents">Show all incidents</Link>}>
                No incident has all that is asked for.
              </Empty>
            ) : (
              <Empty
                art={<CheckIcon size={20} />}
                title="No incidents"
                more={
                  <Button component={Link} to="/sources">
                    Connect a source
                  </Button>
                }
              >
                Alerts become incidents by themselves. Connect Alertmanager or another source and send a test alert.
              </Empty>
            )
          ) : (
            <div ref={rows}>
              <div className={css.columns} aria-hidden="true">
                <span>Severity</span>
                <span>No.</span>
                <span>Title</span>
                <span>Investigation</span>
                <span>Status</span>
                <span className={`${css.wide} ${css.right}`}>Alerts</span>
                <span className={css.wide}>Source</span>
                <span className={css.right}>Opened</span>
              </div>
              <Rows items={items} chosen={selection.chosen} choose={mayChange ? choose : undefined} onEnd={loadMore} onLook={look} />
              <div className={css.end}>
                {more.error !== null ? (
                  <Problem what="Older incidents could not be read." error={more.error} retry={() => void loadMore()} />
                ) : list.next !== "" ? (
                  more.busy ? (
                    <Loader size="sm" aria-label="Loading" />
                  ) : (
                    <Button variant="default" size="compact-md" onClick={() => void loadMore()}>
                      Load more
                    </Button>
                  )
                ) : list.items.length > 20 ? (
                  <span>That is all of them.</span>
                ) : null}
              </div>
            </div>
          )}
          <Bulk
            chosen={selection.chosen}
            may={mayChange}
            focused={focusedItem}
            keep={(ids) => setSelection((now) => ({ ...now, chosen: new Map([...now.chosen].filter(([id]) => ids.includes(id))) }))}
            all={() => setSelection(first(items))}
          />
        </div>
      </div>
    </div>
  );
}
