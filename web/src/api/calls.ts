import { api, ok } from "./client";
import { expectSession } from "./early";
import type { Body, ProviderKind, ViewFilter } from "./types";

/** Every call of the page. The types come from the api's own description. */

type Signal = { signal?: AbortSignal };

export const auth = {
  session: async ({ signal }: Signal) => {
    const session = await ok(api.GET("/api/v1/auth/session", { signal }));
    expectSession(true);
    return session;
  },
  login: (body: Body<"LoginInputBody">) => ok(api.POST("/api/v1/auth/login", { body })),
  /** What the page for signing in offers. */
  methods: ({ signal }: Signal) => ok(api.GET("/api/v1/auth/methods", { signal })),
  /** The code that signing in asks for. */
  second: (code: string) => ok(api.POST("/api/v1/auth/second", { body: { code } })),
  /** Where a browser goes to sign in with the provider. */
  providerURL: (next: string) => `/api/v1/auth/oidc/start?next=${encodeURIComponent(next)}`,
  setup: (body: Body<"SetupInputBody">) => ok(api.POST("/api/v1/auth/setup", { body })),
  logout: () => {
    expectSession(false);
    return ok(api.POST("/api/v1/auth/logout"));
  },
};

const one = (id: string) => ({ params: { path: { id } } });

/** One's second factor. Where proof is wanted, an error at body.proof asks for it. */
export const totp = {
  get: ({ signal }: Signal) => ok(api.GET("/api/v1/auth/totp", { signal })),
  begin: (proof?: string) => ok(api.POST("/api/v1/auth/totp", { body: proof ? { proof } : {} })),
  confirm: async (code: string) => (await ok(api.POST("/api/v1/auth/totp/confirm", { body: { code } }))).codes,
  newCodes: async (proof?: string) => (await ok(api.POST("/api/v1/auth/totp/recovery-codes", { body: proof ? { proof } : {} }))).codes,
  remove: (proof?: string) => ok(api.POST("/api/v1/auth/totp/remove", { body: proof ? { proof } : {} })),
  reset: (user: string) => ok(api.DELETE("/api/v1/users/{id}/totp", one(user))),
};

/** The provider that people sign in with. */
export const oidc = {
  get: ({ signal }: Signal) => ok(api.GET("/api/v1/oidc-provider", { signal })),
  put: (body: Body<"OidcInputBody">) => ok(api.PUT("/api/v1/oidc-provider", { body })),
  remove: () => ok(api.DELETE("/api/v1/oidc-provider")),
  check: (issuer: string) => ok(api.POST("/api/v1/oidc-provider/check", { body: { issuer } })),
  link: (user: string, subject: string) => ok(api.PUT("/api/v1/users/{id}/oidc", { ...one(user), body: { subject } })),
  unlink: (user: string) => ok(api.DELETE("/api/v1/users/{id}/oidc", one(user))),
};

export interface IncidentQuery extends ViewFilter {
  cursor?: string;
  limit?: number;
}

export type IncidentAction = "acknowledge" | "resolve" | "close" | "investigate" | "cancel";

export const incidents = {
  list: (query: IncidentQuery, { signal }: Signal) => ok(api.GET("/api/v1/incidents", { params: { query }, signal })),
  get: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/incidents/{id}", { ...one(id), signal })),
  facets: (query: ViewFilter, { signal }: Signal) => ok(api.GET("/api/v1/incidents/facets", { params: { query }, signal })),
  alerts: (id: string, cursor: string, { signal }: Signal) =>
    ok(api.GET("/api/v1/incidents/{id}/alerts", { params: { path: { id }, query: { cursor, limit: 200 } }, signal })),
  calls: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/calls", { ...one(id), signal }))).items,
  findings: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/findings", { ...one(id), signal }))).items,
  runs: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/runs", { ...one(id), signal }))).items,
  act: (id: string, action: IncidentAction) => ok(api.POST(`/api/v1/incidents/{id}/${action}`, one(id))),
  /** Does the same to several; each item says what came of it. */
  bulk: async (body: Body<"BulkChangeBody">) => (await ok(api.POST("/api/v1/incidents/bulk", { body }))).items,
  edit: (id: string, body: Body<"IncidentEditBody">) => ok(api.PATCH("/api/v1/incidents/{id}", { ...one(id), body })),
  assign: (id: string, assignee: string) => ok(api.POST("/api/v1/incidents/{id}/assign", { ...one(id), body: { assignee } })),
  /** Makes the incident a part of another one, which is the answer. */
  merge: (id: string, into: string) => ok(api.POST("/api/v1/incidents/{id}/merge", { ...one(id), body: { into } })),
  /** Takes alerts out into a new incident, which is the answer. */
  split: (id: string, body: Body<"SplitBody">) => ok(api.POST("/api/v1/incidents/{id}/split", { ...one(id), body })),
  /** Takes alerts over to another incident, which is the answer. */
  move: (id: string, body: Body<"AlertMoveBody">) => ok(api.POST("/api/v1/incidents/{id}/move", { ...one(id), body })),
  /** Says something to the agent; the answer is the message's number in the timeline. */
  say: (id: string, text: string) => ok(api.POST("/api/v1/incidents/{id}/message", { ...one(id), body: { text } })),
  similar: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/similar", { ...one(id), signal }))).items,
  feedback: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/feedback", { ...one(id), signal }))).items,
  giveFeedback: (id: string, body: Body<"NewFeedbackBody">) => ok(api.POST("/api/v1/incidents/{id}/feedback", { ...one(id), body })),
  postmortem: (id: string, zone: string): Promise<string> =>
    ok(api.GET("/api/v1/incidents/{id}/postmortem", { params: { path: { id }, query: { zone } }, parseAs: "text" })),
  /** Where the whole output of a call is, as a file. */
  outputURL: (id: string, run: string, call: string) => `/api/v1/incidents/${encodeURIComponent(id)}/runs/${encodeURIComponent(run)}/calls/${encodeURIComponent(call)}/output`,
  streamURL: (id: string) => `/api/v1/incidents/${encodeURIComponent(id)}/stream`,
};

