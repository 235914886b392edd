import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { incidents } from "../api/calls";
import type { SimilarIncident } from "../api/types";
import { inert } from "../text/visible";
import { Ago } from "../ui/parts";
import { Chip } from "../ui/state";
import css from "./Similar.module.css";

/** What was found in incidents that look like this one: something to check, and no more. */
export function Similar({ id }: { id: string }) {
  const query = useQuery({
    queryKey: ["incident", id, "similar"],
    queryFn: ({ signal }) => incidents.similar(id, { signal }),
    staleTime: 60_000,
  });
  if (!query.data || query.data.length === 0) return null;
  return (
    <details className={css.section}>
      <summary>
        {query.data.length} similar {query.data.length === 1 ? "incident was" : "incidents were"} explained
      </summary>
      <p className="faint">What was found there may be the cause here, or not. It is no evidence.</p>
      <ul className={css.list}>
        {query.data.map((s) => (
          <One key={s.number} similar={s} />
        ))}
      </ul>
    </details>
  );
}

function One({ similar }: { similar: SimilarIncident }) {
  return (
    <li>
      <div className={css.title}>
        <Link to="/incidents/$id" params={{ id: String(similar.number) }}>
          <span className="faint num">#{similar.number}</span> {inert(similar.title)}
        </Link>
        {similar.feedback === "right" && (
          <Chip tone="good" title="A person called what was found right.">
            Confirmed
          </Chip>
        )}
        <span className="faint">
          <Ago at={similar.opened_at} suffix=" ago" />
        </span>
      </div>
      <p>{inert(similar.root_cause)}</p>
    </li>
  );
}
