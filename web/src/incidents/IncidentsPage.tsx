import { Button, Loader, NativeSelect, TextInput } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import { incidents } from "../api/calls";
import type { FacetValue, Incident, Severity } from "../api/types";
import type { IncidentSearch } from "../router";
import { inert } from "../text/visible";
import { useHotkeys } from "../ui/hotkeys";
import { CheckIcon, SearchIcon } from "../ui/icons";
import { Ago, Empty, LoadingRows, Problem, useTitle } from "../ui/parts";
import { InvestigationMark, SeverityMark, StatusMark } from "../ui/state";
import css from "./IncidentsPage.module.css";
import { chosenIn, Facets } from "./Facets";
import { useIncidentList } from "./useIncidentList";

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

const severityWords: Record<Severity, string> = { critical: "Critical", high: "High", warning: "Warning", info: "Info" };

export function IncidentsPage() {
  const search = getRouteApi("/signed-in/incidents").useSearch();
  const navigate = useNavigate();
  useTitle("Incidents");
  const { list, query, loadMore, more, look } = useIncidentList(search);
  const searchBox = useRef<HTMLInputElement>(null);
  const rows = useRef<HTMLDivElement>(null);

  const step = (by: number) => {
    const all = [...(rows.current?.querySelectorAll<HTMLElement>("a[data-index]") ?? [])].sort((a, b) => Number(a.dataset.index) - Number(b.dataset.index));
    const at = all.indexOf(document.activeElement as HTMLElement);
    const visible = all.findIndex((row) => row.getBoundingClientRect().top >= 0);
    const row = at < 0 ? all[Math.max(visible, 0)] : all[at + by];
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  };
  useHotkeys({ j: () => step(1), k: () => step(-1), "/": () => searchBox.current?.focus() });

  const change = (to: Partial<IncidentSearch>) =>
    void navigate({ to: "/incidents", search: { ...search, ...to }, replace: "q" in to });
  const filtered = search.status !== undefined || search.severity !== undefined || search.q !== undefined || chosenIn(search) > 0;
  const facets = useQuery({
    queryKey: ["incidents", "facets", search],
    queryFn: ({ signal }) => incidents.facets(search, { signal }),
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
          <SearchBox ref={searchBox} value={search.q ?? ""} onChange={(q) => change({ q: q || undefined })} />
          <NativeSelect
            aria-label="Severity"
            value={search.severity ?? ""}
            onChange={(e) => change({ severity: (e.currentTarget.value as Severity) || undefined })}
            data={[
              { value: "", label: "Any severity" },
              ...Object.entries(severityWords).map(([value, label]) => ({ value, label: counts ? `${label} (${atLeast(countOf(counts.severity, value) ?? 0)})` : label })),
            ]}
          />
        </div>
      </header>
      <nav className={css.tabs} aria-label="Status">
        {tabs.map((tab) => (
          <Link
            key={tab.label}
            to="/incidents"
            search={{ ...search, status: tab.status }}
            className={css.tab}
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
            query.fetchStatus === "paused" ? (
              <Empty title="You are offline">The list appears as soon as the network is back.</Empty>
            ) : (
              <LoadingRows rows={10} height={20} />
            )
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
              <Rows items={list.items} onEnd={loadMore} onLook={look} />
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
        </div>
      </div>
    </div>
  );
}

/** Typing searches after a moment of rest. */
function SearchBox({ ref, value, onChange }: { ref: React.RefObject<HTMLInputElement | null>; value: string; onChange: (q: string) => void }) {
  const [text, setText] = useState(value);
  const [from, setFrom] = useState(value);
  if (from !== value) {
    // The address changed from elsewhere, such as the back button.
    setFrom(value);
    setText(value);
  }
  const changed = useRef(onChange);
  useEffect(() => {
    changed.current = onChange;
  });
  useEffect(() => {
    if (text.trim() === value) return;
    const id = setTimeout(() => changed.current(text.trim()), 250);
    return () => clearTimeout(id);
  }, [text, value]);
  return (
    <TextInput
      ref={ref}
      className={css.search}
      type="search"
      aria-label="Search incidents"
      placeholder="Search"
      leftSection={<SearchIcon />}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      onKeyDown={(e) => e.key === "Escape" && e.currentTarget.blur()}
    />
  );
}

/** Only the rows on the screen exist; a list of 10,000 scrolls like one of ten. */
function Rows({ items, onEnd, onLook }: { items: Incident[]; onEnd: () => Promise<void>; onLook: (number: number | undefined) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const narrow = useMediaQuery("(max-width: 760px)", undefined, { getInitialValueInEffect: false });
  const height = narrow ? 66 : 40;
  const [offset, setOffset] = useState(0);
  useLayoutEffect(() => {
    setOffset((box.current?.getBoundingClientRect().top ?? 0) + window.scrollY);
  }, [narrow]);
  const virtual = useWindowVirtualizer({ count: items.length, estimateSize: () => height, overscan: 12, scrollMargin: offset });
  useLayoutEffect(() => virtual.measure(), [virtual, height]);

  const shown = virtual.getVirtualItems();
  const first = shown[Math.min(12, shown.length - 1)]?.index;
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => onLook(first === undefined ? undefined : items[first]?.number), [first, items, onLook]);
  useEffect(() => {
    if (last >= items.length - 1 && window.scrollY > 0) void onEnd();
  }, [last, items.length, onEnd]);

  return (
    <div ref={box} className={css.list} style={{ height: virtual.getTotalSize() }}>
      {shown.map((v) => {
        const item = items[v.index];
        return item && <IncidentRow key={item.id} item={item} index={v.index} top={v.start - offset} />;
      })}
    </div>
  );
}

const IncidentRow = memo(function IncidentRow({ item, index, top }: { item: Incident; index: number; top: number }) {
  const over = item.status === "resolved" || item.status === "closed" || item.status === "merged";
  return (
    <Link
      to="/incidents/$id"
      params={{ id: String(item.number) }}
      className={css.row}
      data-index={index}
      data-over={over}
      style={{ transform: `translateY(${top}px)` }}
    >
      <span className={css.word}>
        <SeverityMark value={item.severity} />
      </span>
      <span className={`${css.cell} num faint`}>#{item.number}</span>
      <span className={css.title}>
        <b>{inert(item.title)}</b>
        {item.service && <span className={css.service}>{inert(item.service)}</span>}
      </span>
      <span className={css.cell}>
        <InvestigationMark value={item.investigation} />
      </span>
      <span className={css.cell}>
        <StatusMark value={item.status} />
      </span>
      <span className={`${css.cell} ${css.wide} ${css.right} num dim`} title={`${item.firing_count} of ${item.alert_count} firing`}>
        {item.alert_count}
      </span>
      <span className={`${css.cell} ${css.wide} ${css.clip} dim`}>{inert(item.source) || "by hand"}</span>
      <span className={`${css.cell} ${css.right} dim`}>
        <Ago at={item.opened_at} plain />
      </span>
      <span className={css.meta}>
        <span className="num faint">#{item.number}</span>
        <span>{severityWords[item.severity] ?? item.severity}</span>
        <StatusMark value={item.status} />
        {item.investigation && <InvestigationMark value={item.investigation} />}
        <Ago at={item.opened_at} plain />
      </span>
    </Link>
  );
});