export const views = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/views", { signal }))).items,
  create: (body: Body<"ViewInput">) => ok(api.POST("/api/v1/views", { body })),
  replace: (id: string, body: Body<"ViewInput">) => ok(api.PUT("/api/v1/views/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/views/{id}", one(id))),
};

export interface MemoryQuery {
  q?: string;
  state?: "current" | "old";
  incident?: string;
  cursor?: string;
  limit?: number;
}

export const memories = {
  list: (query: MemoryQuery, { signal }: Signal) => ok(api.GET("/api/v1/memories", { params: { query }, signal })),
  create: (body: Body<"NewMemoryBody">) => ok(api.POST("/api/v1/memories", { body })),
  change: (id: string, body: Body<"ChangedMemoryBody">) => ok(api.PATCH("/api/v1/memories/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/memories/{id}", one(id))),
};
export const memoryRules = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/memory-rules", { signal }))).items,
  create: (body: Body<"MemoryRuleBody">) => ok(api.POST("/api/v1/memory-rules", { body })),
  replace: (id: string, body: Body<"MemoryRuleBody">) => ok(api.PUT("/api/v1/memory-rules/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/memory-rules/{id}", one(id))),
};

export interface ApprovalQuery {
  state?: "pending" | "approved" | "denied" | "expired" | "void";
  incident?: string;
  cursor?: string;
  limit?: number;
}

export const approvals = {
  list: (query: ApprovalQuery, { signal }: Signal) => ok(api.GET("/api/v1/approvals", { params: { query }, signal })),
  decide: (id: string, body: Body<"DecisionBody">) => ok(api.POST("/api/v1/approvals/{id}/decision", { ...one(id), body })),
};
export interface AuditQuery {
  chain?: "api" | "gateway" | "proxy";
  actor?: string;
  action?: string;
  object?: string;
  run?: string;
  incident?: string;
  outcome?: "ok" | "denied" | "failed" | "unknown" | "intent";
  from?: string;
  to?: string;
  cursor?: string;
  limit?: number;
}

export const audit = {
  search: (query: AuditQuery, { signal }: Signal) => ok(api.GET("/api/v1/audit", { params: { query }, signal })),
  chains: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/audit/chains", { signal }))).items,
};
export const grants = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/grants", { signal }))).items,
  revoke: (id: string) => ok(api.DELETE("/api/v1/grants/{id}", one(id))),
};
export const sources = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/sources", { signal }))).items,
  create: (body: Body<"NewSourceBody">) => ok(api.POST("/api/v1/sources", { body })),
  replaceSecret: (id: string, body: Body<"NewSecretBody">) =>
    ok(api.POST("/api/v1/sources/{id}/secret", { params: { path: { id } }, body })),
  get: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/sources/{id}", { ...one(id), signal })),
  change: (id: string, body: Body<"ChangedSourceBody">) => ok(api.PATCH("/api/v1/sources/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/sources/{id}", one(id))),
  verifyOnly: (id: string, minutes: number) => ok(api.POST("/api/v1/sources/{id}/verify-only", { ...one(id), body: { minutes } })),
  setup: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/sources/{id}/setup", { ...one(id), signal })),
  health: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/sources/{id}/health", { ...one(id), signal })),
  test: (id: string, body: Body<"TestEventBody">) => ok(api.POST("/api/v1/sources/{id}/test", { ...one(id), body })),
  preview: (body: Body<"SampleBody">) => ok(api.POST("/api/v1/sources/preview", { body })),
  reconcile: (id: string) => ok(api.POST("/api/v1/sources/{id}/reconcile", one(id))),
  setReconcileSecret: (id: string, body: Body<"NewReconcileSecretBody">) =>
    ok(api.PUT("/api/v1/sources/{id}/reconcile/secret", { ...one(id), body })),
  deliveries: (id: string, query: DeliveryQuery, { signal }: Signal) =>
    ok(api.GET("/api/v1/sources/{id}/deliveries", { params: { path: { id }, query }, signal })),
  replayAll: (id: string, body: Body<"ReplayAllBody">) => ok(api.POST("/api/v1/sources/{id}/deliveries/replay", { ...one(id), body })),
};

