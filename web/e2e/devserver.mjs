// A fake api for work on the page and for states that a real one is rarely in.
// It serves dist under the same policy as the api and keeps everything in memory.
// What it has no data for it answers as the api's description says; a call that
// is not described, and data of its own that does not fit, go to state.wrong.
//   node e2e/devserver.mjs        prints BASE_URL, ADMIN_USER, ADMIN_PASSWORD
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import * as data from "./data.mjs";
import { completed, describe, misfits, sample, text as description } from "./described.mjs";
import { answer } from "./fakesources.mjs";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export const admin = { username: "admin", password: "correct horse battery" };
export const setupToken = "akms_demo";

/** A pinned host key, as the api shows it. */
const pin = (type, letter) => ({ type, fingerprint: `SHA256:${letter.repeat(43)}`, authority: false });

/** Starts it on a free port. What it returns is its state, for tests to change. */
export async function start({ port = 0, incidents = [data.concluded, ...data.fillers(9)], empty = false, rows = 0, like = {} } = {}) {
  const state = {
    incidents,
    /** How many items a list has that it keeps nothing of, and what they look like by the name of their schema. */
    rows,
    like,
    /** Calls that the api does not have and answers that it would not give, for tests to fail on. */
    wrong: [],
    /** While this is a promise, every call of the api but the session waits for it. */
    held: undefined,
    /** Answers every call of the api but the session with this status. */
    failing: 0,
    /** What the user may do. */
    actions: ["read", "incidents.respond", "approvals.decide", "sources.manage", "inventory.manage", "agents.manage", "accounts.manage", "audit.read"],
    sessions: new Set(),
    sources: empty ? [] : [source("alertmanager-prod", 1289, 3, 1), source("alertmanager-staging", 0, 0, 0)],
    targets: empty
      ? []
      : [
          { id: "t1", name: "db-1", kind: "ssh", address: "10.0.4.11", port: 22, user: "akmatori", host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE", host_keys: [pin("ssh-ed25519", "a")], credential: "ops-key", jump: "bastion" },
          { id: "t2", name: "bastion", kind: "ssh", address: "bastion.example.com", port: 2222, user: "akmatori", host_key: "ssh-ed25519 AAAA\nssh-rsa AAAA", host_keys: [pin("ssh-ed25519", "b"), pin("ssh-rsa", "c")], credential: "ops-key" },
        ],
    credentials: empty
      ? []
      : [
          { id: "k1", name: "ops-key", kind: "ssh_key", targets: ["db-*", "bastion"], version: 1, created_at: ago(86_400_000) },
          { id: "k2", name: "openai", kind: "llm_key", targets: ["openai"], version: 1, created_at: ago(7_200_000) },
        ],
    providers: empty
      ? []
      : [{ id: "p1", name: "openai", kind: "openai", base_url: "https://api.openai.com/v1", model: "gpt-5", credential: "openai", default: true, allow_private: false }],
    tokens: empty ? [] : [{ id: "o1", name: "laptop", created_at: ago(86_400_000 * 3), last_used_at: ago(60_000) }, { id: "o2", name: "ci", created_at: ago(3_600_000) }],
    events: new Map([[data.incidentId, [...data.events]]]),
    calls: new Map([[data.incidentId, data.calls]]),
    runs: new Map([[data.incidentId, data.runs]]),
    streams: new Set(),
    /** Appends an event and sends it to whoever follows. */
    push(id, kind, body, more = {}) {
      const events = state.events.get(id) ?? [];
      state.events.set(id, events);
      const event = { incident_id: id, seq: (events.at(-1)?.seq ?? 0) + 1, at: new Date().toISOString(), kind, data: body, ...more };
      events.push(event);
      const incident = state.incidents.find((i) => i.id === id);
      if (incident) incident.last_seq = event.seq;
      for (const s of state.streams) if (s.id === id) s.send(event);
      return event;
    },
    /** Breaks every open stream, as a proxy or a restart would. */
    dropStreams() {
      for (const s of state.streams) s.response.destroy();
    },
    async stop() {
      state.dropStreams();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };

  const server = createServer((request, response) => {
    handle(state, request, response).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  state.url = `http://127.0.0.1:${server.address().port}`;
  return state;
}

function source(name, deliveries, rejected, unparsable) {
  const id = `s-${name}`;
  return {
    id,
    name,
    kind: "alertmanager",
    auth: "secret",
    options: {},
    created_at: ago(86_400_000),
    enabled: true,
    webhook_url: `https://akmatori.example.com/webhook/alert/${id}`,
    health: {
      deliveries,
      duplicates: 0,
      rejected,
      rejected_since: 0,
      unparsable,
      last_delivery_at: deliveries ? ago(42_000) : undefined,
      last_rejected_at: rejected ? ago(3_600_000) : undefined,
      last_error: unparsable ? "the body is not JSON: unexpected end" : undefined,
    },
  };
}

/** Counts of all incidents, whatever is asked for. */
function facets(incidents) {
  const by = (of) => {
    const counts = new Map();
    for (const i of incidents) counts.set(of(i), (counts.get(of(i)) ?? 0) + 1);
    return [...counts].map(([value, count]) => ({ value, count })).sort((a, b) => b.count - a.count);
  };
  return {
    total: incidents.length,
    exact: true,
    status: by((i) => i.status),
    severity: by((i) => i.severity),
    investigation: by((i) => i.investigation || "none"),
    source: by((i) => i.source_id ?? "none").map((s) => ({ ...s, name: incidents.find((i) => i.source_id === s.value)?.source })),
    service: by((i) => i.service ?? "").filter((s) => s.value !== ""),
    labels: incidents.length > 0 ? [{ key: "env", count: 2, values: [{ value: "prod", count: 2 }] }] : [],
    labels_of: incidents.length,
  };
}

function ago(ms) {
  return new Date(Date.now() - ms).toISOString();
}

async function handle(state, request, response) {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/openapi.json") {
    await state.held;
    response.writeHead(state.failing || 200, { "Content-Type": "application/json" });
    return response.end(state.failing ? "{}" : description);
  }
  if (!url.pathname.startsWith("/api/")) return page(url, response);
  const path = url.pathname.replace("/api/v1", "");
  const route = `${request.method} ${path}`;
  const described = describe(request.method, url.pathname, url.searchParams);
  if (!described) state.wrong.push(`the page calls ${route}, which the api does not have`);
  else if (described.unknown.length > 0) state.wrong.push(`the page calls ${route} with ${described.unknown}, which the api does not take`);
  const json = (body, status = 200, headers = {}) => {
    if (status < 300 && described?.schema) {
      state.wrong.push(...misfits(described.schema, body).map((m) => `the fake's ${route}: ${m}`));
      body = completed(described.schema, body);
    }
    response.writeHead(status, { "Content-Type": status < 400 ? "application/json" : "application/problem+json", ...headers });
    response.end(status === 204 ? undefined : JSON.stringify(body));
  };
  const problem = (status, detail) => json({ title: "Error", status, detail }, status);
  const body = ["POST", "PATCH"].includes(request.method) ? JSON.parse((await text(request)) || "{}") : {};
  const id = () => crypto.randomUUID();

  if (state.failing && route !== "GET /auth/session") return problem(state.failing, state.failing === 503 ? "the database is away" : "internal error");
  if (route === "POST /auth/login" || route === "POST /auth/setup") {
    const known = route.endsWith("setup") ? body.token === setupToken : body.username === admin.username && body.password === admin.password;
    if (!known) return problem(401, route.endsWith("setup") ? "the setup link is not valid (any more)" : "wrong user name or password");
    const session = id();
    state.sessions.add(session);
    return json({ user: { id: "u1", username: body.username, roles: ["admin"], actions: state.actions } }, 200, { "Set-Cookie": `session=${session}; HttpOnly; SameSite=Lax; Path=/` });
  }
  if (route === "GET /auth/methods") return json({ passwords: "everybody" });
  const session = /session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
  if (!state.sessions.has(session)) return problem(401, "sign in first");
  if (route === "GET /auth/session") return json({ user: { id: "u1", username: "admin", roles: ["admin"], actions: state.actions } });
  if (route === "POST /auth/logout") {
    state.sessions.delete(session);
    return json(null, 204);
  }
  await state.held;

  for (const [name, add] of Object.entries(creators)) {
    const list = state[name];
    const at = name === "providers" ? "/llm-providers" : `/${name}`;
    if (route === `GET ${at}`) return json({ items: list, next_cursor: "" });
    if (route === `POST ${at}`) {
      if (list.some((x) => x.name === body.name)) return problem(409, `there is a ${at.slice(1, -1)} named ${body.name} already`);
      if (name === "targets" && body.host_key && !/^(ssh|ecdsa)-\S+ AAAA/.test(body.host_key)) return problem(422, "line 1 of host_key is not of the form \"ssh-ed25519 AAAA…\"");
      if (name === "targets") body.host_keys = body.host_key ? [pin(body.host_key.split(" ")[0], "d")] : [];
      const { shown, kept } = add({ ...body, id: id(), created_at: ago(0) });
      list.push(kept);
      return json(shown, 201);
    }
    if (request.method === "DELETE" && path.startsWith(`${at}/`)) {
      state[name] = list.filter((x) => x.id !== path.slice(at.length + 1));
      return json(null, 204);
    }
  }

  const asked = answer(state, route, body);
  if (asked) return json(asked.body, asked.status);
  if (route === "GET /incidents/facets") return json(facets(state.incidents));
  if (route === "GET /incidents") {
    const q = (name) => url.searchParams.get(name) ?? "";
    const limit = Number(q("limit") || 50);
    const statuses = q("status").split(",").filter(Boolean);
    const found = state.incidents.filter(
      (i) =>
        (statuses.length === 0 || statuses.includes(i.status)) &&
        (!q("severity") || i.severity === q("severity")) &&
        (!q("q") || i.title.toLowerCase().includes(q("q").toLowerCase())) &&
        (!q("cursor") || i.number < Number(q("cursor"))),
    );
    const items = found.slice(0, limit);
    return json({ items, next_cursor: items.length === limit ? String(items.at(-1).number) : "" });
  }
  const [, ref, part = ""] = /^\/incidents\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  const incident = state.incidents.find((i) => i.id === ref || String(i.number) === ref);
  if (ref && ref !== "bulk" && !incident) return problem(404, "there is no such incident");
  if (!incident) return made(state, described, url, json, problem);
  const list = (items) => json({ items: items ?? [], next_cursor: "" });
  if (request.method === "GET") {
    if (part === "") return json(incident);
    if (part === "alerts") return list(incident.id === data.incidentId ? data.alerts : []);
    if (part === "calls") return list(state.calls.get(incident.id));
    if (part === "runs") return list(state.runs.get(incident.id));
    if (part === "findings") {
      const found = (state.events.get(incident.id) ?? []).filter((e) => e.kind === "findings");
      return list(found.map((e) => ({ run_id: e.run_id, at: e.at, finding: e.data })));
    }
    if (part === "stream") return stream(state, incident, request, response);
  }
  if (request.method === "POST") {
    const user = { actor: "user:admin" };
    const to = { acknowledge: "acknowledged", resolve: "resolved", close: "closed" }[part];
    if (to) {
      incident.status = to;
      state.push(incident.id, "incident.changed", { status: to }, user);
      return json(incident);
    }
    if (part === "investigate") {
      if (["queued", "running"].includes(incident.investigation)) return problem(409, "an investigation is under way");
      incident.investigation = "queued";
      incident.run_id = id();
      state.push(incident.id, "run.queued", { state: "queued" }, { ...user, run_id: incident.run_id });
      return json(incident);
    }
    if (part === "cancel") {
      incident.investigation = "cancelled";
      incident.investigation_reason = "cancelled by admin";
      state.push(incident.id, "run.ended", { state: "cancelled", reason: "cancelled by admin" }, { run_id: incident.run_id });
      return json(incident);
    }
  }
  return made(state, described, url, json, problem);
}

/** An answer by the description alone. Lists that go on in pages do so until state.rows, others have 200 at most. */
function made(state, described, url, json, problem) {
  if (!described) return problem(404, "there is no such call");
  if (!described.schema) return json(null, 204);
  const from = Number(url.searchParams.get("cursor") || 0);
  const most = described.paged ? Number(url.searchParams.get("limit") || 50) : 200;
  const rows = Math.max(0, Math.min(most, state.rows - from));
  const body = sample(described.schema, { names: described.names, rows, from, like: state.like });
  if (described.paged && from + rows < state.rows) body.next_cursor = String(from + rows);
  return json(body, described.status);
}

const same = (x) => ({ shown: x, kept: x });
const creators = {
  sources: (x) => {
    const kept = { ...source(x.name, 0, 0, 0), ...x };
    return { kept, shown: { ...kept, secret: "akmh_7Qd0q2l9yJcXK1f5RrU3oT8nVbE6mZsWgA4hPiLxkDw" } };
  },
  targets: same,
  credentials: ({ secret: _, ...x }) => same({ ...x, version: 1 }),
  providers: same,
  tokens: (x) => ({ kept: x, shown: { id: x.id, name: x.name, token: "akm_V0k3n1sSh0wnOnlyOnceAndNeverAgainForAnybody00" } }),
};

function stream(state, incident, request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const send = (e) => response.write(`id: ${e.seq}\nevent: timeline\ndata: ${JSON.stringify(e)}\n\n`);
  const after = Number(request.headers["last-event-id"] ?? 0);
  const entry = { id: incident.id, send, response };
  state.streams.add(entry);
  response.on("close", () => state.streams.delete(entry));
  response.write(": hello\n\n");
  for (const e of state.events.get(incident.id) ?? []) if (e.seq > after) send(e);
}

async function page(url, response) {
  const path = normalize(url.pathname);
  let file = join(dist, path);
  if (!file.startsWith(dist) || !extname(path)) file = join(dist, "index.html");
  try {
    const content = await readFile(file);
    response.writeHead(200, {
      "Content-Type": types[extname(file)] ?? "application/octet-stream",
      "Content-Security-Policy": policy,
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
    });
    response.end(content);
  } catch {
    response.writeHead(404);
    response.end();
  }
}

async function text(request) {
  let all = "";
  for await (const chunk of request) all += chunk;
  return all;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await start({ port: Number(process.env.PORT ?? 0) });
  console.log(`BASE_URL=${server.url}\nADMIN_USER=${admin.username}\nADMIN_PASSWORD=${admin.password}\nSETUP_URL=${server.url}/setup#token=${setupToken}`);
}
