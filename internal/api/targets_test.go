package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// TestTargetIsChanged: what is said of a target is judged as if it were created,
// it keeps its name, and another place has no key until somebody has accepted one.
func TestTargetIsChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	ids := map[string]string{}
	for _, step := range []struct {
		path string
		body body
	}{
		{"credentials", body{"name": "key", "kind": "ssh_key", "secret": pemKey, "targets": []string{"*"}}},
		{"credentials", body{"name": "llm", "kind": "llm_key", "secret": "sk-x", "targets": []string{"*"}}},
		{"credentials", body{"name": "zt", "kind": "zabbix_token", "secret": "t", "targets": []string{"*"}}},
		{"credentials", body{"name": "zp", "kind": "zabbix_password", "secret": "p", "targets": []string{"*"}}},
		{"targets", body{"name": "gate", "kind": "ssh", "address": "gate", "user": "ops", "host_key": edKey}},
		{"targets", body{"name": "db1", "kind": "ssh", "address": "db1", "user": "ops", "host_key": edKey, "credential": "key", "jump": "gate", "labels": body{"env": "prod"}}},
		{"targets", body{"name": "zbx", "kind": "zabbix", "url": "https://zabbix.example/zabbix", "credential": "zt"}},
	} {
		a := r.call("POST", "/api/v1/"+step.path, step.body)
		require.Equal(t, 201, a.status, "%v: %s", step.body, a.body)
		var made struct{ ID string }
		a.into(t, &made)
		ids[fmt.Sprint(step.body["name"])] = made.ID
	}
	get := func(name string) ops.Target {
		t.Helper()
		one, err := r.db.Target(t.Context(), ids[name])
		require.NoError(t, err)
		one.CreatedAt = one.CreatedAt.UTC()
		return one
	}
	tested := func(name string) (yes bool) {
		t.Helper()
		require.NoError(t, r.db.Pool().QueryRow(t.Context(), `SELECT tested_at IS NOT NULL FROM targets WHERE name = $1`, name).Scan(&yes))
		return yes
	}

	for _, step := range []struct {
		name string
		body body
		want int
		says string // of a refusal; else address:port user credential jump, and whether a key is pinned and the last test counts
	}{
		{"db1", body{}, 200, "db1:22 ops key gate true true"},
		{"db1", body{"labels": body{"env": "dev", "team": "shop"}}, 200, "db1:22 ops key gate true true"},
		{"db1", body{"user": "reader"}, 200, "db1:22 reader key gate true false"},
		{"db1", body{"credential": ""}, 200, "db1:22 reader  gate true false"},
		{"db1", body{"port": 2222}, 200, "db1:2222 reader  gate false false"},
		{"db1", body{"host_key": edKey + " comment", "credential": "key"}, 200, "db1:2222 reader key gate true false"},
		{"db1", body{"address": "db9", "host_key": edKey}, 200, "db9:2222 reader key gate true false"},
		{"db1", body{"address": "10.0.0.9"}, 200, "10.0.0.9:2222 reader key gate false false"},
		{"db1", body{"host_key": edKey}, 200, "10.0.0.9:2222 reader key gate true false"},
		{"db1", body{"jump": ""}, 200, "10.0.0.9:2222 reader key  false false"},
		{"db1", body{"jump": "gate", "host_key": edKey}, 200, "10.0.0.9:2222 reader key gate true false"},
		{"db1", body{"name": "db7"}, 422, "unexpected property"},
		{"db1", body{"kind": "zabbix"}, 422, "unexpected property"},
		{"db1", body{"address": ""}, 422, "address"},
		{"db1", body{"address": "-oProxyCommand=x y"}, 422, "address"},
		{"db1", body{"port": 0}, 422, "port"},
		{"db1", body{"user": ""}, 422, "needs address and user"},
		{"db1", body{"url": "https://x"}, 422, "not of a host for ssh"},
		{"db1", body{"credential": "llm"}, 422, "ssh_key or ssh_password"},
		{"db1", body{"host_key": "db3 " + edKey}, 422, "line 1 of host_key"},
		{"db1", body{"jump": "nowhere"}, 422, "names no target"},
		{"db1", body{"jump": "zbx"}, 422, "is no host for ssh"},
		{"db1", body{"jump": "db1"}, 422, "must not be its own jump host"},
		{"gate", body{"jump": "db1"}, 422, "must not be its own jump host"},
		{"db1", body{"labels": body{"k": strings.Repeat("x", 1001)}}, 422, "label"},
		{"zbx", body{"url": "https://zabbix.example:8443/z"}, 200, "zabbix.example:8443  zt  false false"},
		{"zbx", body{"credential": "zp"}, 422, "needs a user"},
		{"zbx", body{"credential": "zp", "user": "reader"}, 200, "zabbix.example:8443 reader zp  false false"},
		{"zbx", body{"credential": "zt", "user": ""}, 200, "zabbix.example:8443  zt  false false"},
		{"zbx", body{"address": "x"}, 422, "give its url"},
		{"zbx", body{"host_key": edKey}, 422, "give its url"},
		{"zbx", body{"ca": "nonsense"}, 422, "PEM"},
	} {
		if step.want == 200 && strings.HasSuffix(step.says, "true true") {
			require.NoError(t, r.db.TargetTested(t.Context(), ids[step.name]))
		}
		before := get(step.name)
		a := r.call("PATCH", "/api/v1/targets/"+ids[step.name], step.body)
		require.Equal(t, step.want, a.status, "%v: %s", step.body, a.body)
		after := get(step.name)
		if step.want != 200 {
			require.Contains(t, a.body, step.says, "%v", step.body)
			require.Equal(t, before, after, "%v", step.body)
			continue
		}
		require.Equal(t, step.says, fmt.Sprintf("%s:%d %s %s %s %t %t", after.Address, after.Port, after.User, after.Credential, after.Jump,
			after.HostKey == edKey, tested(step.name)), "%v", step.body)
		var answer shownTarget
		a.into(t, &answer)
		if answer.CreatedAt = answer.CreatedAt.UTC(); len(answer.Labels) == 0 {
			answer.Labels = map[string]string{} // left out of JSON
		}
		require.Equal(t, after, answer.Target)
		require.Equal(t, before.Name+before.ID+before.Kind, after.Name+after.ID+after.Kind)
	}
	require.Equal(t, map[string]string{"env": "dev", "team": "shop"}, get("db1").Labels)
	require.Equal(t, "/z/api_jsonrpc.php", get("zbx").Path)
	for _, id := range []string{ops.NewID(), "x"} {
		require.Equal(t, 404, r.call("PATCH", "/api/v1/targets/"+id, body{}).status, id)
	}

	// Two who look at once: the second is told, and changes nothing.
	seen, now := get("gate"), get("gate")
	now.Port = 2022
	require.NoError(t, r.db.UpdateTarget(t.Context(), seen, now))
	now.Address = "elsewhere"
	require.Equal(t, ops.CodeConflict, ops.CodeOf(r.db.UpdateTarget(t.Context(), seen, now)))
	require.Equal(t, "gate", get("gate").Address)

	records, err := r.db.Audit(t.Context(), Chain, 0, 1000)
	require.NoError(t, err)
	var told []map[string]string
	for _, rec := range records {
		if rec.Action == "target.changed" && rec.Outcome == "ok" && rec.Object == ids["db1"] {
			require.Equal(t, "user:ann", rec.Actor)
			told = append(told, rec.Detail)
		}
	}
	print := pinnedKeys(edKey)[0].Fingerprint
	require.Equal(t, []map[string]string{
		{"name": "db1"}, {"name": "db1", "labels": "changed"}, {"name": "db1", "user": "ops → reader"}, {"name": "db1", "credential": "key → none"},
		{"name": "db1", "address": "db1:22 → db1:2222", "host_keys": print + " → none"},
	}, told[:5])
}