export interface DeliveryQuery {
  problem?: "any" | "open";
  cursor?: string;
  limit?: number;
}

export const deliveries = {
  ofAlert: (alert: string, { signal }: Signal) => ok(api.GET("/api/v1/deliveries/of-alert/{id}", { ...one(alert), signal })),
  get: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/deliveries/{id}", { ...one(id), signal })),
  replay: (id: string) => ok(api.POST("/api/v1/deliveries/{id}/replay", one(id))),
};
export const tools = {
  all: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/tools", { signal }))).items,
  servers: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/tools/servers", { signal }))).items,
  server: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/tools/servers/{id}", { ...one(id), signal })),
  create: (body: Body<"NewToolServerBody">) => ok(api.POST("/api/v1/tools/servers", { body })),
  change: (id: string, body: Body<"ChangedToolServerBody">) => ok(api.PUT("/api/v1/tools/servers/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/tools/servers/{id}", one(id))),
  /** Asks a server of MCP, through the gateway, what it has now. */
  discover: (id: string) => ok(api.POST("/api/v1/tools/servers/{id}/discover", one(id))),
  changeTool: (id: string, tool: string, body: Body<"ServerToolChangeBody">) => ok(api.PUT("/api/v1/tools/servers/{id}/tools/{tool}", { params: { path: { id, tool } }, body })),
  /** The request that a tool would make; nothing is sent. */
  preview: (body: Body<"PreviewInputBody">) => ok(api.POST("/api/v1/tools/preview", { body })),
  test: (body: Body<"TestInputBody">) => ok(api.POST("/api/v1/tools/test", { body })),
};
export const targets = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/targets", { signal }))).items,
  create: (body: Body<"NewTargetBody">) => ok(api.POST("/api/v1/targets", { body })),
  /** What is left out stays. */
  change: (id: string, body: Body<"ChangedTargetBody">) => ok(api.PATCH("/api/v1/targets/{id}", { ...one(id), body })),
  scan: (id: string) => ok(api.POST("/api/v1/targets/{id}/host-key/scan", one(id))),
  accept: (id: string, body: Body<"AcceptedKeyBody">) => ok(api.POST("/api/v1/targets/{id}/host-key/accept", { ...one(id), body })),
  test: (id: string) => ok(api.POST("/api/v1/targets/{id}/test", one(id))),
  remove: (id: string) => ok(api.DELETE("/api/v1/targets/{id}", one(id))),
};
export const credentials = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/credentials", { signal }))).items,
  create: (body: Body<"NewCredentialBody">) => ok(api.POST("/api/v1/credentials", { body })),
  rotate: (id: string, body: Body<"RotationBody">) => ok(api.POST("/api/v1/credentials/{id}/rotate", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/credentials/{id}", one(id))),
  disable: (id: string, disabled: boolean) => ok(api.PATCH("/api/v1/credentials/{id}", { ...one(id), body: { disabled } })),
};
export const providers = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/llm-providers", { signal }))).items,
  create: (body: Body<"NewProviderBody">) => ok(api.POST("/api/v1/llm-providers", { body })),
  change: (id: string, body: Body<"ChangedProviderBody">) => ok(api.PUT("/api/v1/llm-providers/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/llm-providers/{id}", one(id))),
  /** Has one small turn of the model, through the proxy. */
  test: (id: string) => ok(api.POST("/api/v1/llm-providers/{id}/test", one(id))),
  kind: (kind: ProviderKind, { signal }: Signal) => ok(api.GET("/api/v1/llm-providers/kinds/{kind}", { params: { path: { kind } }, signal })),
};
export const tokens = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/tokens", { signal }))).items,
  create: (body: Body<"NewTokenBody">) => ok(api.POST("/api/v1/tokens", { body })),
  revoke: (id: string) => ok(api.DELETE("/api/v1/tokens/{id}", one(id))),
};
export const groupingRules = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/grouping-rules", { signal }))).items,
  create: (body: Body<"RuleBody">) => ok(api.POST("/api/v1/grouping-rules", { body })),
  replace: (id: string, body: Body<"RuleBody">) => ok(api.PUT("/api/v1/grouping-rules/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/grouping-rules/{id}", one(id))),
  /** What a rule would have made of the stored alerts; replaces is the id of the one that it changes, or empty. */
  preview: (replaces: string, body: Body<"RuleBody">, { signal }: Signal) =>
    ok(api.POST("/api/v1/grouping-rules/preview", { params: { query: replaces ? { replaces } : {} }, body, signal })),
};
export const maintenance = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/maintenance-windows", { signal }))).items,
  create: (body: Body<"WindowBody">) => ok(api.POST("/api/v1/maintenance-windows", { body })),
  replace: (id: string, body: Body<"WindowBody">) => ok(api.PUT("/api/v1/maintenance-windows/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/maintenance-windows/{id}", one(id))),
};
export const users = {
  list: (query: { q?: string; cursor?: string; limit?: number }, { signal }: Signal) => ok(api.GET("/api/v1/users", { params: { query }, signal })),
  create: (body: Body<"NewUserBody">) => ok(api.POST("/api/v1/users", { body })),
  invite: (id: string) => ok(api.POST("/api/v1/users/{id}/invite", one(id))),
  change: (id: string, body: Body<"UserChangeBody">) => ok(api.PATCH("/api/v1/users/{id}", { ...one(id), body })),
  /** Sets the password of an invited user and signs them in. */
  accept: (body: Body<"AcceptInputBody">) => ok(api.POST("/api/v1/auth/accept", { body })),
  changePassword: (body: Body<"PasswordChangeBody">) => ok(api.PUT("/api/v1/auth/password", { body })),
};
export const sessions = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/auth/sessions", { signal }))).items,
  end: (id: string) => ok(api.DELETE("/api/v1/auth/sessions/{id}", one(id))),
  endOthers: () => ok(api.DELETE("/api/v1/auth/sessions")),
  listOf: async (user: string, { signal }: Signal) => (await ok(api.GET("/api/v1/users/{id}/sessions", { ...one(user), signal }))).items,
  endOf: (user: string) => ok(api.DELETE("/api/v1/users/{id}/sessions", one(user))),
};
export const roles = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/roles", { signal }))).items,
  put: (id: string, body: Body<"RoleInputBody">) => ok(api.PUT("/api/v1/roles/{id}", { ...one(id), body })),
  remove: (id: string) => ok(api.DELETE("/api/v1/roles/{id}", one(id))),
};
export const actors = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/actors", { signal }))).items,
  put: (actor: string, roles: string[]) => ok(api.PUT("/api/v1/actors/{actor}", { params: { path: { actor } }, body: { roles } })),
  remove: (actor: string) => ok(api.DELETE("/api/v1/actors/{actor}", { params: { path: { actor } } })),
};
export const agents = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/agents", { signal }))).items,
  get: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/agents/{id}", { ...one(id), signal })),
  create: (body: Body<"NewAgentBody">) => ok(api.POST("/api/v1/agents", { body })),
  replace: (id: string, body: Body<"ChangedAgentBody">) => ok(api.PUT("/api/v1/agents/{id}", { ...one(id), body })),
  reset: (id: string) => ok(api.POST("/api/v1/agents/{id}/reset", one(id))),
  remove: (id: string) => ok(api.DELETE("/api/v1/agents/{id}", one(id))),
};
const skill = (name: string) => ({ params: { path: { name } } });
export const skills = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/skills", { signal }))).items,
  get: (name: string, { signal }: Signal) => ok(api.GET("/api/v1/skills/{name}", { ...skill(name), signal })),
  create: (body: Body<"NewSkillBody">) => ok(api.POST("/api/v1/skills", { body })),
  edit: (name: string, body: Body<"SkillEditBody">) => ok(api.PUT("/api/v1/skills/{name}", { ...skill(name), body })),
  enable: (name: string, enabled: boolean) => ok(api.PATCH("/api/v1/skills/{name}", { ...skill(name), body: { enabled } })),
  remove: (name: string) => ok(api.DELETE("/api/v1/skills/{name}", skill(name))),
  versions: async (name: string, { signal }: Signal) => (await ok(api.GET("/api/v1/skills/{name}/versions", { ...skill(name), signal }))).items,
  version: (name: string, version: number, { signal }: Signal) => ok(api.GET("/api/v1/skills/{name}/versions/{version}", { params: { path: { name, version } }, signal })),
  use: (name: string, version: number) => ok(api.POST("/api/v1/skills/{name}/versions/{version}/use", { params: { path: { name, version } } })),
  /** Sends an archive as it is: the bytes of a file are what the description calls a string. */
  upload: async (archive: Blob) =>
    (
      await ok(
        api.POST("/api/v1/skills/import", {
          body: archive as unknown as string,
          bodySerializer: (body) => body as unknown as BodyInit,
          headers: { "Content-Type": "application/octet-stream" },
        }),
      )
    ).items,
  archiveURL: (name: string) => `/api/v1/skills/${encodeURIComponent(name)}/archive`,
};
const runbook = (slug: string) => ({ params: { path: { slug } } });
export const runbooks = {
  /** With words only those that have all of them. */
  list: async (q: string, { signal }: Signal) => (await ok(api.GET("/api/v1/runbooks", { params: { query: q ? { q } : {} }, signal }))).items,
  get: (slug: string, { signal }: Signal) => ok(api.GET("/api/v1/runbooks/{slug}", { ...runbook(slug), signal })),
  create: (body: Body<"NewRunbookBody">) => ok(api.POST("/api/v1/runbooks", { body })),
  edit: (slug: string, body: Body<"RunbookEditBody">) => ok(api.PUT("/api/v1/runbooks/{slug}", { ...runbook(slug), body })),
  remove: (slug: string) => ok(api.DELETE("/api/v1/runbooks/{slug}", runbook(slug))),
  versions: async (slug: string, { signal }: Signal) => (await ok(api.GET("/api/v1/runbooks/{slug}/versions", { ...runbook(slug), signal }))).items,
  version: (slug: string, version: number, { signal }: Signal) => ok(api.GET("/api/v1/runbooks/{slug}/versions/{version}", { params: { path: { slug, version } }, signal })),
  use: (slug: string, version: number) => ok(api.POST("/api/v1/runbooks/{slug}/versions/{version}/use", { params: { path: { slug, version } } })),
};
export const policy = {
  explain: (body: Body<"ExplainInputBody">, { signal }: Signal) => ok(api.POST("/api/v1/policy/explain", { body, signal })),
  dryRun: (body: Body<"DryRunInputBody">) => ok(api.POST("/api/v1/policy/dry-run", { body })),
};
export const gatekeeper = {
  get: ({ signal }: Signal) => ok(api.GET("/api/v1/gatekeeper", { signal })),
  put: (body: Body<"GatekeeperBody">) => ok(api.PUT("/api/v1/gatekeeper", { body })),
};
export const overview = {
  dashboard: (window: "day" | "week", { signal }: Signal) => ok(api.GET("/api/v1/dashboard", { params: { query: { window } }, signal })),
  system: ({ signal }: Signal) => ok(api.GET("/api/v1/system", { signal })),
  setup: ({ signal }: Signal) => ok(api.GET("/api/v1/setup", { signal })),
  dismissSetup: (dismissed: boolean) => ok(api.PATCH("/api/v1/setup", { body: { dismissed } })),
};

