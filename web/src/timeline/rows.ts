import type {
  AgentAsked,
  AlertChange,
  ApprovalChange,
  Compaction,
  EventData,
  Feedback,
  Finding,
  IncidentChange,
  RunChange,
  TimelineEvent,
  ToolResult,
  ToolUse,
  Usage,
} from "../api/types";

/**
 * What the timeline shows. A row is replaced, never changed, when an event adds
 * to it, so that a row that is the same object need not be drawn again.
 */
export type Row = IncidentRow | AlertRow | RunRow | ApprovalRow | TextRow | CallRow | NoticeRow | FindingsRow | SaidRow | FeedbackRow | BriefingRow | CompactionRow | ThoughtRow;

interface RowHead {
  /** One row's alone; it never changes. */
  key: string;
  /** The event that made the row. */
  seq: number;
  at: string;
  runId: string;
}

export interface IncidentRow extends RowHead {
  row: "incident";
  kind: "incident.opened" | "incident.resolved" | "incident.reopened" | "incident.changed" | "incident.merged" | "incident.split";
  actor: string;
  change: IncidentChange;
}
export interface AlertRow extends RowHead {
  row: "alert";
  kind: "alert.firing" | "alert.acknowledged" | "alert.updated" | "alert.resolved";
  alert: AlertChange;
}
export interface RunRow extends RowHead {
  row: "run";
  kind: "run.queued" | "run.started" | "run.requeued" | "run.parked" | "run.ended";
  actor: string;
  change: RunChange;
}
export interface ApprovalRow extends RowHead {
  row: "approval";
  kind: "approval.requested" | "approval.decided";
  change: ApprovalChange;
}
/** What the model wrote in one turn. Open while it still writes. */
export interface TextRow extends RowHead {
  row: "text";
  turn: number;
  text: string;
  open: boolean;
  /** The writer was lost in mid-sentence; the turn was written again below. */
  interrupted: boolean;
}
export interface CallRow extends RowHead {
  row: "call";
  id: string;
  name: string;
  arguments: unknown;
  /** False while it waits for its turn, and for ever if it was refused. */
  started: boolean;
  /** People are asked about it, and have not decided. */
  asks: boolean;
  /** Output seen while it runs; the tail only, since the result brings all of it. */
  live: string;
  result: ToolResult | null;
  /** The run that it has asked for, if it is a call of another agent. */
  asked: AgentAsked | null;
}
export interface NoticeRow extends RowHead {
  row: "notice";
  text: string;
}
export interface FindingsRow extends RowHead {
  row: "findings";
  finding: Finding;
}

/** What a person said to the agent. */
export interface SaidRow extends RowHead {
  row: "said";
  actor: string;
  text: string;
  /** The agent has it before its eyes. */
  read: boolean;
}
export interface FeedbackRow extends RowHead {
  row: "feedback";
  feedback: Feedback;
}
/** What the agent was told of the incident. */
export interface BriefingRow extends RowHead {
  row: "briefing";
  text: string;
}
export interface CompactionRow extends RowHead {
  row: "compaction";
  compaction: Compaction;
}

/** What the model showed of its thinking in one turn. */
export interface ThoughtRow extends RowHead {
  row: "thought";
  text: string;
}

/** What the model's turns took; unpriced are those whose price nobody knows. */
export interface Spent extends Usage {
  cost_usd: number;
  unpriced: number;
}

export interface Timeline {
  rows: Row[];
  lastSeq: number;
  usage: Spent;
  /** The call that has asked for a run, by that run's id. */
  askedBy: ReadonlyMap<string, string>;
}

export const emptyTimeline: Timeline = { rows: [], lastSeq: 0, askedBy: new Map(), usage: { input_tokens: 0, output_tokens: 0, cost_usd: 0, unpriced: 0 } };

/** How much of a running call's output is kept. The beginning goes first. */
const liveLimit = 64 * 1024;

export function callKey(runId: string, callId: string): string {
  return `call-${runId}-${callId}`;
}

