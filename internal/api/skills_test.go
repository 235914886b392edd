package api

import (
	"archive/zip"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/skill"
)

func skillText(name, more, body string) string {
	return "---\nname: " + name + "\ndescription: About " + name + ".\n" + more + "---\n" + body
}

func TestSkills(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	var all struct{ Items []ops.Skill }
	r.call("GET", "/api/v1/skills", nil).into(t, &all)
	require.Len(t, all.Items, 8, "those that come with the program")
	for _, s := range all.Items {
		require.True(t, s.Enabled && s.Starter && s.Current && s.Version == 1 && s.Author == "akmatori", "%+v", s)
	}

	// Written, edited, gone back.
	file := func(path, text string) body { return body{"path": path, "text": text} }
	a := r.call("POST", "/api/v1/skills", body{"files": []body{file("SKILL.md", skillText("queue", "match: service=queue\n", "One.")), file("scripts/a.sh", "echo a")}, "comment": "first"})
	require.Equal(t, 201, a.status, a.body)
	var v skillView
	a.into(t, &v)
	require.Equal(t, []string{"service=queue"}, v.Match)
	require.Equal(t, "user:ann", v.Author)
	require.Equal(t, []skillFile{{Path: "SKILL.md", Size: len(skillText("queue", "match: service=queue\n", "One.")), Text: skillText("queue", "match: service=queue\n", "One.")},
		{Path: "scripts/a.sh", Size: 6, Text: "echo a"}}, v.Contents)
	require.Equal(t, 409, r.call("POST", "/api/v1/skills", body{"files": []body{file("SKILL.md", skillText("queue", "", "x"))}}).status)
	a = r.call("PUT", "/api/v1/skills/queue", body{"base": 1, "files": []body{file("SKILL.md", skillText("queue", "", "Two.")), file("b.md", "b")}, "remove": []string{"scripts/a.sh"}})
	require.Equal(t, 200, a.status, a.body)
	v = skillView{}
	a.into(t, &v)
	require.Equal(t, 2, v.Version)
	require.Len(t, v.Contents, 2)
	for what, c := range map[string]struct {
		status int
		path   string
		body   body
		want   string
	}{
		"out of date":    {409, "queue", body{"base": 1, "files": []body{file("c", "x")}}, "version 2 is the current one now"},
		"never was":      {409, "queue", body{"base": 7, "files": []body{file("c", "x")}}, "not kept any more"},
		"no skill":       {404, "nope", body{"base": 1}, ""},
		"renamed":        {422, "queue", body{"base": 2, "files": []body{file("SKILL.md", skillText("other", "", "x"))}}, "must stay queue"},
		"without it":     {422, "queue", body{"base": 2, "remove": []string{"SKILL.md"}}, "there is no SKILL.md"},
		"path":           {422, "queue", body{"base": 2, "files": []body{file("../x", "x")}}, "is not relative"},
		"frontmatter":    {422, "queue", body{"base": 2, "files": []body{file("SKILL.md", "x")}}, "does not begin with frontmatter"},
		"nothing at all": {422, "queue", body{}, "base"},
	} {
		a := r.call("PUT", "/api/v1/skills/"+c.path, c.body)
		require.Equal(t, c.status, a.status, "%s %s", what, a.body)
		require.Contains(t, a.body, c.want, what)
	}
	a = r.call("POST", "/api/v1/skills/queue/versions/1/use", nil)
	require.Equal(t, 200, a.status, a.body)
	r.call("GET", "/api/v1/skills/queue", nil).into(t, &v)
	require.Equal(t, 1, v.Version)
	require.Equal(t, 404, r.call("POST", "/api/v1/skills/queue/versions/9/use", nil).status)
	r.call("GET", "/api/v1/skills/queue/versions/2", nil).into(t, &v)
	require.False(t, v.Current)
	var versions struct{ Items []ops.Skill }
	r.call("GET", "/api/v1/skills/queue/versions", nil).into(t, &versions)
	require.Len(t, versions.Items, 2)

	// Packed, unpacked, switched off, removed.
	a = r.call("GET", "/api/v1/skills/queue/archive", nil)
	require.Equal(t, "application/zip", a.header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="queue.zip"`, a.header.Get("Content-Disposition"))
	packed := []byte(a.body)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/skills/queue", nil).status)
	var imported struct{ Items []importedSkill }
	upload := func(data []byte, query string) reply {
		return r.send(http.DefaultClient, "POST", "/api/v1/skills/import"+query, data, "Authorization", "Bearer "+r.token, "Content-Type", "application/zip")
	}
	a = upload(packed, "")
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &imported)
	require.Equal(t, []importedSkill{{"queue", 1, true}}, imported.Items)
	upload(packed, "").into(t, &imported)
	require.Equal(t, []importedSkill{{"queue", 1, false}}, imported.Items)
	changed, err := skill.Zip("queue", []ops.SkillFile{{Path: "SKILL.md", Content: []byte(skillText("queue", "", "x"))}, {Path: "logo.png", Content: []byte("\x89PNG\x00")}})
	require.NoError(t, err)
	require.Equal(t, 409, upload(changed, "?replace=false").status)
	require.Equal(t, 200, upload(changed, "").status)
	r.call("GET", "/api/v1/skills/queue", nil).into(t, &v)
	require.True(t, v.Contents[1].Binary)
	require.Equal(t, 2, v.Version)
	require.Equal(t, 422, upload([]byte("hello"), "").status)
	require.Equal(t, 413, upload(make([]byte, skill.MaxArchive+2), "").status)
	var bomb bytes.Buffer
	z := zip.NewWriter(&bomb)
	w, err := z.Create("queue/SKILL.md")
	require.NoError(t, err)
	_, err = w.Write([]byte(strings.Repeat("x", 40<<20)))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Equal(t, 413, upload(bomb.Bytes(), "").status)

	a = r.call("PATCH", "/api/v1/skills/queue", body{"enabled": false})
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &v)
	require.False(t, v.Enabled)

	// Agents have skills.
	require.Equal(t, 422, r.call("POST", "/api/v1/agents", body{"id": "q", "skills": []string{"nope"}}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/agents", body{"id": "q", "skills": []string{"Q!"}}).status)
	a = r.call("POST", "/api/v1/agents", body{"id": "q", "skills": []string{"queue", "cpu"}})
	require.Equal(t, 201, a.status, a.body)
	require.Contains(t, a.body, `"skills":["queue","cpu"]`)
	require.Contains(t, r.call("DELETE", "/api/v1/skills/queue", nil).body, "agents name it: take it from q first")
	require.Equal(t, 204, r.call("DELETE", "/api/v1/skills/disk", nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/skills/disk", nil).status)

	records, err := r.db.Audit(t.Context(), Chain, 0, 1000)
	require.NoError(t, err)
	done := map[string]int{}
	for _, rec := range records {
		if rec.Outcome == "ok" {
			done[rec.Action]++
		}
	}
	for action, n := range map[string]int{"skill.created": 1, "skill.edited": 1, "skill.version": 1, "skill.imported": 3, "skill.enabled": 1, "skill.removed": 2} {
		require.Equal(t, n, done[action], action)
	}

	// What came with the program and was removed stays away.
	r.stop()
	again := start(t, r.pg, nil)
	_, _, err = again.db.Skill(t.Context(), "disk", 0)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))
}

func TestRunbooksOfTheAPI(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	a := r.call("POST", "/api/v1/runbooks", body{"title": "Queue is long", "text": "Call Ann.", "match": []string{"service=queue"}})
	require.Equal(t, 201, a.status, a.body)
	var b ops.Runbook
	a.into(t, &b)
	require.Equal(t, "queue-is-long", b.Slug)
	require.Equal(t, "user:ann", b.Author)
	require.Equal(t, 409, r.call("POST", "/api/v1/runbooks", body{"slug": "queue-is-long", "title": "x", "text": "y"}).status)
	require.Equal(t, 422, r.call("POST", "/api/v1/runbooks", body{"title": "!", "text": "y"}).status)
	require.Contains(t, r.call("POST", "/api/v1/runbooks", body{"title": "x", "text": "y", "match": []string{"x"}}).body, "match 1: at character")
	require.Equal(t, 200, r.call("PUT", "/api/v1/runbooks/queue-is-long", body{"base": 1, "title": "Queue", "text": "Call Bob."}).status)
	require.Equal(t, 409, r.call("PUT", "/api/v1/runbooks/queue-is-long", body{"base": 1, "title": "Queue", "text": "Call Cid."}).status)
	var all struct{ Items []ops.Runbook }
	r.call("GET", "/api/v1/runbooks", nil).into(t, &all)
	require.Len(t, all.Items, 4)
	r.call("GET", "/api/v1/runbooks?q=bob", nil).into(t, &all)
	require.Len(t, all.Items, 1)
	require.Empty(t, all.Items[0].Text)
	require.Equal(t, 200, r.call("POST", "/api/v1/runbooks/queue-is-long/versions/1/use", nil).status)
	r.call("GET", "/api/v1/runbooks/queue-is-long", nil).into(t, &b)
	require.Equal(t, "Call Ann.", b.Text)
	r.call("GET", "/api/v1/runbooks/queue-is-long/versions/2", nil).into(t, &b)
	require.Equal(t, "Call Bob.", b.Text)
	r.call("GET", "/api/v1/runbooks/queue-is-long/versions", nil).into(t, &all)
	require.Len(t, all.Items, 2)
	require.Equal(t, 204, r.call("DELETE", "/api/v1/runbooks/queue-is-long", nil).status)
	require.Equal(t, 404, r.call("GET", "/api/v1/runbooks/queue-is-long", nil).status)
}

func TestAnArchiveThatConflictsIsNotTakenInPart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/skills", map[string]any{"files": []map[string]any{{"path": "SKILL.md", "text": skillText("queue", "", "x")}}}).status)
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for _, name := range []string{"alpha", "queue"} {
		w, err := z.Create(name + "/SKILL.md")
		require.NoError(t, err)
		_, err = w.Write([]byte(skillText(name, "", "y")))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	a := r.send(http.DefaultClient, "POST", "/api/v1/skills/import?replace=false", packed.Bytes(), "Authorization", "Bearer "+r.token, "Content-Type", "application/zip")
	require.Equal(t, 409, a.status, a.body)
	require.Contains(t, a.body, "queue")
	require.Equal(t, 404, r.call("GET", "/api/v1/skills/alpha", nil).status)
}
