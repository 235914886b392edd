import createClient from "openapi-fetch";
import { attended, unattended } from "./attended";
import { earlyAnswer, expectSession } from "./early";
import { setReachable } from "./reachable";
import type { paths } from "./schema";

/** A refused or failed request. Status 0 means that the api was not reached. */
export class ApiError extends Error {
  readonly status: number;
  /** The places of the request that something is wrong with, or that are wanted, as body.proof. */
  readonly places: readonly string[];

  /** The message is what the api says about it, meant for people. */
  constructor(status: number, message: string, places: readonly string[] = []) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.places = places;
  }
}

/**
 * The api, typed by its own description. The session travels as a cookie that
 * this code cannot read.
 */
export const api = createClient<paths>({
  baseUrl: location.origin,
  cache: "no-store",
  headers: { Accept: "application/json" },
  async fetch(request) {
    let response: Response;
    if (!attended()) request.headers.set(unattended, "1");
    try {
      response = (await earlyAnswer(request)) ?? (await fetch(request));
    } catch (cause) {
      if (request.signal.aborted) throw cause;
      setReachable(false);
      throw new ApiError(0, "Akmatori was not reached.");
    }
    // These two come from a proxy in front of an api that is away.
    setReachable(response.status !== 502 && response.status !== 504);
    if (response.status === 401) expectSession(false);
    return response;
  },
});

/** The body of a success; everything else becomes an {@link ApiError}. */
export async function ok<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) throw new ApiError(response.status, problem(error) || `The server answered ${response.status}.`, places(error));
  return data as T;
}

/** Reads RFC 9457 problem details; a proxy in between may have sent anything else. */
function problem(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  const { title, detail, errors } = error as {
    title?: string;
    detail?: string;
    errors?: { message?: string; location?: string }[] | null;
  };
  const wrong = (errors ?? []).filter((e) => e.message !== detail).map((e) => (e.location ? `${e.location.replace(/^body\./, "")}: ${e.message}` : e.message));
  const said = detail || title || "";
  return wrong.length > 0 ? `${said}: ${wrong.join("; ")}` : said;
}

function places(error: unknown): string[] {
  if (typeof error !== "object" || error === null) return [];
  const { errors } = error as { errors?: { location?: string }[] | null };
  return (errors ?? []).flatMap((e) => (typeof e.location === "string" ? [e.location] : []));
}

/** What to tell a person about any error, as a sentence. */
export function messageOf(error: unknown): string {
  const said = (error instanceof Error ? error.message : String(error)).trim();
  const sentence = said.charAt(0).toUpperCase() + said.slice(1);
  return /[.!?…]$/.test(sentence) ? sentence : `${sentence}.`;
}
