import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Series } from "./Chart";

/** The canvas of a chart: a chunk of its own, since only charts need it. */
export default function Plot({ x, series, height, whole, hover }: { x: readonly number[]; series: readonly Series[]; height: number; whole: boolean; hover: (at: number | null) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const scheme = useComputedColorScheme("light");
  const shape = series.map((s) => `${s.label}/${s.tone}/${s.draw}`).join();
  const data = useRef<uPlot.AlignedData>([[]]);
  data.current = [[...x], ...series.map((s) => [...s.values])];
  const parts = useRef(series);
  parts.current = series;

  const half = useRef(0); // of a bar's place, so that the first and the last are whole
  half.current = ((x[1] ?? 0) - (x[0] ?? 0)) / 2;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const styles = getComputedStyle(document.documentElement);
    const colour = (name: string) => styles.getPropertyValue(`--${name}`).trim();
    const grid = { stroke: colour("line"), width: 1 };
    const axis = { stroke: colour("dim"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: { x: { time: true, range: (_, from, to) => [from - half.current, to + half.current] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
        axes: [
          { ...axis, grid: { show: false }, size: 30, space: 64, values: timeTicks },
          { ...axis, size: 52, space: 32, incrs: whole ? steps : undefined, values: (_, all) => all.map((v) => parts.current[0]?.format(v) ?? String(v)) },
        ],
        series: [
          {},
          ...parts.current.map((s) => ({
            stroke: colour(s.tone),
            width: s.draw === "bars" ? 0 : 2,
            fill: s.draw === "bars" ? colour(s.tone) : undefined,
            dash: s.draw === "dashes" ? [5, 4] : undefined,
            paths: s.draw === "bars" ? uPlot.paths.bars?.({ size: [0.7, 40] }) : undefined,
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(u) => hover(u.cursor.idx ?? null)] },
      },
      data.current,
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [scheme, shape, height, whole, hover]);

  useEffect(() => plot.current?.setData(data.current), [x, series]);
  return <div ref={box} aria-hidden="true" />;
}

/** Between the lines of a scale that counts things. */
const steps = Array.from({ length: 12 }, (_, n) => [1, 2, 5].map((s) => s * 10 ** n)).flat();

const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Hours within two days, days beyond. */
function timeTicks(u: uPlot, ticks: number[]): string[] {
  const [from = 0, to = 0] = [u.scales.x?.min, u.scales.x?.max];
  const short = to - from < 2 * 86_400;
  return ticks.map((t) => (short ? hour : day).format(t * 1000));
}
