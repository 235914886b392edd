import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { incidents, sources } from "../api/calls";
import type { Setup } from "../api/types";
import { inert } from "../text/visible";
import { Problem } from "../ui/parts";
import { InvestigationMark, SeverityMark, StatusMark } from "../ui/state";
import { missing } from "./steps";
import css from "./wizard.module.css";

/** The newest incident while it is investigated, and a way to have one. */
export function IncidentStep({ state }: { state: Setup }) {
  const client = useQueryClient();
  const number = state.incident_number ? String(state.incident_number) : "";
  const query = useQuery({ queryKey: ["incident", number], queryFn: ({ signal }) => incidents.get(number, { signal }), enabled: number !== "", refetchInterval: 2_000 });
  const refresh = () => void client.invalidateQueries({ queryKey: ["setup-state"] });
  const again = useMutation({ mutationFn: () => incidents.act(number, "investigate"), onSettled: refresh });
  const send = useMutation({ mutationFn: () => sources.test(state.source.id ?? "", { resolve: false, investigate: true }), onSettled: refresh });
  const lacks = missing({ ...state, incident: { state: "done" } });
  const i = query.data;
  return (
    <div className={css.part}>
      {lacks.length > 0 && state.incident.state !== "done" && <p className={css.dim}>It can be tried already, but this is still missing: {lacks.join(", ")}.</p>}
      {i && (
        <div className={css.waits} role="status">
          <span>
            <Link to="/incidents/$id" params={{ id: number }}>
              <span className="num">#{i.number}</span> {inert(i.title)}
            </Link>{" "}
            <SeverityMark value={i.severity} /> <StatusMark value={i.status} /> <InvestigationMark value={i.investigation} />
            {i.investigation === "failed" && i.investigation_reason && <> {inert(i.investigation_reason)}</>}
          </span>
        </div>
      )}
      {state.incident.state === "done" ? (
        <p className={css.good}>✓ An investigation has come to a result. {state.complete && "Everything is set up."}</p>
      ) : (
        <p className={css.dim}>
          {i ? "Open it to watch the agent at work. What it may not do by itself waits there, and under Approvals, for a person." : "There is no incident yet: the next alert opens one, and so does a test event."}
        </p>
      )}
      {send.data && !send.data.ok && <Problem what="The test did not come all the way." error={new Error(send.data.steps.find((s) => !s.ok)?.text ?? "it is not known why")} />}
      {send.error && <Problem what="No test was made." error={send.error} />}
      {again.error && <Problem what="It is not investigated." error={again.error} />}
      <div className={css.buttons}>
        {i && (
          <Button component={Link} to={`/incidents/${number}`}>
            Open the incident
          </Button>
        )}
        {i && i.investigation === "failed" && (
          <Button variant="default" loading={again.isPending} onClick={() => again.mutate()}>
            Investigate it again
          </Button>
        )}
        {state.source.id && (
          <Button variant={i ? "default" : "filled"} loading={send.isPending} onClick={() => send.mutate()}>
            Send a test alert and investigate it
          </Button>
        )}
      </div>
    </div>
  );
}
