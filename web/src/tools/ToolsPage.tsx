import { Button, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { tools } from "../api/calls";
import { inert, inertLines } from "../text/visible";
import { PlusIcon, ToolIcon } from "../ui/icons";
import { Ago, Card, Empty, LoadingRows, Page, Problem, Scroll } from "../ui/parts";
import { Chip } from "../ui/state";
import type { Entry, Server } from "./draft";
import { NewServer } from "./ServerForm";
import { Mark, needsLook } from "./Mark";
import css from "./tools.module.css";

/** What agents can be given: the program's own tools, and those of the servers that were added. */
export function ToolsPage() {
  const may = useMay()("inventory.manage");
  const [adding, setAdding] = useState<"" | "http" | "mcp">("");
  const servers = useQuery({ queryKey: ["tools", "servers"], queryFn: tools.servers, refetchInterval: 10_000 });
  return (
    <Page
      title="Tools"
      lead="Everything that an agent does outside of its own workspace goes through one of these, at the gateway: under the agent's rules, with people's approval where no rule decides, and recorded."
    >
      <section className={css.block} aria-labelledby="servers">
        <div className={css.title}>
          <h2 id="servers">Servers</h2>
          {may && !adding && (
            <div className={css.buttons}>
              <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setAdding("http")}>
                HTTP API
              </Button>
              <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setAdding("mcp")}>
                MCP server
              </Button>
            </div>
          )}
        </div>
        {adding && <NewServer kind={adding} close={() => setAdding("")} />}
        {servers.error && !servers.data ? (
          <Problem what="The servers could not be read." error={servers.error} retry={() => void servers.refetch()} />
        ) : servers.data?.length === 0 ? (
          !adding && (
            <Card>
              <Empty art={<ToolIcon size={20} />} title="No server was added yet">
                Add an HTTP API with the requests that agents may make there, or a server of MCP whose tools you accept one by one.
              </Empty>
            </Card>
          )
        ) : (
          <Card label="All servers">{servers.data ? <Servers all={servers.data} /> : <LoadingRows rows={3} />}</Card>
        )}
      </section>
      <Tools />
    </Page>
  );
}

function Servers({ all }: { all: Server[] }) {
  return (
    <ul>
      {all.map((s) => (
        <li key={s.id} className={css.row}>
          <div className={css.what}>
            <h3>
              <Link to="/tools/$id" params={{ id: s.id }}>
                {inert(s.name)}
              </Link>{" "}
              <Chip tone="quiet">{s.kind === "mcp" ? "MCP" : "HTTP"}</Chip> {!s.enabled && <Chip tone="quiet">Off</Chip>}{" "}
              {s.problem && <Chip tone="critical">Does not answer</Chip>} {s.tools.some(needsLook) && <Chip tone="warning">Needs a look</Chip>}
            </h3>
            <p className="dim">
              <code>{inert(s.url)}</code>
            </p>
            <p className="faint">
              {s.tools.filter((t) => t.enabled).length} of {s.tools.length} tools are on
              {s.kind === "mcp" && (
                <>
                  {" "}
                  · asked <Ago at={s.checked_at} suffix=" ago" plain />
                </>
              )}
            </p>
          </div>
        </li>
      ))}
    </ul>
  );
}

function Tools() {
  const query = useQuery({ queryKey: ["tools", "all"], queryFn: tools.all, refetchInterval: 10_000 });
  const [words, setWords] = useState("");
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = query.data?.filter((t) => wanted.every((w) => `${t.name} ${t.description} ${t.agents.join(" ")}`.toLowerCase().includes(w)));
  return (
    <section className={css.block} aria-labelledby="all">
      <div className={css.title}>
        <h2 id="all">All tools</h2>
        <TextInput aria-label="Filter" placeholder="Name, description or agent" value={words} onChange={(e) => setWords(e.currentTarget.value)} spellCheck={false} />
      </div>
      {query.error && !query.data ? (
        <Problem what="The tools could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <Card label="All tools">
          {!shown ? <LoadingRows rows={8} /> : shown.length === 0 ? <Empty title="No tool matches" /> : <ul>{shown.map((t) => <Row key={t.name} tool={t} />)}</ul>}
        </Card>
      )}
    </section>
  );
}

function Row({ tool }: { tool: Entry }) {
  const text = inertLines(tool.description).trim();
  return (
    <li className={css.row}>
      <div className={css.what}>
        <h3>
          <code>{inert(tool.name)}</code> {tool.mutates && <Chip tone="warning">Changes things</Chip>} <Mark state={tool.state} />
        </h3>
        <p className="dim">{text.split("\n")[0]}</p>
        <p className="faint">{tool.agents.length > 0 ? `Had by ${tool.agents.map(inert).join(", ")}` : "No agent has it"}</p>
        <details>
          <summary>Description and arguments</summary>
          <Scroll pre label={`Description of ${inert(tool.name)}`} className={css.text}>
            {text}
          </Scroll>
          {tool.schema != null && (
            <Scroll pre label={`Arguments of ${inert(tool.name)}`} className={css.text}>
              {inertLines(JSON.stringify(tool.schema, null, 1))}
            </Scroll>
          )}
        </details>
      </div>
    </li>
  );
}