export interface AlertQuery {
  source?: string;
  status?: string;
  severity?: string;
  label?: string[];
  q?: string;
  cursor?: string;
  limit?: number;
}

export const alerts = {
  list: (query: AlertQuery, { signal }: Signal) => ok(api.GET("/api/v1/alerts", { params: { query }, signal })),
};
export const usage = {
  days: async (days: number, { signal }: Signal) => (await ok(api.GET("/api/v1/usage", { params: { query: { days } }, signal }))).items,
  parts: async (days: number, { signal }: Signal) => (await ok(api.GET("/api/v1/usage/parts", { params: { query: { days } }, signal }))).items,
  budgets: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/budgets", { signal }))).items,
  setBudget: (scope: string, body: Body<"NewBudgetBody">) => ok(api.PUT("/api/v1/budgets/{scope}", { params: { path: { scope } }, body })),
  removeBudget: (scope: string) => ok(api.DELETE("/api/v1/budgets/{scope}", { params: { path: { scope } } })),
};
export const changes = {
  list: async (service: string, { signal }: Signal) => (await ok(api.GET("/api/v1/changes", { params: { query: service ? { service } : {} }, signal }))).items,
  note: (body: Body<"NewChangeBody">) => ok(api.POST("/api/v1/changes", { body })),
};