/** The rows that stand for themselves, and those that are folded under the call that has asked for their run. */
export function folded({ rows, askedBy }: Pick<Timeline, "rows" | "askedBy">): { top: Row[]; below: ReadonlyMap<string, Row[]> } {
  if (askedBy.size === 0) return { top: rows, below: new Map() };
  const top: Row[] = [];
  const below = new Map<string, Row[]>();
  for (const row of rows) {
    const call = askedBy.get(row.runId);
    if (call === undefined) {
      top.push(row);
      continue;
    }
    const list = below.get(call);
    if (list) list.push(row);
    else below.set(call, [row]);
  }
  return { top, below };
}

/** The agent's own tool: its accepted call is the findings, so only a refused one has a row. */
const submitFindings = "submit_findings";

/**
 * Folds events into rows: the pieces of one turn grow one block, which the
 * final message replaces; a call, its output and its result are one row. The
 * calls of a turn stand in the order in which the model made them, however
 * they come to run. It holds the index that makes each event O(1).
 */
export class RowBuilder {
  private rows: Row[] = [];
  private readonly place = new Map<string, number>();
  /** The open text block of each run. */
  private readonly writing = new Map<string, string>();
  /** Runs whose next piece of text starts over. */
  private readonly restart = new Set<string>();
  /** Calls that were made in a message and have no row. */
  private readonly unshown = new Map<string, ToolUse>();
  private lastSeq = 0;
  private askedBy: ReadonlyMap<string, string> = emptyTimeline.askedBy;
  private usage: Spent = emptyTimeline.usage;

  add(events: TimelineEvent[]): Timeline {
    this.rows = this.rows.slice();
    for (const event of events) {
      if (event.seq <= this.lastSeq) continue;
      this.lastSeq = event.seq;
      this.one(event);
    }
    return { rows: this.rows, lastSeq: this.lastSeq, usage: this.usage, askedBy: this.askedBy };
  }

  private one(event: TimelineEvent): void {
    const runId = event.run_id ?? "";
    const head = { key: `e${event.seq}`, seq: event.seq, at: event.at, runId };
    const actor = event.actor ?? "";
    switch (event.kind) {
      case "incident.opened":
      case "incident.resolved":
      case "incident.reopened":
      case "incident.changed":
      case "incident.merged":
      case "incident.split":
        return this.put({ ...head, row: "incident", kind: event.kind, actor, change: event.data });
      case "alert.firing":
      case "alert.acknowledged":
      case "alert.updated":
      case "alert.resolved":
        return this.put({ ...head, row: "alert", kind: event.kind, alert: event.data });
      case "run.queued":
        return this.put({ ...head, row: "run", kind: event.kind, actor, change: event.data });
      case "run.started":
      case "run.requeued":
      case "run.parked":
      case "run.ended":
        this.interrupt(runId);
        return this.put({ ...head, row: "run", kind: event.kind, actor, change: event.data });
      case "approval.requested":
      case "approval.decided":
        if (this.find(callKey(runId, event.data.call_id))) this.call(head, event.data.call_id, { asks: event.data.state === "pending" });
        return this.put({ ...head, row: "approval", kind: event.kind, change: event.data });
      case "text.delta":
        return this.write(head, event.data.turn, event.data.text);
      case "reasoning":
        return this.think(head, event.data.turn, event.data.text, true);
      case "message":
        if (event.data.reasoning) this.think(head, event.data.turn, event.data.reasoning, false);
        return this.message(head, event.data);
      case "tool.call":
        return this.call(head, event.data.id, { name: event.data.name, arguments: event.data.arguments, started: true, at: event.at });
      case "tool.output": {
        const before = this.find(callKey(runId, event.data.id));
        const live = (before?.row === "call" ? before.live : "") + event.data.text;
        return this.call(head, event.data.id, { live: live.length > liveLimit ? live.slice(-liveLimit) : live });
      }
      case "tool.result":
        return this.call(head, event.data.id, { result: event.data, live: "" });
      case "notice":
        // A notice in the middle of a turn means that it is being tried again.
        if (this.writing.has(runId)) this.restart.add(runId);
        return this.put({ ...head, row: "notice", text: event.data.text });
      case "findings":
        return this.put({ ...head, row: "findings", finding: event.data });
      case "person.said":
        return this.put({ ...head, row: "said", actor, text: event.data.text, read: false });
      case "applied": {
        const said = this.find(`e${event.data.seq}`);
        if (said?.row === "said") this.put({ ...said, read: true });
        return;
      }
      case "feedback":
        return this.put({ ...head, row: "feedback", feedback: event.data });
      case "briefing":
        return this.put({ ...head, row: "briefing", text: event.data.text });
      case "agent.asked":
        this.askedBy = new Map(this.askedBy).set(event.data.run, callKey(runId, event.data.call_id));
        return this.call(head, event.data.call_id, { asked: event.data });
      case "compaction":
        this.spend(event.data.usage);
        return this.put({ ...head, row: "compaction", compaction: event.data });
    }
    // A kind that this page does not know yet: newer servers may send more.
  }

