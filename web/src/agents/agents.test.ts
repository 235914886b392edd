import { describe, expect, it } from "vitest";
import type { Agent } from "../api/types";
import { argumentsOf, bodyOf, draftOf, effectText, faultyLine, linesOf, namesOf } from "./agents";

const agent: Agent = {
  id: "shopper",
  description: "d",
  prompt: "p",
  rules: ["allow:ssh_hosts", "deny:*"],
  tools: ["ssh_*"],
  skills: ["*"],
  sub_agents: ["reviewer", "summarizer"],
  targets: ["web-*"],
  credentials: ["web-login"],
  limits: { steps: 3, seconds: 90, usd: 2, output_chars: 5 },
  built_in: false,
  starter: false,
  created_at: "2026-01-01T00:00:00Z",
  updated_at: "2026-01-01T00:00:00Z",
  warnings: [],
};

describe("an agent as texts", () => {
  it("comes back as it was, with what has no field", () => {
    expect(draftOf(agent).rules).toBe("allow:ssh_hosts\ndeny:*");
    expect(bodyOf(draftOf(agent), agent)).toEqual({
      description: "d",
      prompt: "p",
      provider: "",
      rules: agent.rules,
      tools: agent.tools,
      skills: agent.skills,
      sub_agents: agent.sub_agents,
      targets: agent.targets,
      credentials: agent.credentials,
      limits: { steps: 3, tool_calls: 0, seconds: 90, usd: 2, tokens: 0, output_chars: 5 },
    });
  });
  it("has a rule a line and names between blanks", () => {
    expect(linesOf(" a \n\n b\n")).toEqual(["a", "b"]);
    expect(namesOf("a, b  a\nc")).toEqual(["a", "b", "c"]);
  });
});

describe("the faulty line", () => {
  it("is found behind blank ones", () => {
    expect(faultyLine("rule 2: rules[1]: it has no colon", "a\n\nb\nc")).toBe(2);
    expect(faultyLine("rules[0]: x", "\n\na")).toBe(2);
    expect(faultyLine("rules[7]: x", "a")).toBe(-1);
    expect(faultyLine("provider: x", "a")).toBe(-1);
  });
});

describe("a call to try", () => {
  it("is the command, or an object", () => {
    expect(argumentsOf("ssh_execute", "df -h")).toEqual({ command: "df -h" });
    expect(argumentsOf("ssh_execute", '{"command":"df","target":"a"}')).toEqual({ command: "df", target: "a" });
    expect(argumentsOf("zabbix_api", "host.get")).toEqual({ method: "host.get" });
    expect(argumentsOf("ssh_hosts", "")).toEqual({});
    expect(argumentsOf("http_request", "[1]")).toBeUndefined();
    expect(argumentsOf("http_request", "x")).toBeUndefined();
  });
  it("has an effect in words", () => {
    expect(effectText("destroys")).toBe("Destroys data");
    expect(effectText("later")).toBe("later");
  });
});
