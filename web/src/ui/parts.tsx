import { ActionIcon, Button, Skeleton, Tooltip } from "@mantine/core";
import { type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { ApiError, messageOf } from "../api/client";
import { useOnline } from "../api/reachable";
import { absolute, age, isTime, span } from "../text/time";
import { inert } from "../text/visible";
import { toClipboard } from "./files";
import { CheckIcon, CopyIcon } from "./icons";
import css from "./parts.module.css";

/** A settings page: what it is in one sentence, the one thing to do, the content. */
export function Page({ title, lead, action, children }: { title: string; lead?: ReactNode; action?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <div className={css.page}>
      <header className={css.head}>
        <div>
          <h1>{title}</h1>
          {lead && <p>{lead}</p>}
        </div>
        {action}
      </header>
      {children}
    </div>
  );
}

export function Card({ children, label }: { children: ReactNode; label?: string }) {
  return (
    <section className={css.card} aria-label={label}>
      {children}
    </section>
  );
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · Akmatori` : "Akmatori";
  }, [title]);
}

/** Nothing here yet, and what to do about it. */
export function Empty({ art, title, children, more }: { art?: ReactNode; title: string; children?: ReactNode; more?: ReactNode }) {
  return (
    <div className={css.state}>
      {art && <span className={css.art}>{art}</span>}
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {more && <div className={css.more}>{more}</div>}
    </div>
  );
}

/** What failed, what was kept and what to do. */
export function Problem({ what, error, retry, kept }: { what: string; error: unknown; retry?: () => void; kept?: string }) {
  const status = error instanceof ApiError ? error.status : undefined;
  // The next failure is another error, and ends the wait for it.
  const [tried, setTried] = useState<unknown>(undefined);
  const hint = !retry || status === undefined ? "" : status === 0 ? "It is tried again by itself." : status >= 500 ? "If trying again does not help, the log of the api says why." : "";
  return (
    <div className={css.problem} role="alert">
      <div>
        <strong>{what}</strong> {inert(messageOf(error))} {kept ?? hint}
      </div>
      {retry && (
        <Button
          size="compact-sm"
          variant="default"
          loading={tried !== undefined && tried === error}
          onClick={() => {
            setTried(error);
            retry();
          }}
        >
          Try again
        </Button>
      )}
    </div>
  );
}

/** Stands in for rows that take longer than one notices, or that cannot be had at the moment. */
export function LoadingRows({ rows = 6, height = 18 }: { rows?: number; height?: number }) {
  const late = useDelay(200);
  const online = useOnline();
  if (!online) {
    return (
      <p className={css.offline} role="status">
        You are offline: this appears as soon as the network is back.
      </p>
    );
  }
  return (
    <div className={css.rows} role="status" aria-label="Loading">
      {late && Array.from({ length: rows }, (_, i) => <Skeleton key={i} height={height} width={`${92 - ((i * 17) % 40)}%`} />)}
    </div>
  );
}

function useDelay(ms: number): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const id = setTimeout(() => setOver(true), ms);
    return () => clearTimeout(id);
  }, [ms]);
  return over;
}

// One clock for all relative times of the page.
let now = Date.now();
const watchers = new Set<() => void>();
let ticking: ReturnType<typeof setInterval> | undefined;
function watchClock(tell: () => void): () => void {
  watchers.add(tell);
  ticking ??= setInterval(() => {
    now = Date.now();
    watchers.forEach((w) => w());
  }, 5000);
  return () => {
    watchers.delete(tell);
    if (watchers.size === 0) {
      clearInterval(ticking);
      ticking = undefined;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(watchClock, () => now);
}

/** How long ago; the exact time and zone on hover, focus or tap. */
export function Ago({ at, suffix = "", plain }: { at: string | undefined; suffix?: string; plain?: boolean }) {
  const clock = useNow();
  if (!isTime(at)) return <span className="faint">never</span>;
  const text = age(at, Math.max(clock, Date.parse(at)));
  const shown = text === "now" ? (suffix ? "just now" : text) : text + suffix;
  if (plain) {
    return (
      <time className="num" dateTime={at} title={absolute(at)}>
        {shown}
      </time>
    );
  }
  return (
    <Tooltip label={absolute(at)} events={{ hover: true, focus: true, touch: true }} openDelay={200}>
      <time className="num" dateTime={at} tabIndex={0}>
        {shown}
      </time>
    </Tooltip>
  );
}

/** How long until then. */
export function Left({ until }: { until: string }) {
  const now = useNow();
  return (
    <time className="num" dateTime={until} title={absolute(until)}>
      {span(Math.max(0, Math.round((Date.parse(until) - now) / 1000) * 1000))}
    </time>
  );
}

/** Puts text on the clipboard, and says so. */
export function Copy({ text, label = "Copy", size = 28 }: { text: string; label?: string; size?: number }) {
  const [done, setDone] = useState<"" | "copied" | "failed">("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    setDone((await toClipboard(text)) ? "copied" : "failed");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(""), 1600);
  };
  const said = done === "copied" ? "Copied" : done === "failed" ? "Select it and copy by hand" : label;
  return (
    <Tooltip label={said} opened={done === "" ? undefined : true} openDelay={300}>
      <ActionIcon variant="subtle" color={done === "copied" ? "teal" : "gray"} size={size} onClick={() => void copy()} aria-label={said}>
        {done === "copied" ? <CheckIcon size={15} /> : <CopyIcon size={15} />}
      </ActionIcon>
    </Tooltip>
  );
}

/** A box that scrolls when it is too small. It takes the focus, so that the keyboard can scroll it too. */
export function Scroll({ label, pre, className, children }: { label: string; pre?: boolean; className?: string; children: ReactNode }) {
  const As = pre ? "pre" : "div";
  return (
    <As className={className} tabIndex={0} role="group" aria-label={label}>
      {children}
    </As>
  );
}

/** Something to paste, as it is. */
export function Snippet({ text, label, wrap }: { text: string; label?: string; wrap?: boolean }) {
  return (
    <div className={`${css.snippet} ${wrap ? css.wrap : ""}`}>
      <Scroll pre label={label ?? "Something to copy"}>
        {text}
      </Scroll>
      <span className={css.copy}>
        <Copy text={text} label={label ? `Copy ${label}` : "Copy"} />
      </span>
    </div>
  );
}

/** A link out of the page: only http and https, and it says where it leads. */
export function OutLink({ url, children }: { url: string; children: ReactNode }) {
  const host = webHost(url);
  if (host === null) return <span title="Not a web address">{children}</span>;
  return (
    <a href={url} target="_blank" rel="noreferrer noopener nofollow">
      {children} <span className="faint">({inert(host)})</span>
    </a>
  );
}

export function webHost(url: string): string | null {
  try {
    const parsed = new URL(url);
    return parsed.protocol === "http:" || parsed.protocol === "https:" ? parsed.host : null;
  } catch {
    return null;
  }
}
