import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { sources } from "../api/calls";
import type { Body, Source } from "../api/types";
import { isTime } from "../text/time";
import { inert } from "../text/visible";
import { Ago, LoadingRows, Problem } from "../ui/parts";
import { Spark } from "./Spark";
import css from "./sources.module.css";
import { errorWord } from "./state";

/** What arrived, how often, and what went wrong. */
export function Health({ source }: { source: Source }) {
  const query = useQuery({
    queryKey: ["sources", source.id, "health"],
    queryFn: ({ signal }) => sources.health(source.id, { signal }),
    refetchInterval: 5_000,
  });
  if (!query.data) {
    if (query.error) return <Problem what="The health could not be read." error={query.error} retry={() => void query.refetch()} />;
    return <LoadingRows rows={4} />;
  }
  return (
    <>
      {query.error && <Problem what="The health could not be refreshed." error={query.error} kept="What is shown is from before." />}
      <Report report={query.data} auth={source.auth} />
    </>
  );
}

function Report({ report: h, auth }: { report: Body<"SourceReport">; auth: Source["auth"] }) {
  // The banner says what set-up mode is; it would stand here a second time.
  const warnings = (h.warnings ?? []).filter((w) => w.code !== "set_up_mode");
  return (
    <>
      <dl className={css.facts}>
        <Fact name="Last delivery">
          <Ago at={h.last_delivery_at} suffix=" ago" />
        </Fact>
        <Fact name="Deliveries in all">
          {h.deliveries.toLocaleString()}
          {h.duplicates > 0 && <small>{h.duplicates.toLocaleString()} of them sent again, and stored once</small>}
        </Fact>
        <Fact name="Alerts in the last hour">{h.alerts_last_hour.toLocaleString()}</Fact>
        <Fact name={`Refused for a wrong ${auth}`} bad={h.rejected_since > 0}>
          {h.rejected.toLocaleString()}
          {h.rejected > 0 && (
            <small>
              the last <Ago at={h.last_rejected_at} suffix=" ago" />
              {h.rejected_since > 0 && `, ${h.rejected_since.toLocaleString()} since the last that was right`}
            </small>
          )}
        </Fact>
        <Fact name="Dead letters" bad={h.dead_letters > 0}>
          {h.dead_letters >= 1000 ? "1,000 or more" : h.dead_letters}
          {h.dead_letters > 0 && (
            <small>
              <a href="#letters">look at them</a>
            </small>
          )}
        </Fact>
      </dl>
      <div className={css.sparks}>
        <Spark title="Last hour" rates={h.minutes} unit="minute" />
        <Spark title="Last 24 hours" rates={h.hours} unit="hour" />
      </div>
      {warnings.length > 0 && (
        <div>
          <h3>Warnings</h3>
          <ul className={css.warnings}>
            {warnings.map((w) => (
              <li key={w.code}>
                {inert(w.text)}{" "}
                {isTime(w.at) && (
                  <small>
                    <Ago at={w.at} suffix=" ago" />
                    {(w.count ?? 0) > 1 && `, ${w.count?.toLocaleString()} times`}
                  </small>
                )}
              </li>
            ))}
          </ul>
        </div>
      )}
      {(h.errors ?? []).length > 0 && (
        <div>
          <h3>Errors</h3>
          <table className={css.errors}>
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">How often</th>
                <th scope="col">Last</th>
              </tr>
            </thead>
            <tbody>
              {h.errors?.map((e) => (
                <tr key={e.kind}>
                  <td>
                    {errorWord(e.kind)}
                    {e.text && <small>{inert(e.text)}</small>}
                  </td>
                  <td className="num">{e.count.toLocaleString()}</td>
                  <td>
                    <Ago at={e.at} suffix=" ago" />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

export function Fact({ name, children, bad }: { name: string; children: ReactNode; bad?: boolean }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className={bad ? css.bad : undefined}>{children}</dd>
    </div>
  );
}
