import { Button } from "@mantine/core";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { useMay } from "../accounts/may";
import { runbooks } from "../api/calls";
import type { Runbook } from "../api/types";
import { inert } from "../text/visible";
import { PlusIcon, RunbookIcon } from "../ui/icons";
import { Ago, Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { SearchBox } from "../ui/SearchBox";
import { RunbookForm } from "./RunbookForm";
import { noRunbook, runbookBody, writer } from "./skills";
import css from "./skills.module.css";

/** What people have written down for when something happens. */
export function RunbooksPage() {
  const { q = "" } = getRouteApi("/signed-in/runbooks").useSearch();
  const query = useQuery({ queryKey: ["runbook list", q], queryFn: ({ signal }) => runbooks.list(q, { signal }), placeholderData: keepPreviousData });
  const box = useRef<HTMLInputElement>(null);
  const mayChange = useMay()("agents.manage");
  const [making, setMaking] = useState(false);
  const client = useQueryClient();
  const navigate = useNavigate();
  return (
    <Page
      title="Runbooks"
      lead="What your people do when something happens. An investigation is given those that fit its alerts, as advice to check, never as evidence or as a permission."
      action={
        mayChange &&
        !making && (
          <Button leftSection={<PlusIcon size={14} />} onClick={() => setMaking(true)}>
            New runbook
          </Button>
        )
      }
    >
      {making && (
        <div className={css.form}>
          <h2>New runbook</h2>
          <RunbookForm
            title="New runbook"
            draft={noRunbook}
            save={(d) => runbooks.create(runbookBody(d))}
            then={async (made) => {
              client.setQueryData(["runbooks", made.slug], made);
              void client.invalidateQueries({ queryKey: ["runbook list"] });
              await navigate({ to: "/runbooks/$slug", params: { slug: made.slug } });
            }}
            close={() => setMaking(false)}
          />
        </div>
      )}
      {query.error && !query.data ? (
        <Problem what="The runbooks could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : !query.data ? (
        <Card><LoadingRows /></Card>
      ) : (
        <>
          {query.error && <Problem what="The list could not be refreshed." error={query.error} kept="What is shown is from before." />}
          {(q || query.data.length > 0) && (
            <div role="search" className={css.find}>
              <SearchBox
                ref={box}
                className={undefined}
                label="Search runbooks"
                placeholder="Words of a title or a text"
                rest={200}
                value={q}
                onChange={(words) => void navigate({ to: "/runbooks", search: words ? { q: words } : {}, replace: true })}
              />
            </div>
          )}
          <Card label={q ? "Runbooks that have these words" : "All runbooks"}>
            {query.data.length === 0 && q ? (
              <Empty title="No runbook has all of these words" more={<Link to="/runbooks">Show all runbooks</Link>} />
            ) : query.data.length === 0 ? (
              <Empty art={<RunbookIcon size={20} />} title="No runbooks yet">
                Write down what to look at and what to do for an alert that comes again.
              </Empty>
            ) : (
              <ul>
                {query.data.map((r) => (
                  <Row key={r.slug} runbook={r} />
                ))}
              </ul>
            )}
          </Card>
        </>
      )}
    </Page>
  );
}

function Row({ runbook: r }: { runbook: Runbook }) {
  return (
    <li className={css.row}>
      <div>
        <h2>
          <Link to="/runbooks/$slug" params={{ slug: r.slug }}>
            {inert(r.title)}
          </Link>
        </h2>
        <p className="faint">
          {(r.match ?? []).length > 0 ? (
            <>
              For alerts with <code>{inert((r.match ?? []).join(" or "))}</code>, and those whose words are like its own.
            </>
          ) : (
            "For alerts whose words are like its own."
          )}
        </p>
      </div>
      <span className={css.when}>
        version {r.version} by {inert(writer(r.author))} <Ago at={r.created_at} suffix=" ago" plain />
      </span>
    </li>
  );
}
