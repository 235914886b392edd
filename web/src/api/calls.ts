import { api, ok } from "./client";
import type { Body } from "./types";

/** Every call of the page. The types come from the api's own description. */

type Signal = { signal?: AbortSignal };

export const auth = {
  session: ({ signal }: Signal) => ok(api.GET("/api/v1/auth/session", { signal })),
  login: (body: Body<"LoginInputBody">) => ok(api.POST("/api/v1/auth/login", { body })),
  setup: (body: Body<"SetupInputBody">) => ok(api.POST("/api/v1/auth/setup", { body })),
  logout: () => ok(api.POST("/api/v1/auth/logout")),
};

export interface IncidentQuery {
  status?: string;
  severity?: "critical" | "high" | "warning" | "info";
  q?: string;
  cursor?: string;
  limit?: number;
}

export type IncidentAction = "acknowledge" | "resolve" | "close" | "investigate" | "cancel";

const one = (id: string) => ({ params: { path: { id } } });

export const incidents = {
  list: (query: IncidentQuery, { signal }: Signal) => ok(api.GET("/api/v1/incidents", { params: { query }, signal })),
  get: (id: string, { signal }: Signal) => ok(api.GET("/api/v1/incidents/{id}", { ...one(id), signal })),
  alerts: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/alerts", { ...one(id), signal }))).items,
  calls: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/calls", { ...one(id), signal }))).items,
  findings: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/findings", { ...one(id), signal }))).items,
  runs: async (id: string, { signal }: Signal) => (await ok(api.GET("/api/v1/incidents/{id}/runs", { ...one(id), signal }))).items,
  act: (id: string, action: IncidentAction) => ok(api.POST(`/api/v1/incidents/{id}/${action}`, one(id))),
  streamURL: (id: string) => `/api/v1/incidents/${encodeURIComponent(id)}/stream`,
};

export const sources = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/sources", { signal }))).items,
  create: (body: Body<"NewSourceBody">) => ok(api.POST("/api/v1/sources", { body })),
  replaceSecret: (id: string, body: Body<"NewSecretBody">) =>
    ok(api.POST("/api/v1/sources/{id}/secret", { params: { path: { id } }, body })),
};
export const targets = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/targets", { signal }))).items,
  create: (body: Body<"NewTargetBody">) => ok(api.POST("/api/v1/targets", { body })),
};
export const credentials = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/credentials", { signal }))).items,
  create: (body: Body<"NewCredentialBody">) => ok(api.POST("/api/v1/credentials", { body })),
};
export const providers = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/llm-providers", { signal }))).items,
  create: (body: Body<"NewProviderBody">) => ok(api.POST("/api/v1/llm-providers", { body })),
};
export const tokens = {
  list: async ({ signal }: Signal) => (await ok(api.GET("/api/v1/tokens", { signal }))).items,
  create: (body: Body<"NewTokenBody">) => ok(api.POST("/api/v1/tokens", { body })),
  revoke: (id: string) => ok(api.DELETE("/api/v1/tokens/{id}", one(id))),
};
