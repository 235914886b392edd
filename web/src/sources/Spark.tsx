import type { Body } from "../api/types";
import css from "./sources.module.css";
import { bars, describeRates } from "./state";

const high = 34;
const wide = 240;

/** Deliveries over time, with a mark below each piece in which something went wrong. Its words stand below it. */
export function Spark({ rates, unit, title }: { rates: readonly Body<"SourceRate">[]; unit: "minute" | "hour"; title: string }) {
  const step = wide / Math.max(1, rates.length);
  const words = describeRates(rates, unit);
  return (
    <figure className={css.spark}>
      <figcaption>
        <h3>{title}</h3>
      </figcaption>
      <svg viewBox={`0 0 ${wide} ${high + 8}`} preserveAspectRatio="none" role="img" aria-label={`${title}: ${words}`}>
        {bars(rates, high).map((b) => (
          <g key={b.x}>
            {b.height > 0 && <rect className={css.bar} x={b.x * step} y={high - b.height} width={step * 0.78} height={b.height} />}
            {b.failed && <path className={css.failed} d={`M${b.x * step} ${high + 7}l${step * 0.39}-4.500 ${step * 0.39} 4.500z`} />}
          </g>
        ))}
        <line className={css.base} x1="0" x2={wide} y1={high + 0.5} y2={high + 0.5} />
      </svg>
      <p>{words}.</p>
    </figure>
  );
}
