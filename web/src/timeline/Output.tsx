import { ActionIcon } from "@mantine/core";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, type RefObject, useDeferredValue, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { findExcerpt, type LineRange } from "../text/excerpt";
import { OutputText } from "../text/visible";
import { download } from "../ui/files";
import { DownloadIcon, SearchIcon, WrapIcon } from "../ui/icons";
import { bytes as size } from "../charts/numbers";
import { Copy } from "../ui/parts";
import css from "./Output.module.css";

/** From so many lines on, only those on the screen are drawn. */
const many = 400;
/** Of a line that is not wrapped, in px; as the stylesheet says. */
const lineHeight = 20;

export interface OutputProps {
  text: string;
  name: string;
  live?: boolean;
  /** Bytes that the output was cut by. */
  truncated?: number;
  /** Where more of it is than is shown, and how many bytes. */
  whole?: { url: string; bytes: number };
  /** The words that a citation quotes; their lines are marked. */
  excerpt?: string;
}

/** What a program printed, line by line; nothing in it can act on the page. */
export const Output = memo(function Output({ text, name, live, truncated, whole, excerpt }: OutputProps) {
  const lines = useMemo(() => new OutputText(text), [text]);
  const cited = useMemo(() => (excerpt ? findExcerpt(text.replace(/\r\n/g, "\n"), excerpt) : null), [text, excerpt]);
  const [wrap, setWrap] = useState(false);
  const [searching, setSearching] = useState(false);
  const [words, setWords] = useState("");
  const wanted = useDeferredValue(searching ? words : "");
  const found = useMemo(() => lines.find(wanted), [lines, wanted]);
  const [at, setAt] = useState(0);
  const current = found[Math.min(at, found.length - 1)];
  const box = useRef<HTMLDivElement>(null);

  // A live tail stays at its end unless the reader has scrolled up in it.
  const stuck = useRef(true);
  useEffect(() => {
    if (live && stuck.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [live, text]);

  if (text === "" && !live) return <div className={`${css.output} ${css.nothing}`}>It printed nothing.</div>;
  const show = { lines, cited, found: new Set(found), current, box };
  return (
    <div className={css.output}>
      <div className={css.tools}>
        <span className="num">
          {live ? "Output so far" : `${lines.length.toLocaleString()} ${lines.length === 1 ? "line" : "lines"}`}
          {cited && ` · line ${cited.from + 1}${cited.to > cited.from ? `–${cited.to + 1}` : ""} is cited`}
        </span>
        {searching && (
          <Find
            words={words}
            change={(to) => {
              setWords(to);
              setAt(0);
            }}
            n={found.length}
            at={Math.min(at, found.length - 1)}
            step={(by) => found.length > 0 && setAt((Math.min(at, found.length - 1) + by + found.length) % found.length)}
            close={() => {
              setSearching(false);
              box.current?.focus({ preventScroll: true });
            }}
          />
        )}
        <ActionIcon variant="subtle" color="gray" size={26} aria-label="Search the output" title="Search" aria-pressed={searching} onClick={() => setSearching(!searching)}>
          <SearchIcon size={14} />
        </ActionIcon>
        <ActionIcon variant="subtle" color="gray" size={26} aria-label="Wrap long lines" title="Wrap long lines" aria-pressed={wrap} onClick={() => setWrap(!wrap)}>
          <WrapIcon size={15} />
        </ActionIcon>
        <Copy text={text} label="Copy the output" size={26} />
        <ActionIcon variant="subtle" color="gray" size={26} aria-label="Download the output" title="Download" onClick={() => download(text, `${name}.txt`)}>
          <DownloadIcon size={15} />
        </ActionIcon>
      </div>
      <div
        ref={box}
        className={css.scroll}
        data-live={live}
        data-wrap={wrap || undefined}
        tabIndex={0}
        role="region"
        aria-label={`Output of ${name}`}
        onScroll={(e) => {
          const el = e.currentTarget;
          stuck.current = el.scrollHeight - el.scrollTop - el.clientHeight < 24;
        }}
      >
        {lines.length <= many || live ? <All {...show} /> : <Some key={String(wrap)} {...show} wrap={wrap} />}
      </div>
      {(!!truncated || whole) && (
        <div className={css.more}>
          {!!truncated && `${truncated.toLocaleString("en")} bytes are left out here. `}
          {whole && (
            <a href={whole.url} download>
              Whole output, {size(whole.bytes)}
            </a>
          )}
        </div>
      )}
    </div>
  );
});

/** Words to look for; Enter goes on, Shift-Enter goes back, Escape ends it. */
function Find({ words, change, n, at, step, close }: { words: string; change: (to: string) => void; n: number; at: number; step: (by: number) => void; close: () => void }) {
  return (
    <>
      <input
        className={css.find}
        type="search"
        aria-label="Words to look for in the output"
        placeholder="Search"
        value={words}
        autoFocus
        onChange={(e) => change(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Escape") close();
          else if (e.key === "Enter") step(e.shiftKey ? -1 : 1);
          else return;
          e.preventDefault();
          e.stopPropagation();
        }}
      />
      <span className={`${css.hits} num`} role="status">
        {words === "" ? "" : n === 0 ? "none" : `${(at + 1).toLocaleString()} of ${n.toLocaleString()}`}
      </span>
    </>
  );
}

interface LinesProps {
  lines: OutputText;
  cited: LineRange | null;
  found: ReadonlySet<number>;
  /** The line that is looked at among the found ones. */
  current: number | undefined;
  box: RefObject<HTMLDivElement | null>;
}

/** All lines of a short output: they can be selected, and found by the browser. */
function All(p: LinesProps) {
  const { box, current } = p;
  useEffect(() => {
    if (current !== undefined) box.current?.querySelector(`[data-n="${current + 1}"]`)?.scrollIntoView({ block: "nearest" });
  }, [box, current]);
  return (
    <div className={css.lines} data-output>
      {p.lines.raw.map((_, n) => (
        <Line key={n} n={n} {...p} />
      ))}
    </div>
  );
}

/** The lines of a long output that are on the screen. */
function Some({ wrap, ...p }: LinesProps & { wrap: boolean }) {
  const { lines, cited, current, box } = p;
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => box.current,
    estimateSize: () => lineHeight,
    overscan: 20,
    initialRect: { width: 800, height: 420 },
    initialOffset: Math.max(0, ((cited?.from ?? 0) - 6) * lineHeight),
  });
  const width = useMemo(() => lines.width, [lines]);
  const to = current ?? cited?.from;
  useLayoutEffect(() => {
    if (to !== undefined) virtual.scrollToIndex(to, { align: "center" });
  }, [to, virtual]);
  const shown = virtual.getVirtualItems();
  return (
    <div style={{ height: virtual.getTotalSize(), minWidth: wrap ? undefined : `calc(${width}ch + 61px)` }}>
      <div className={css.lines} data-output style={{ paddingTop: shown[0]?.start ?? 0 }}>
        {shown.map((v) => (
          <Line key={v.index} n={v.index} {...p} measure={wrap ? virtual.measureElement : undefined} />
        ))}
      </div>
    </div>
  );
}

function Line({ n, lines, cited, found, current, measure }: LinesProps & { n: number; measure?: (el: HTMLElement | null) => void }) {
  const pieces = lines.line(n);
  return (
    <div
      ref={measure}
      className={css.line}
      data-index={n}
      data-n={n + 1}
      data-cited={cited !== null && n >= cited.from && n <= cited.to ? true : undefined}
      data-found={found.has(n) || undefined}
      data-at={n === current || undefined}
    >
      <span>
        {pieces.length === 0
          ? " "
          : pieces.map((piece, i) =>
              piece.control ? (
                <span key={i} className="control" title={piece.control}>
                  {piece.text}
                </span>
              ) : piece.style ? (
                <span key={i} className={piece.style}>
                  {piece.text}
                </span>
              ) : (
                piece.text
              ),
            )}
      </span>
    </div>
  );
}
