import { useMediaQuery } from "@mantine/hooks";
import { useRouter } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, type MouseEvent as Click, startTransition, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Incident, Severity } from "../api/types";
import { inert } from "../text/visible";
import { Ago } from "../ui/parts";
import { InvestigationMark, SeverityMark, StatusMark } from "../ui/state";
import css from "./IncidentsPage.module.css";

export const severityWords: Record<Severity, string> = { critical: "Critical", high: "High", warning: "Warning", info: "Info" };

/** Chooses an incident or lets it go; with range, all from the last one to it. */
export type Choose = (item: Incident, range: boolean) => void;

interface RowsProps {
  items: Incident[];
  chosen: ReadonlyMap<string, number>;
  /** Absent for those who may change nothing. */
  choose?: Choose;
  onEnd: () => Promise<void>;
  onLook: (number: number | undefined) => void;
}

/** Rows beyond the screen, for scrolling: few until the first are painted. */
const beyond = { first: 2, then: 12 };

/** Only the rows on the screen exist; a list of 10,000 scrolls like one of ten. */
export function Rows({ items, chosen, choose, onEnd, onLook }: RowsProps) {
  const box = useRef<HTMLDivElement>(null);
  const narrow = useMediaQuery("(max-width: 760px)", undefined, { getInitialValueInEffect: false });
  const height = narrow ? 66 : 40;
  const [offset, setOffset] = useState(0);
  useLayoutEffect(() => {
    setOffset((box.current?.getBoundingClientRect().top ?? 0) + window.scrollY);
  }, [narrow]);
  const [overscan, setOverscan] = useState(beyond.first);
  useEffect(() => startTransition(() => setOverscan(beyond.then)), []);
  const virtual = useWindowVirtualizer({ count: items.length, estimateSize: () => height, overscan, scrollMargin: offset });
  const measured = useRef(height);
  useLayoutEffect(() => {
    if (measured.current === height) return;
    measured.current = height;
    virtual.measure();
  }, [virtual, height]);

  const shown = virtual.getVirtualItems();
  const first = shown[Math.min(overscan, shown.length - 1)]?.index;
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => onLook(first === undefined ? undefined : items[first]?.number), [first, items, onLook]);
  useEffect(() => {
    if (last >= items.length - 1 && window.scrollY > 0) void onEnd();
  }, [last, items.length, onEnd]);

  // One for all rows: each would otherwise keep watch over the address by itself.
  const router = useRouter();
  const go = (event: Click) => {
    const number = numberOf(event);
    if (!number || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    void router.navigate({ to: "/incidents/$id", params: { id: number } });
  };
  const prepared = useRef(false);
  const prepare = (event: Click) => {
    const number = prepared.current ? undefined : numberOf(event);
    if (!number) return;
    prepared.current = true; // the page of all incidents is the same
    void router.preloadRoute({ to: "/incidents/$id", params: { id: number } });
  };

  return (
    <div
      ref={box}
      className={css.list}
      data-choosing={chosen.size > 0 || undefined}
      style={{ height: virtual.getTotalSize() }}
      onClick={go}
      onMouseOver={prepare}
    >
      {shown.map((v) => {
        const item = items[v.index];
        return item && <IncidentRow key={item.id} item={item} index={v.index} top={v.start - offset} narrow={narrow} chosen={chosen.has(item.id)} choose={choose} />;
      })}
    </div>
  );
}

/** The incident whose row an event is in. */
function numberOf(event: Click): string | undefined {
  const row = event.target instanceof Element ? event.target.closest<HTMLElement>("a[data-number]") : null;
  return row?.dataset.number;
}

interface RowProps {
  item: Incident;
  index: number;
  top: number;
  narrow: boolean;
  chosen: boolean;
  choose?: Choose;
}

const IncidentRow = memo(function IncidentRow({ item, index, top, narrow, chosen, choose }: RowProps) {
  const over = item.status === "resolved" || item.status === "closed" || item.status === "merged";
  return (
    <div className={css.place} data-row data-chosen={chosen || undefined} style={{ transform: `translateY(${top}px)` }}>
      {choose && (
        <label className={css.check}>
          <input
            type="checkbox"
            aria-label={`Choose #${item.number} ${inert(item.title)}`}
            checked={chosen}
            onChange={(e) => choose(item, e.nativeEvent instanceof MouseEvent && e.nativeEvent.shiftKey)}
          />
        </label>
      )}
      <a href={`/incidents/${item.number}`} className={css.row} data-index={index} data-number={item.number} data-over={over}>
        <span className={css.word}>
          <SeverityMark value={item.severity} />
        </span>
        {narrow ? <Narrow item={item} /> : <Cells item={item} />}
      </a>
    </div>
  );
});

function Cells({ item }: { item: Incident }) {
  return (
    <>
      <span className="num faint">#{item.number}</span>
      <span className={css.title}>
        <b>{inert(item.title)}</b>
        {item.service && <span className={css.service}>{inert(item.service)}</span>}
      </span>
      <span>
        <InvestigationMark value={item.investigation} />
      </span>
      <span>
        <StatusMark value={item.status} />
      </span>
      <span className={`${css.wide} ${css.right} num dim`} title={`${item.firing_count} of ${item.alert_count} firing`}>
        {item.alert_count}
      </span>
      <span className={`${css.wide} ${css.clip} dim`}>{inert(item.source) || "by hand"}</span>
      <span className={`${css.right} dim`}>
        <Ago at={item.opened_at} plain />
      </span>
    </>
  );
}

/** Two lines, on a phone. */
function Narrow({ item }: { item: Incident }) {
  return (
    <>
      <span className={css.title}>
        <b>{inert(item.title)}</b>
      </span>
      <span className={css.meta}>
        <span className="num faint">#{item.number}</span>
        <span>{severityWords[item.severity] ?? item.severity}</span>
        <StatusMark value={item.status} />
        {item.investigation && <InvestigationMark value={item.investigation} />}
        <Ago at={item.opened_at} plain />
      </span>
    </>
  );
}
