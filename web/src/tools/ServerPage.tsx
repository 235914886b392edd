import { Button } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../accounts/may";
import { tools } from "../api/calls";
import { ApiError } from "../api/client";
import { Remove } from "../grouping/Remove";
import { inert } from "../text/visible";
import { BackIcon, PlusIcon } from "../ui/icons";
import kit from "../ui/kit.module.css";
import { Empty, LoadingRows, Problem, useTitle } from "../ui/parts";
import { Chip } from "../ui/state";
import { changeOf, inputs, type Server, type ServerTool } from "./draft";
import { Mark, stateOf } from "./Mark";
import { McpTools } from "./McpTools";
import { ServerSettings } from "./ServerForm";
import { ToolForm } from "./ToolForm";
import css from "./tools.module.css";
import { Try } from "./Try";

/** One server: its tools and where it is. */
export function ServerPage() {
  const { id } = getRouteApi("/signed-in/tools/$id").useParams();
  const may = useMay()("inventory.manage");
  const query = useQuery({ queryKey: ["tools", "servers", id], queryFn: ({ signal }) => tools.server(id, { signal }), refetchInterval: 10_000 });
  useTitle(query.data ? inert(query.data.name) : "Tools");
  const missing = query.error instanceof ApiError && query.error.status === 404;
  return (
    <div className={css.page}>
      <nav className={kit.back} aria-label="Back">
        <Link to="/tools">
          <BackIcon size={14} /> Tools
        </Link>
      </nav>
      {missing ? (
        <Empty title="There is no such server" more={<Link to="/tools">To the tools</Link>} />
      ) : query.data ? (
        <Loaded key={id} server={query.data} may={may} />
      ) : query.error ? (
        <Problem what="The server could not be read." error={query.error} retry={() => void query.refetch()} />
      ) : (
        <LoadingRows rows={8} />
      )}
    </div>
  );
}

function Loaded({ server, may }: { server: Server; may: boolean }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const gone = () => {
    void client.invalidateQueries({ queryKey: ["tools"] });
    void navigate({ to: "/tools" });
  };
  return (
    <>
      <header className={css.head}>
        <h1>
          {inert(server.name)} <Chip tone="quiet">{server.kind === "mcp" ? "MCP server" : "HTTP API"}</Chip> {!server.enabled && <Chip tone="quiet">Off</Chip>}
        </h1>
        <p className="dim">
          <code>{inert(server.url)}</code>
        </p>
      </header>
      <section className={css.section} aria-label="Tools">
        {server.kind === "mcp" ? <McpTools server={server} may={may} /> : <HttpTools server={server} may={may} />}
      </section>
      {may && (
        <>
          <section className={css.section} aria-label="Settings">
            <h2>Settings</h2>
            <ServerSettings key={server.revision} server={server} />
          </section>
          <section className={css.section} aria-label="Remove">
            <h2>Remove</h2>
            <p className={css.help}>Its tools go with it. Rules that name them stay, and hold again if a server of this name comes back.</p>
            <div>
              <Remove name={server.name} remove={() => tools.remove(server.id)} then={gone} />
            </div>
          </section>
        </>
      )}
    </>
  );
}

function HttpTools({ server, may }: { server: Server; may: boolean }) {
  const [open, setOpen] = useState(""); // the name of the tool in the form, "+" or nothing
  const client = useQueryClient();
  const done = async () => {
    await client.invalidateQueries({ queryKey: ["tools"] });
    setOpen("");
  };
  const without = (name: string) => tools.change(server.id, changeOf(server, inputs(server).filter((t) => t.name !== name)));
  return (
    <>
      <div className={css.title}>
        <div>
          <h2>Tools</h2>
          <p className={css.help}>Each is one request. Those that only read may be allowed by a rule; where no rule says anything, people are asked.</p>
        </div>
        {may && open !== "+" && (
          <Button variant="default" leftSection={<PlusIcon size={14} />} onClick={() => setOpen("+")}>
            Add a tool
          </Button>
        )}
      </div>
      {open === "+" && <ToolForm server={server} close={done} />}
      {server.tools.length === 0 && open !== "+" && <Empty title="It has no tools yet">Say which requests agents may make here.</Empty>}
      <ul>
        {server.tools.map((t) => (
          <li key={t.name} className={css.row}>
            {open === t.name ? <ToolForm server={server} tool={t} close={done} /> : <HttpTool server={server} tool={t} may={may} edit={() => setOpen(t.name)} remove={() => without(t.name)} then={done} />}
          </li>
        ))}
      </ul>
    </>
  );
}

function HttpTool({ server, tool, may, edit, remove, then }: { server: Server; tool: ServerTool; may: boolean; edit: () => void; remove: () => Promise<unknown>; then: () => unknown }) {
  const [trying, setTrying] = useState(false);
  return (
    <>
      <div className={css.what}>
        <h3>
          <code>
            {inert(server.name)}__{inert(tool.name)}
          </code>{" "}
          {tool.mutates && <Chip tone="warning">Changes things</Chip>} <Mark state={stateOf(tool)} />
        </h3>
        <p>{inert(tool.http?.description)}</p>
        <p className="dim">
          <code>
            {tool.http?.method} {inert(tool.http?.path)}
          </code>
        </p>
      </div>
      {may && (
        <div className={css.acts}>
          {!tool.mutates && tool.enabled && server.enabled && (
            <Button variant="default" size="compact-sm" aria-expanded={trying} aria-label={`Try ${inert(tool.name)}`} onClick={() => setTrying(!trying)}>
              Try
            </Button>
          )}
          <Button variant="default" size="compact-sm" onClick={edit} aria-label={`Edit ${inert(tool.name)}`}>
            Edit
          </Button>
          <Remove name={tool.name} remove={remove} then={then} />
        </div>
      )}
      {trying && <Try name={`${server.name}__${tool.name}`} params={tool.http?.params ?? []} />}
    </>
  );
}
