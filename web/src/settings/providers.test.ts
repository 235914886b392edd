import { describe, expect, it } from "vitest";
import { aboutModel, dollars, outcome, priceOf, settingsOf, tokens } from "./providers";

const model = { id: "m", name: "Model M", window: 1_050_000, price: { input: 2.5, output: 15, cache_read: 0.25, cache_write: 2.5 } };
const usage = { input_tokens: 120, output_tokens: 9 };

describe("providers", () => {
  it("writes amounts as people do", () => {
    expect([0, 3, 2.5, 0.15, 0.0004321, 168, 1234.7].map(dollars)).toEqual(["$0", "$3", "$2.50", "$0.15", "$0.00043", "$168", "$1235"]);
    expect([900, 8192, 32_768, 128_000, 1_000_000, 1_048_576].map(tokens)).toEqual(["900", "8k", "32k", "128k", "1M", "1.05M"]);
  });

  it("tells a price of one's own from the list's, and none from both", () => {
    expect(priceOf({ model_info: model })).toEqual({ text: "$2.50 in, $15 out", own: false });
    expect(priceOf({ model_info: model, price_input: 0, price_output: 1 })).toEqual({ text: "$0 in, $1 out", own: true });
    expect(priceOf({})).toBeNull();
    expect(aboutModel(model)).toBe("Model M, reads 1.05M tokens, $2.50 in, $15 out a million");
    expect(aboutModel({ id: "f", price: { input: 0, output: 0, cache_read: 0, cache_write: 0 } })).toBe("free a million");
  });

  it("says what a test brought", () => {
    expect(outcome({ ok: true, tools: true, latency_ms: 812, first_token_ms: 300, usage: { ...usage, cost_usd: 0.00042 } })).toBe(
      "It answered in 812 ms (first word after 300 ms): 120 tokens read, 9 written, $0.00042.",
    );
    expect(outcome({ ok: false, tools: false, latency_ms: 5, error: "the vendor refused the key", usage })).toBe("the vendor refused the key");
  });

  it("leaves out what has no meaning", () => {
    const form = new FormData();
    for (const [k, v] of Object.entries({ kind: "anthropic", model: " m ", key: "sk", credential: "old", patience: "30", fallback_on_account: "on", window: "" })) form.set(k, v);
    expect(settingsOf(form)).toMatchObject({ kind: "anthropic", model: "m", key: "sk", credential: undefined, patience: undefined, fallback_on_account: false, window: undefined, default: false });
    form.delete("key");
    form.set("credential", "");
    expect(settingsOf(form)).toMatchObject({ credential: "" });
    form.set("fallback", "spare");
    expect(settingsOf(form)).toMatchObject({ fallback: "spare", patience: 30, fallback_on_account: true });
  });
});
