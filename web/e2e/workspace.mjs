// An agent that works in a folder of its own and asks another agent: a second
// deployment whose worker is a process of its own, as in production, with a
// workspace. Both agents have the same scripted model; which turn is due is read
// off what they have said.
//   DATA_DIR   set where a deployment may be started (.ci/with-dev)
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessibility, assert, check, narrow, reportViolations, shot, until, watch, wide } from "./browser.mjs";
import { deployment } from "./wizard.mjs";

// The investigator is done after the third turn; the agent that it asks may
// neither ask nor conclude, and answers in words.
const script = `
name: family
model: scripted
turns:
  - text: The host first, and a note of my own.
    calls:
      - tool: ssh_execute
        arguments: {target: demo-host, command: "df -h"}
      - tool: Bash
        arguments: {command: "seq 3 5"}
  - text: I read that again, and somebody else is to look at it.
    calls:
      - tool: Read
        arguments: {path: "../evidence/c1.txt"}
      - tool: ask_agent
        arguments: {agent: reviewer, task: "Does df show that a disk is full?", calls: [c1]}
  - text: That is enough.
    calls:
      - tool: submit_findings
        arguments: {summary: The disk was looked at., root_cause: What df shows., confidence: 0.7, evidence: [{call: c1}]}
  - text: "It holds: df shows it."
`;
const agents = `
agents:
  - id: investigator
    rules: ["allow:ssh_execute(df *)", "allow:Bash(seq *)", "allow:Read", "deny:*"]
    sub_agents: [reviewer]
  - id: reviewer
    rules: ["allow:ssh_execute(df *)", "ask:Bash(seq *)", "allow:Read", "deny:*"]
`;

/** Starts a worker with a workspace. */
async function worker(dir, facts, data) {
  const token = (await readFile(join(data, "state", "worker.token"), "utf8")).trim();
  const agent = spawn(new URL("../../bin/akmatori-agent", import.meta.url).pathname, [], {
    stdio: ["ignore", "ignore", "ignore"],
    env: {
      PATH: process.env.PATH,
      AKMATORI_API_URL: facts.AGENTS_URL,
      AKMATORI_WORKER_TOKEN: token,
      AKMATORI_OPS_LISTEN: "127.0.0.1:0",
      AKMATORI_WORKSPACE: join(dir, "runs"),
      AKMATORI_WORKSPACE_WITHOUT_LANDLOCK: "true", // where the kernel has none
    },
  });
  const ended = new Promise((done) => agent.once("close", done));
  return async () => {
    agent.kill("SIGTERM");
    await ended;
  };
}

export async function workspaceChecks({ browser }) {
  if (!process.env.DATA_DIR) {
    console.log("skip  agents that ask each other, and their workspaces: DATA_DIR is not set");
    return;
  }
  const dir = await mkdtemp(join(tmpdir(), "akmatori-family."));
  await chmod(dir, 0o711); // commands of an agent that is root are nobody's
  const ends = [() => rm(dir, { recursive: true, force: true })];
  const context = await browser.newContext({ viewport: wide, colorScheme: "light" });
  ends.push(() => context.close());
  await reportViolations(context);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  let watched;
  const call = (words) => page.locator("[data-call]").filter({ hasText: words }).first();
  try {
    await check("a call in an agent's workspace is decided on its incident, with who asked whom", async () => {
      await writeFile(join(dir, "script.yaml"), script);
      await writeFile(join(dir, "agents.yaml"), agents);
      const second = await deployment("--demo", "--no-worker", "--llm-script", join(dir, "script.yaml"), "--config", join(dir, "agents.yaml"));
      ends.push(second.stop);
      ends.push(await worker(dir, second.facts, second.data));
      const { facts } = second;
      watched = watch(page, facts.API_URL);
      await page.goto(`${facts.API_URL}/login?next=%2Fincidents%2F1`);
      await page.getByLabel("User name").fill(facts.ADMIN_USER);
      await page.getByRole("textbox", { name: "Password" }).fill(facts.ADMIN_PASSWORD);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL("**/incidents/1");
      const card = page.getByRole("article").filter({ hasText: "in its own workspace" });
      await card.waitFor({ timeout: 60_000 });
      assert((await card.getByLabel("What will run").innerText()).trim() === "seq 3 5", "it is another call");
      await card.getByText("investigator → reviewer", { exact: true }).waitFor();
      await card.getByText("agent reviewer", { exact: false }).first().waitFor();
      await page.getByText("Waiting for approval").first().waitFor();
      await accessibility(page);
      await shot(page, "workspace-asked-1440-light");
      await page.setViewportSize(narrow);
      await page.emulateMedia({ colorScheme: "dark" });
      assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "it is too wide for a phone");
      await shot(page, "workspace-asked-390-dark");
      await page.setViewportSize(wide);
      await page.emulateMedia({ colorScheme: "light" });
      await card.getByRole("button", { name: "Approve" }).click();
      const really = card.getByRole("button", { name: "Really approve" });
      await until("a decision, or a second press", async () => (await card.count()) === 0 || really.isVisible());
      if (await card.count()) await really.click();
      await card.waitFor({ state: "detached" });
      await page.getByText("Concluded", { exact: true }).first().waitFor({ timeout: 60_000 });
    });

    await check("who asked whom is a tree, and leads to the call", async () => {
      const tree = page.getByRole("region", { name: "Agents" });
      const reviewer = tree.getByRole("listitem").filter({ hasText: "reviewer" }).last();
      await reviewer.getByText("Does df show that a disk is full?").waitFor();
      assert((await tree.getByRole("listitem").count()) === 2, "it is not one below the other");
      assert((await tree.getByRole("listitem").first().innerText()).startsWith("investigator"), "the first is not the one that began");
      await reviewer.getByRole("link", { name: /that asked reviewer/ }).click();
      const asked = page.locator(`[id="${decodeURIComponent(new URL(page.url()).hash.slice(1))}"]`);
      await asked.waitFor();
      assert((await asked.getAttribute("data-call")) === "c4", "it leads to another call");
    });

    await check("calls of a workspace are rows with what they gave", async () => {
      const bash = call("seq 3 5");
      await bash.getByText("exit 0").waitFor();
      await bash.getByRole("button").first().click();
      await until("its output", async () => (await bash.locator("[data-n]").allInnerTexts()).map((l) => l.trim()).join(" ").includes("5"));
      assert(/3 lines/.test(await bash.innerText()), `it says: ${await bash.innerText()}`);
      const read = call("read ../evidence/c1.txt");
      await read.getByRole("button").first().click();
      await read.locator("[data-output], [data-n]").filter({ hasText: "Filesystem" }).first().waitFor();
      await accessibility(page);
      await shot(page, "workspace-calls-1440-light");
      await page.reload();
      await call("seq 3 5").waitFor();
      assert(watched.wrong.length === 0, watched.wrong.join("\n"));
    });
  } finally {
    for (const end of ends.reverse()) await end();
  }
}
