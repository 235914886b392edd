// The scripted incidents of the fake api: one that is over, with everything the
// page can show, and hostile text wherever text may come from outside.

const minute = 60_000;
const start = Date.now() - 14 * minute;
const at = (ms) => new Date(start + ms).toISOString();

const df = `Filesystem      Size  Used Avail Use% Mounted on
tmpfs           2.4G  1.1M  2.4G   1% /run
/dev/sda1        50G   50G     0 100% /
/dev/sdb1       200G   74G  117G  39% /var/lib/postgresql
tmpfs            12G     0   12G   0% /dev/shm
`;
const du = `41G\t/var/log/journal
2.1G\t/var/log/nginx
310M\t/var/log/apt
\u001b[31m!! \u001b[0mdu: cannot read directory '/var/log/private': Permission denied
`;
const journal = Array.from(
  { length: 240 },
  (_, i) =>
    `Nov 21 03:${String(Math.floor(i / 60)).padStart(2, "0")}:${String(i % 60).padStart(2, "0")} db-1 kernel: EXT4-fs warning (device sda1): ext4_dx_add_entry: Directory index full, inode ${1000 + i}${i === 200 ? "  # \u202egnp.exe \u001b[2J<img src=x onerror=alert(1)>" : ""}`,
).join("\n");

export const run = "01980000-0000-7000-8000-000000000001";
export const incidentId = "01980000-0000-7000-8000-0000000000a0";

const call = (id, tool, args, command, verdict, rule, result, started) => ({
  run_id: run,
  id,
  tool,
  arguments: args,
  target: args.target ?? "",
  command,
  verdict,
  rule,
  state: result?.state ?? "executing",
  result,
  created_at: at(started),
});
const done = (id, text, ms, target = "db-1", exit = 0) => ({ id, state: "done", text, exit_code: exit, duration_ns: ms * 1e6, target });

export const calls = [
  call("c1", "ssh_hosts", {}, "", "allow", "allow: ssh_hosts", { id: "c1", state: "done", text: "db-1  ssh  10.0.4.11\nweb-1 ssh  10.0.4.21\n", duration_ns: 4.2e6 }, 9_000),
  call("c2", "ssh_execute", { target: "db-1", command: "df -h" }, "df -h", "allow", "allow: ssh_execute(df *)", done("c2", df, 412), 15_000),
  call("c3", "ssh_execute", { target: "db-1", command: "du -xh --max-depth=1 /var/log | sort -rh | head -n 5" }, "du -xh --max-depth=1 /var/log | sort -rh | head -n 5", "allow", "allow: ssh_execute(du *)", done("c3", du, 2310, "db-1", 1), 15_100),
  call("c4", "ssh_execute", { target: "db-1", command: "journalctl --vacuum-size=1G" }, "journalctl --vacuum-size=1G", "deny", "", { id: "c4", state: "denied", text: "not run: no rule allows ssh_execute(journalctl --vacuum-size=1G), and nobody can be asked", duration_ns: 1.1e6, target: "db-1" }, 31_000),
  call("c5", "ssh_execute", { target: "db-1", command: "journalctl --no-pager -n 240" }, "journalctl --no-pager -n 240", "allow", "allow: ssh_execute(journalctl --no-pager -n *)", { ...done("c5", journal, 980), truncated: 18_204 }, 44_000),
];

export const finding = {
  summary: "The root file system of db-1 is full because the systemd journal has no size limit and holds 41 GB.",
  root_cause: "The systemd journal on db-1 grew to 41 GB and filled the 50 GB root file system.",
  confidence: 0.92,
  impact: "PostgreSQL's data lies on a file system of its own and is not affected yet; logins and log writes on db-1 fail.",
  evidence: [
    { call: "c2", excerpt: "/dev/sda1 50G 50G 0 100% /" },
    { call: "c3", excerpt: "41G /var/log/journal" },
  ],
  hypotheses: [
    { statement: "The journal is not limited and fills the disk.", verdict: "confirmed", evidence: [{ call: "c3", excerpt: "41G /var/log/journal" }] },
    { statement: "PostgreSQL's WAL piled up because a replica is away.", verdict: "refuted", evidence: [{ call: "c2", excerpt: "200G 74G 117G 39% /var/lib/postgresql" }] },
    { statement: "A deploy wrote large files to /tmp.", verdict: "open", evidence: [] },
  ],
  actions: [
    { title: "Shrink the journal to 1 GB.", target: "db-1", command: "sudo journalctl --vacuum-size=1G" },
    { title: "Limit the journal for good, then restart journald.", target: "db-1", command: "echo 'SystemMaxUse=1G' | sudo tee /etc/systemd/journald.conf.d/size.conf\nsudo systemctl restart systemd-journald\u200b" },
    { title: "Alert on the root file system of all database hosts at 85 %." },
  ],
  conclusive: true,
  dropped: ['hypothesis 3 cites "c9", which is no finished call of this run'],
};

const event = (seq, ms, kind, data, more = {}) => ({ incident_id: incidentId, seq, at: at(ms), kind, data, ...more });
const ofRun = { run_id: run };
const say = (seq, ms, turn, text, ids) =>
  event(seq, ms, "message", { turn, text, calls: ids.map((id) => ({ id, model_id: `call_${id}`, name: "ssh_execute", arguments: {} })), usage: { model: "scripted-1", input_tokens: 1800 * turn, output_tokens: 90 } }, ofRun);
