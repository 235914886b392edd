import { lazy, Suspense, useCallback, useState } from "react";
import css from "./charts.module.css";

// A page is worth more than its charts: without the network they are tables.
const Plot = lazy(() => import("./Plot").catch(() => ({ default: () => <p className="faint">The chart could not be loaded. Its numbers are in the table below.</p> })));

/** One line or row of bars. Each draws itself differently, so that colour is not the only thing that tells them apart. */
export interface Series {
  label: string;
  values: readonly number[];
  tone: "accent" | "high" | "good" | "critical" | "info" | "warning";
  draw: "bars" | "line" | "dashes";
  format: (value: number) => string;
}

interface Props {
  title: string;
  /** What it comes to, in a sentence: what somebody hears who cannot see it. */
  says: string;
  /** Seconds since 1970, ascending. */
  x: readonly number[];
  /** What a place on x is called, in the table and while it is pointed at. */
  name: (at: number) => string;
  /** What the first column of the table is called. */
  column: string;
  series: readonly Series[];
  height?: number;
  /** Whether the values are counts of something. */
  whole?: boolean;
}

/** A chart with its legend, and all its numbers as a table. */
export function Chart({ title, says, x, name, column, series, height = 180, whole = true }: Props) {
  const [at, setAt] = useState<number | null>(null);
  const hover = useCallback((index: number | null) => setAt(index), []);
  const place = at === null ? undefined : x[at];
  return (
    <figure className={css.chart}>
      <figcaption>
        <h3>{title}</h3>
        <p>{says}</p>
      </figcaption>
      <ul className={css.legend} aria-hidden="true">
        {series.map((s) => (
          <li key={s.label}>
            <Sample series={s} /> {s.label} {at !== null && <b className="num">{s.format(s.values[at] ?? 0)}</b>}
          </li>
        ))}
        <li className={css.place}>{place === undefined ? "" : name(place)}</li>
      </ul>
      <div className={css.plot} data-height={height}>
        <Suspense fallback={null}>
          <Plot x={x} series={series} height={height} whole={whole} hover={hover} />
        </Suspense>
      </div>
      <details className={css.numbers}>
        <summary>{title} as a table</summary>
        <div className={css.scroll} tabIndex={0} role="region" aria-label={`${title} as a table`}>
          <table>
            <thead>
              <tr>
                <th scope="col">{column}</th>
                {series.map((s) => (
                  <th key={s.label} scope="col">
                    {s.label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {x
                .map((t, n) => (
                  <tr key={t}>
                    <th scope="row">{name(t)}</th>
                    {series.map((s) => (
                      <td key={s.label} className="num">
                        {s.format(s.values[n] ?? 0)}
                      </td>
                    ))}
                  </tr>
                ))
                .reverse()}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

function Sample({ series: s }: { series: Series }) {
  const stroke = `var(--${s.tone})`;
  return (
    <svg width="18" height="12" viewBox="0 0 18 12" focusable="false">
      {s.draw === "bars" ? (
        <path d="M2 12V5h3v7M7.500 12V1h3v11M13 12V7h3v5" fill={stroke} />
      ) : (
        <path d="M1 9 7 4l5 4 5-6" fill="none" stroke={stroke} strokeWidth="2" strokeDasharray={s.draw === "dashes" ? "4 3" : undefined} />
      )}
    </svg>
  );
}
