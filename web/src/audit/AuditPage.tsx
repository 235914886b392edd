import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { audit } from "../api/calls";
import { fromField, toField } from "../grouping/windows";
import { absolute } from "../text/time";
import { AuditIcon, DownloadIcon } from "../ui/icons";
import { Card, Empty, LoadingRows, Page, Problem } from "../ui/parts";
import { type AuditSearch, chains, exportURL, outcomes, readSearch } from "./audit";
import css from "./audit.module.css";
import { Chains } from "./Chains";
import { Row } from "./Record";

const route = getRouteApi("/signed-in/audit");

/** Who did or was refused what, when and why; and whether anybody has been at it since. */
export function AuditPage() {
  const search = route.useSearch();
  return (
    <Page
      title="Audit log"
      lead="Every decision and every act, of people and of agents. Records are chained and signed: what is changed or removed later shows."
      action={
        <Button component="a" href={exportURL(search)} download="akmatori-audit.jsonl" variant="default" leftSection={<DownloadIcon size={14} />}>
          {Object.keys(search).length > 0 ? "Export what is found" : "Export all"}
        </Button>
      }
    >
      <Chains />
      <Filters key={JSON.stringify(search)} search={search} />
      <Records search={search} />
    </Page>
  );
}

const outcomeWords = { ok: "Done", denied: "Denied", failed: "Failed", unknown: "Not known", intent: "Begun" } as const;

function Filters({ search }: { search: AuditSearch }) {
  const navigate = route.useNavigate();
  const [more, setMore] = useState(Boolean(search.object || search.run || search.from || search.to || search.chain));
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.currentTarget)) as Record<string, string>;
    const at = (name: string) => (form[name] ? fromField(form[name]) : "");
    void navigate({ search: readSearch({ ...(more ? {} : search), ...form, ...(more ? { from: at("from"), to: at("to") } : {}) }) });
  };
  const none = Object.keys(search).length === 0;
  return (
    <form className={css.filters} onSubmit={submit} role="search" aria-label="Audit log">
      <TextInput name="actor" label="Who" placeholder="user:ann" defaultValue={search.actor} maxLength={200} spellCheck={false} />
      <TextInput name="action" label="What, or how it begins" placeholder="tool." defaultValue={search.action} maxLength={100} spellCheck={false} />
      <TextInput name="incident" label="Incident" placeholder="42" defaultValue={search.incident} maxLength={64} spellCheck={false} />
      <NativeSelect name="outcome" label="Outcome" defaultValue={search.outcome ?? ""} data={[{ value: "", label: "Any" }, ...outcomes.map((o) => ({ value: o, label: outcomeWords[o] }))]} />
      {more && (
        <>
          <TextInput name="object" label="On what" description="An id, or call:ID" defaultValue={search.object} maxLength={300} spellCheck={false} />
          <TextInput name="run" label="Run" description="Its id" defaultValue={search.run} maxLength={64} spellCheck={false} />
          <TextInput name="from" type="datetime-local" label="From" description="In your time zone" defaultValue={search.from ? toField(search.from) : ""} />
          <TextInput name="to" type="datetime-local" label="Before" description="In your time zone" defaultValue={search.to ? toField(search.to) : ""} />
          <NativeSelect
            name="chain"
            label="Written by"
            description="One chain for each"
            defaultValue={search.chain ?? ""}
            data={[{ value: "", label: "All" }, ...Object.entries(chains).map(([value, does]) => ({ value, label: `${value}: ${does.toLowerCase()}` }))]}
          />
        </>
      )}
      <div className={css.buttons}>
        <Button type="submit">Search</Button>
        {!none && (
          <Button variant="default" onClick={() => void navigate({ search: {} })}>
            Clear
          </Button>
        )}
        <Button variant="subtle" aria-expanded={more} onClick={() => setMore(!more)}>
          {more ? "Fewer filters" : "More filters"}
        </Button>
      </div>
    </form>
  );
}

function Records({ search }: { search: AuditSearch }) {
  const query = useInfiniteQuery({
    queryKey: ["audit", search],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => audit.search({ ...search, limit: 50, ...(pageParam ? { cursor: pageParam } : {}) }, { signal }),
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
  const all = query.data?.pages.flatMap((p) => p.items) ?? [];
  if (query.error && !query.data) return <Problem what="The audit log could not be read." error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <Card><LoadingRows rows={8} /></Card>;
  const searchedTo = query.data.pages.at(-1)?.searched_to;
  return (
    <Card label="Records">
      {all.length === 0 && !query.hasNextPage ? (
        <Empty art={<AuditIcon size={20} />} title={Object.keys(search).length > 0 ? "Nothing was recorded that fits" : "Nothing is recorded yet"}>
          {Object.keys(search).length > 0 ? "Take a filter away, or look at another time." : "What people change and agents do appears here."}
        </Empty>
      ) : (
        <ol className={css.records}>
          {all.map((r) => (
            <Row key={`${r.chain} ${r.seq}`} record={r} />
          ))}
        </ol>
      )}
      {query.hasNextPage && (
        <div className={css.next}>
          {searchedTo && <span className="faint">Searched back to {absolute(searchedTo)}; there is more to look through.</span>}
          <Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            {searchedTo ? "Search further back" : "Show earlier ones"}
          </Button>
        </div>
      )}
      {query.error && <Problem what="Earlier records could not be read." error={query.error} retry={() => void query.fetchNextPage()} />}
    </Card>
  );
}