const begin = (seq, ms, id) => {
  const c = calls.find((x) => x.id === id);
  return event(seq, ms, "tool.call", { id, name: c.tool, arguments: c.arguments }, ofRun);
};
const end = (seq, ms, id) => event(seq, ms, "tool.result", calls.find((x) => x.id === id).result, ofRun);

export const events = [
  event(1, 0, "incident.opened", { status: "triggered", severity: "critical", title: "Disk full on db-1" }),
  event(2, 0, "alert.firing", { alert_id: "a1", title: "NodeFilesystemFull", severity: "critical", host: "db-1" }),
  event(3, 20, "run.queued", { state: "queued" }, ofRun),
  event(4, 1_800, "run.started", { state: "running", worker: "agent-7f3c", epoch: 1 }, ofRun),
  event(5, 4_000, "text.delta", { turn: 1, text: "I will first see which hosts" }, ofRun),
  event(6, 4_200, "text.delta", { turn: 1, text: " I can reach." }, ofRun),
  say(7, 8_900, 1, "I will first see which hosts I can reach.", ["c1"]),
  begin(8, 9_000, "c1"),
  end(9, 9_010, "c1"),
  say(10, 14_900, 2, "`db-1` is in the inventory. The alert says that its **root file system** is full, so I look at two things at once:\n\n- how full each file system is\n- what takes the space under `/var/log`\n\n<script>alert(1)</script> ![x](http://evil.example/x.png) [a link](https://example.com/runbook)", ["c2", "c3"]),
  begin(11, 15_000, "c2"),
  begin(12, 15_100, "c3"),
  event(13, 15_200, "tool.output", { id: "c2", text: df.slice(0, 120) }, ofRun),
  end(14, 15_450, "c2"),
  end(15, 17_500, "c3"),
  say(16, 30_900, 3, "The journal holds 41 GB. I would like to shrink it, if I may.", ["c4"]),
  begin(17, 31_000, "c4"),
  end(18, 31_002, "c4"),
  event(19, 31_500, "notice", { text: "the model's endpoint answered 529; trying again in 2 s" }, ofRun),
  say(20, 43_900, 4, "That is not allowed, which is fine: it is for a person to do. I look at the journal itself once.", ["c5"]),
  begin(21, 44_000, "c5"),
  end(22, 45_000, "c5"),
  event(23, 62_000, "findings", finding, ofRun),
  event(24, 62_100, "run.ended", { state: "concluded" }, ofRun),
];

export const concluded = {
  id: incidentId,
  number: 42,
  title: "NodeFilesystemFull on db-1: / is 100 % full",
  severity: "critical",
  status: "triggered",
  investigation: "concluded",
  source_id: "s1",
  source: "alertmanager-prod",
  service: "postgres",
  alert_count: 2,
  firing_count: 1,
  opened_at: at(0),
  updated_at: at(62_100),
  run_id: run,
  last_seq: 24,
};

export const runs = [{ id: run, incident_id: incidentId, agent: "investigator", state: "concluded", epoch: 1, worker: "agent-7f3c", created_at: at(20), started_at: at(1_800), ended_at: at(62_100) }];

export const alerts = [
  { id: "a1", identity: "3f2a", status: "firing", at: at(0), starts_at: at(-5 * minute), severity: "critical", title: "NodeFilesystemFull", summary: "/ on db-1 is 100 % full", description: "The file system has no space left. Writes fail.", host: "db-1", labels: { alertname: "NodeFilesystemFull", instance: "db-1:9100", mountpoint: "/", severity: "critical", team: "dba" }, links: [{ kind: "generator", url: "http://prometheus.example:9090/graph?g0" }, { kind: "runbook", url: "javascript:alert(1)" }], count: 4, first_seen: at(0), last_seen: at(9 * minute) },
  { id: "a2", identity: "9b1c", status: "resolved", at: at(minute), starts_at: at(-2 * minute), ends_at: at(minute), severity: "warning", title: "JournaldDropping\u202edetnuom", host: "db-1", labels: { alertname: "JournaldDropping" }, count: 1 },
];

const titles = [
  ["HTTP 5xx ratio above 2 % on checkout", "high", "checkout", "acknowledged", "running"],
  ["Replication lag of pg-replica-2 is 94 s", "warning", "postgres", "triggered", "queued"],
  ["Certificate of api.example.com expires in 6 days", "info", "edge", "acknowledged", "inconclusive"],
  ["KubePodCrashLooping payments-worker-6d9f", "high", "payments", "triggered", "failed"],
  ["Node memory pressure on web-1", "warning", "web", "resolved", "concluded"],
  ["Queue depth of emails above 50,000", "warning", "mail", "resolved", "cancelled"],
  ["Latency p99 of search above 2 s", "high", "search", "closed", "concluded"],
  ["Manual: customers report slow exports", "info", "", "closed", ""],
];

export function fillers(count, from = 41) {
  return Array.from({ length: count }, (_, i) => {
    const [title, severity, service, status, investigation] = titles[i % titles.length];
    return {
      id: `01980000-0000-7000-9000-${String(i).padStart(12, "0")}`,
      number: from - i,
      title,
      severity,
      service,
      status,
      investigation,
      investigation_reason: investigation === "failed" ? "the model could not be reached (3 tries)" : "",
      source: i % titles.length === 7 ? "" : "alertmanager-prod",
      alert_count: 1 + ((i * 7) % 5),
      firing_count: status === "resolved" || status === "closed" ? 0 : 1,
      opened_at: at(-(i + 1) * 23 * minute),
      updated_at: at(-i * 23 * minute),
      last_seq: 0,
    };
  });
}
