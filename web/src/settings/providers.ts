import type { Body, Model, Provider, ProviderKind, ProviderTest } from "../api/types";
import { optional, text } from "./settings";

/** What the page of providers knows of kinds, prices and tests. */

export const kinds: { value: ProviderKind; label: string; base: string }[] = [
  { value: "openai", label: "OpenAI", base: "https://api.openai.com/v1" },
  { value: "anthropic", label: "Anthropic", base: "https://api.anthropic.com" },
  { value: "google", label: "Google", base: "https://generativelanguage.googleapis.com" },
  { value: "openrouter", label: "OpenRouter", base: "https://openrouter.ai/api/v1" },
  { value: "openai-compatible", label: "OpenAI-compatible", base: "" },
];

export function kindLabel(kind: string): string {
  return kinds.find((k) => k.value === kind)?.label ?? kind;
}

/** Dollars as people write them, with what small amounts need. */
export function dollars(usd: number): string {
  if (usd === 0) return "$0";
  if (usd >= 0.01) return `$${usd.toFixed(usd >= 100 ? 0 : 2).replace(/\.00$/, "")}`;
  return `$${usd.toPrecision(2).replace(/\.?0+$/, "")}`;
}

/** Tokens as in 128k and 1.05M. */
export function tokens(n: number): string {
  if (n >= 1_000_000) return `${(n / 1_000_000).toFixed(2).replace(/\.?0+$/, "")}M`;
  if (n >= 1_000) return `${n % 1_024 === 0 && n % 1_000 !== 0 ? n / 1_024 : Math.round(n / 1_000)}k`;
  return String(n);
}

/** What a million tokens cost, and whether that is the vendor's list. */
export function priceOf(p: Pick<Provider, "price_input" | "price_output" | "model_info">): { text: string; own: boolean } | null {
  if (p.price_input !== undefined && p.price_output !== undefined) {
    return { text: `${dollars(p.price_input)} in, ${dollars(p.price_output)} out`, own: true };
  }
  return p.model_info ? { text: pricesOf(p.model_info), own: false } : null;
}

export function pricesOf(m: Model): string {
  if (m.price.input === 0 && m.price.output === 0) return "free";
  return `${dollars(m.price.input)} in, ${dollars(m.price.output)} out`;
}

/** One line about a model of the catalogue. */
export function aboutModel(m: Model): string {
  const window = m.window ? `reads ${tokens(m.window)} tokens` : "";
  return [m.name, window, `${pricesOf(m)} a million`].filter(Boolean).join(", ");
}

/** What a test brought, in one line. */
export function outcome(t: ProviderTest): string {
  if (!t.ok) return t.error || "There was no answer.";
  const cost = t.usage.cost_usd === undefined ? "" : `, ${dollars(t.usage.cost_usd)}`;
  const first = t.first_token_ms ? ` (first word after ${t.first_token_ms} ms)` : "";
  return `It answered in ${t.latency_ms} ms${first}: ${t.usage.input_tokens} tokens read, ${t.usage.output_tokens} written${cost}.`;
}

function number(form: FormData, name: string): number | undefined {
  const value = optional(form, name);
  return value === undefined ? undefined : Number(value);
}

/** The settings of the form. What belongs to a fallback is left out without one. */
export function settingsOf(form: FormData): Body<"ChangedProviderBody"> {
  const fallback = optional(form, "fallback");
  const key = optional(form, "key");
  return {
    kind: text(form, "kind") as ProviderKind,
    model: text(form, "model"),
    base_url: optional(form, "base_url"),
    credential: key ? undefined : text(form, "credential"), // left out, the one that is there would stay
    key,
    default: form.get("default") !== null,
    allow_private: form.get("allow_private") !== null,
    effort: text(form, "effort") as "" | "low" | "medium" | "high",
    price_input: number(form, "price_input"),
    price_output: number(form, "price_output"),
    window: number(form, "window"),
    fallback,
    fallback_on_account: fallback !== undefined && form.get("fallback_on_account") !== null,
    patience: fallback === undefined ? undefined : number(form, "patience"),
    wait: number(form, "wait"),
  };
}
