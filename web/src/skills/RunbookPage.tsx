import { Button } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { runbooks } from "../api/calls";
import { ApiError } from "../api/client";
import type { Runbook } from "../api/types";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { BackIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { RunbookForm } from "./RunbookForm";
import { draftOf, runbookBody, writer } from "./skills";
import css from "./skills.module.css";
import { Versions } from "./Versions";

/** One runbook, to read and to edit, and what it was before. */
export function RunbookPage() {
  const { slug } = getRouteApi("/signed-in/runbooks/$slug").useParams();
  const query = useQuery({ queryKey: ["runbooks", slug], queryFn: ({ signal }) => runbooks.get(slug, { signal }) });
  if (query.data) return <Loaded key={slug} runbook={query.data} />;
  return (
    <Page title={inert(slug)}>
      {query.error instanceof ApiError && query.error.status === 404 ? (
        <Empty title="There is no such runbook" more={<Link to="/runbooks">To the runbooks</Link>} />
      ) : query.error ? (
        <Problem what="The runbook could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card>
          <LoadingRows />
        </Card>
      )}
    </Page>
  );
}

function Loaded({ runbook }: { runbook: Runbook }) {
  const mayChange = useMay()("agents.manage");
  const client = useQueryClient();
  const navigate = useNavigate();
  // What is current may change while one writes: the edit is of what it began with.
  const [base, setBase] = useState(runbook);
  const [saved, setSaved] = useState(0);
  const stored = (now: Runbook) => {
    client.setQueryData(["runbooks", now.slug], now);
    void client.invalidateQueries({ queryKey: ["runbook list"] });
    void client.invalidateQueries({ queryKey: ["runbooks", now.slug, "versions"] });
    setBase(now);
  };
  return (
    <Page
      title={inert(base.title)}
      lead={`Version ${base.version} by ${inert(writer(base.author))}. Its name is ${inert(base.slug)}.`}
      action={
        mayChange && (
          <Remove
            name={base.title}
            remove={() => runbooks.remove(base.slug)}
            then={async () => {
              await navigate({ to: "/runbooks" });
              client.removeQueries({ queryKey: ["runbooks", base.slug] });
              await client.invalidateQueries({ queryKey: ["runbook list"] });
            }}
          />
        )
      }
    >
      <nav className={css.back} aria-label="Back">
        <Link to="/runbooks">
          <BackIcon size={14} /> Runbooks
        </Link>
      </nav>
      {runbook.version !== base.version && (
        <div className={kit.note} role="status">
          Version {runbook.version} is the current one now; you see version {base.version}.{" "}
          <Button variant="default" size="compact-sm" onClick={() => setBase(runbook)}>
            Show it
          </Button>
        </div>
      )}
      <div className={css.form}>
        <RunbookForm
          key={base.version}
          title={`Edit ${inert(base.slug)}`}
          draft={draftOf(base)}
          save={(d) => runbooks.edit(base.slug, { base: base.version, ...runbookBody(d) })}
          then={(now) => {
            setSaved(now.version);
            stored(now);
          }}
          said={saved === base.version && <span role="status">Saved as version {saved}.</span>}
          readOnly={!mayChange}
        />
      </div>
      <Versions
        name={["runbooks", base.slug]}
        list={(o) => runbooks.versions(base.slug, o)}
        read={async (version, o) => (await runbooks.version(base.slug, version, o)).text ?? ""}
        use={async (version) => stored(await runbooks.use(base.slug, version))}
        may={mayChange}
      />
    </Page>
  );
}
