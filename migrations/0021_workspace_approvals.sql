-- +goose Up

-- Calls in the folder of a run are asked about by the api, for a worker. They are
-- of a kind of their own, which the gateway neither sees nor uses, as the api asks
-- for none of the gateway's.
ALTER TABLE approvals ADD COLUMN kind text NOT NULL DEFAULT 'gateway' CHECK (kind IN ('gateway', 'workspace'));
CREATE INDEX approvals_of_workspace ON approvals (run_id, call_id) WHERE kind = 'workspace';
-- The claim of the run that has the right to make the call.
ALTER TABLE approval_uses ADD COLUMN epoch int;

GRANT INSERT (id, run_id, call_id, incident_id, agent, requester, tool, target, command, arguments, subject, digest,
    risk, effect, reasons, facts, needed, created_at, expires_at, kind, token_id) ON approvals TO akmatori_api;
GRANT INSERT (kind) ON approvals TO akmatori_gateway;
GRANT INSERT (approval_id, at, epoch) ON approval_uses TO akmatori_api;

ALTER TABLE approvals ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_read ON approvals FOR SELECT TO akmatori_api USING (true);
CREATE POLICY api_decide ON approvals FOR UPDATE TO akmatori_api USING (true) WITH CHECK (true);
CREATE POLICY api_ask ON approvals FOR INSERT TO akmatori_api WITH CHECK (kind = 'workspace' AND run_id IS NOT NULL AND state = 'pending');
CREATE POLICY gateway_read ON approvals FOR SELECT TO akmatori_gateway USING (kind = 'gateway');
CREATE POLICY gateway_ask ON approvals FOR INSERT TO akmatori_gateway WITH CHECK (kind = 'gateway' AND state = 'pending');

ALTER TABLE approval_uses ENABLE ROW LEVEL SECURITY;
CREATE POLICY api_read ON approval_uses FOR SELECT TO akmatori_api USING (true);
-- None at all is for the constraint behind to refuse.
CREATE POLICY api_use ON approval_uses FOR INSERT TO akmatori_api
    WITH CHECK (approval_id IS NULL OR epoch IS NOT NULL AND EXISTS (SELECT FROM approvals a WHERE a.id = approval_id AND a.kind = 'workspace'));
CREATE POLICY gateway_read ON approval_uses FOR SELECT TO akmatori_gateway USING (true);
CREATE POLICY gateway_use ON approval_uses FOR INSERT TO akmatori_gateway
    WITH CHECK (approval_id IS NULL OR EXISTS (SELECT FROM approvals a WHERE a.id = approval_id AND a.kind = 'gateway'));

-- +goose Down
SELECT 1;
