import type { components } from "./schema";

/** The api's types by short names; schema.d.ts is generated from its description (`npm run types`). */

type Schemas = components["schemas"];
export type Body<Name extends keyof Schemas> = Schemas[Name];

export type Incident = Schemas["Incident"];
export type Facets = Schemas["Facets"];
export type FacetValue = Schemas["FacetValue"];
export type BulkItem = Schemas["BulkItem"];
export type View = Schemas["View"];
export type ViewFilter = Schemas["ViewFilter"];
export type Alert = Schemas["Alert"];
export type Run = Schemas["Run"];
export type ToolCall = Schemas["ToolCall"];
export type ToolResult = Schemas["ToolResult"];
export type Finding = Schemas["Finding"];
export type Citation = Schemas["Citation"];
export type Action = Schemas["Action"];
export type RunFinding = Schemas["StoredFinding"];
export type Feedback = Schemas["Feedback"];
export type Memory = Schemas["Memory"];
export type MemoryRule = Schemas["MemoryRule"];
export type SimilarIncident = Schemas["SimilarIncident"];
export type Source = Schemas["Source"];
export type Target = Schemas["ShownTarget"];
export type HostKey = Schemas["HostKey"];
export type HostKeyScan = Schemas["HostKeyScan"];
export type Credential = Schemas["Credential"];
export type Provider = Schemas["ProviderView"];
export type ProviderKind = Schemas["NewProviderBody"]["kind"];
export type ProviderTest = Schemas["ProviderTest"];
export type Model = Schemas["Model"];
export type Approval = Schemas["Approval"];
export type Grant = Schemas["ApprovalGrant"];
export type APIToken = Schemas["APIToken"];
export type User = Schemas["User"];
export type GroupingRule = Schemas["GroupingRule"];
export type GroupingPreview = Schemas["GroupingPreview"];
export type MaintenanceWindow = Schemas["MaintenanceWindow"];
export type Account = Schemas["Account"];
export type Role = Schemas["Role"];
export type ServiceActor = Schemas["ServiceActor"];
export type Agent = Schemas["AgentView"];
export type Skill = Schemas["Skill"];
export type SkillView = Schemas["SkillView"];
export type Runbook = Schemas["Runbook"];
export type Explanation = Schemas["Explanation"];
export type DryRun = Schemas["DryRun"];
export type Gatekeeper = Schemas["Gatekeeper"];
export type Review = Schemas["Review"];
export type Session = Schemas["ShownSession"];
export type AuditRecord = Schemas["AuditRecord"];
export type AuditChain = Schemas["AuditChain"];

export type Dashboard = Schemas["Dashboard"];
export type FeedAlert = Schemas["FeedAlert"];
export type System = Schemas["SystemReport"];
export type Process = Schemas["Process"];
export type Setup = Schemas["SetupState"];
export type SetupStep = Schemas["SetupStep"];
export type DayUsage = Schemas["DayUsage"];
export type UsagePart = Schemas["UsagePart"];
export type Budget = Schemas["Budget"];
export type ServiceChange = Schemas["Change"];

export type Severity = Incident["severity"];
export type IncidentStatus = Incident["status"];
export type RunState = Run["state"];
export type Verdict = Schemas["Hypothesis"]["verdict"];

export interface Page<T> {
  items: T[];
  next_cursor: string;
}

/** The data of each kind of timeline event. By hand: it travels as raw JSON in the description. */
export interface EventData {
  "incident.opened": IncidentChange;
  "incident.resolved": IncidentChange;
  "incident.reopened": IncidentChange;
  "incident.changed": IncidentChange;
  "incident.merged": IncidentChange;
  "incident.split": IncidentChange;
  "alert.firing": AlertChange;
  "alert.acknowledged": AlertChange;
  "alert.updated": AlertChange;
  "alert.resolved": AlertChange;
  "run.queued": RunChange;
  "run.started": RunChange;
  "run.requeued": RunChange;
  "run.parked": RunChange;
  "run.ended": RunChange;
  "approval.requested": ApprovalChange;
  "approval.decided": ApprovalChange;
  "person.said": { text: string };
  feedback: Feedback;
  "text.delta": { turn: number; text: string };
  reasoning: { turn: number; text: string };
  message: { turn: number; text?: string; reasoning?: string; calls?: ToolUse[] | null; usage?: Usage };
  "tool.call": ToolUse;
  "tool.output": { id: string; text: string };
  "tool.result": ToolResult;
  notice: { text: string };
  findings: Finding;
  briefing: { text: string };
  applied: { seq: number };
  compaction: Compaction;
  "agent.asked": AgentAsked;
}

/** A run has asked for another one, by its call. */
export interface AgentAsked {
  call_id: string;
  run: string;
  agent: string;
  task: string;
  depth: number;
}

export interface IncidentChange {
  status?: IncidentStatus;
  severity?: Severity;
  title?: string;
  reason?: string;
}

export interface AlertChange {
  alert_id: string;
  title: string;
  severity: Severity;
  host?: string;
  summary?: string;
  reason?: string;
}

export interface RunChange {
  state: RunState;
  worker?: string;
  epoch?: number;
  reason?: string;
}

export interface ApprovalChange {
  approval_id: string;
  call_id: string;
  tool: string;
  target?: string;
  command?: string;
  risk?: Approval["risk"];
  state: Approval["state"];
  by?: string;
  reason?: string;
}

export interface ToolUse {
  id: string;
  name: string;
  arguments?: unknown;
}

export interface Usage {
  model?: string;
  input_tokens: number;
  output_tokens: number;
  /** In US dollars; missing if nobody knows. */
  cost_usd?: number | null;
}

/** From here on the model is shown less of what was. */
export interface Compaction {
  turns: number;
  output: number;
  summary?: string;
  usage?: Usage | null;
  before: number;
  after: number;
}

interface EventHead {
  incident_id: string;
  seq: number;
  at: string;
  run_id?: string;
  actor?: string;
}

/** One entry of an incident's timeline, told apart by kind. */
export type TimelineEvent = { [K in keyof EventData]: EventHead & { kind: K; data: EventData[K] } }[keyof EventData];
