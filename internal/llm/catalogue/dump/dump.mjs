// Prints models.json: what this program needs to know of the models that its
// vendors sell, from the data set of @pydantic/genai-prices. It stops at
// anything that models.go could not read as it is meant.
import { findProvider } from "@pydantic/genai-prices";

const kinds = ["openai", "anthropic", "google", "openrouter"];
const fields = { in: "input_mtok", out: "output_mtok", cached: "cache_read_mtok", write: "cache_write_mtok" };

// Models that hold no conversation in text.
const other = /(^|[-/:])(audio|dall-e|embedding|image|live|realtime|transcribe|tts|vision|whisper)([-:]|$)/;

function fail(model, what) {
  throw new Error(`${model.id}: ${what}`);
}

// Go's regular expressions look nowhere ahead: "does not contain" is a rule of its own.
function match(model, rule) {
  const [[op, value]] = Object.entries(rule);
  switch (op) {
    case "or":
    case "and":
      return { [op]: value.map((r) => match(model, r)) };
    case "regex": {
      const not = /^\^\(\?!(.*)\)$/.exec(value);
      const expression = not ? not[1].replace(/\(\?:/g, "(") : value;
      if (/\(\?/.test(expression)) fail(model, `a regular expression that is not understood: ${value}`);
      return not ? { not: { regex: `^(${expression})` } } : { regex: value };
    }
    case "equals":
    case "starts_with":
    case "ends_with":
    case "contains":
      return { [op]: value.toLowerCase() };
  }
  return fail(model, `an unknown rule ${op}`);
}

function price(model, from, prices) {
  const out = from ? { from } : {};
  let above;
  for (const [name, field] of Object.entries(fields)) {
    const p = prices[field];
    if (p === undefined) continue;
    if (typeof p === "number") {
      out[name] = p;
      continue;
    }
    if (p.tiers.length !== 1) fail(model, `${p.tiers.length} tiers`);
    out[name] = p.base;
    above ??= { tokens: p.tiers[0].start };
    if (above.tokens !== p.tiers[0].start) fail(model, "tiers that begin at several sizes");
    above[name] = p.tiers[0].price;
  }
  if (above) {
    for (const name of Object.keys(fields)) if (out[name] !== undefined) above[name] ??= out[name];
    out.above = above;
  }
  return out;
}

function entry(model) {
  const dated = Array.isArray(model.prices) ? model.prices : [{ prices: model.prices }];
  const prices = dated.map(({ constraint, prices }) => {
    if (constraint && constraint.type !== "start_date") fail(model, `an unknown constraint ${constraint.type}`);
    return price(model, constraint?.start_date, prices);
  });
  const rule = match(model, model.match);
  return {
    id: model.id,
    ...(model.name && model.name !== model.id ? { name: model.name } : {}),
    ...(model.context_window ? { window: model.context_window } : {}),
    ...(rule.equals === model.id.toLowerCase() ? {} : { match: rule }),
    prices,
  };
}

const tables = kinds.map((kind) => {
  const models = findProvider({ providerId: kind }).models.filter(({ id, prices }) => {
    const first = Array.isArray(prices) ? prices[0].prices : prices;
    const free = Object.keys(first).length === 0;
    return !other.test(id) && (free || first[fields.out] !== undefined);
  });
  return `"${kind}": [\n${models.map((m) => JSON.stringify(entry(m))).join(",\n")}\n]`;
});
console.log(`{\n${tables.join(",\n")}\n}`);