  private think(head: RowHead, turn: number, text: string, more: boolean): void {
    const key = `thought-${head.runId}-${turn}`;
    const before = this.find(key);
    if (before?.row !== "thought") return this.put({ ...head, key, row: "thought", text });
    this.put({ ...before, text: (more && !this.restart.has(head.runId) ? before.text : "") + text });
  }

  private write(head: RowHead, turn: number, text: string): void {
    const open = this.writing.get(head.runId);
    const before = open === undefined ? undefined : this.find(open);
    if (before?.row === "text" && before.turn === turn) {
      const kept = this.restart.delete(head.runId) ? "" : before.text;
      return this.put({ ...before, text: kept + text });
    }
    this.interrupt(head.runId);
    this.put({ ...head, row: "text", turn, text, open: true, interrupted: false });
    this.writing.set(head.runId, head.key);
  }

  private message(head: RowHead, message: EventData["message"]): void {
    this.said(head, message.turn, message.text ?? "");
    for (const use of message.calls ?? []) {
      if (use.name === submitFindings) this.unshown.set(callKey(head.runId, use.id), use);
      else this.call(head, use.id, { name: use.name, arguments: use.arguments });
    }
    this.spend(message.usage);
  }

  private spend(usage: Usage | null | undefined): void {
    if (!usage) return;
    this.usage = {
      model: usage.model || this.usage.model,
      input_tokens: this.usage.input_tokens + usage.input_tokens,
      output_tokens: this.usage.output_tokens + usage.output_tokens,
      cost_usd: this.usage.cost_usd + (usage.cost_usd ?? 0),
      unpriced: this.usage.unpriced + (usage.cost_usd == null ? 1 : 0),
    };
  }

  private said(head: RowHead, turn: number, text: string): void {
    const open = this.writing.get(head.runId);
    const before = open === undefined ? undefined : this.find(open);
    this.writing.delete(head.runId);
    this.restart.delete(head.runId);
    if (before?.row === "text" && before.turn === turn) {
      return this.put({ ...before, text, open: false });
    }
    if (text.trim() !== "") this.put({ ...head, row: "text", turn, text, open: false, interrupted: false });
  }

  private call(head: RowHead, id: string, change: Partial<CallRow>): void {
    const key = callKey(head.runId, id);
    const before = this.find(key);
    if (before?.row === "call") {
      // Started again after a restart: what it printed before does not count.
      const live = change.started ? "" : before.live;
      return this.put({ ...before, live, ...change });
    }
    const use = this.unshown.get(key);
    this.unshown.delete(key);
    const blank = { name: use?.name ?? "", arguments: use?.arguments, started: false, asks: false, live: "", result: null, asked: null };
    this.put({ ...head, key, row: "call", id, ...blank, ...change });
  }

  private interrupt(runId: string): void {
    const open = this.writing.get(runId);
    this.writing.delete(runId);
    this.restart.delete(runId);
    const before = open === undefined ? undefined : this.find(open);
    if (before?.row === "text") this.put({ ...before, open: false, interrupted: true });
  }

  private find(key: string): Row | undefined {
    const at = this.place.get(key);
    return at === undefined ? undefined : this.rows[at];
  }

  private put(row: Row): void {
    const at = this.place.get(row.key);
    if (at !== undefined) {
      this.rows[at] = row;
      return;
    }
    this.place.set(row.key, this.rows.length);
    this.rows.push(row);
  }
}
