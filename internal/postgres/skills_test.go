package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

func skill(name, body string, match ...string) postgres.SkillContent {
	files := []ops.SkillFile{{Path: ops.SkillMain, Content: []byte(body)}, {Path: "scripts/empty.sh"}}
	return postgres.SkillContent{About: ops.SkillAbout{Name: name, Description: "About " + name, Match: match}, Files: files,
		Digest: ops.SkillDigest(files), Author: "user:ann"}
}

// Each change makes a version, the same files make none, an edit of what is no
// longer current is refused, and the oldest versions go.
func TestVersionsOfSkills(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	put := func(body string, base int) (bool, error) { return db.PutSkill(t.Context(), skill("disk", body), base) }
	stored, err := put("one", postgres.NotThere)
	require.NoError(t, err)
	require.True(t, stored)
	_, err = put("two", postgres.NotThere)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
	stored, err = put("one", postgres.Whatever)
	require.NoError(t, err)
	require.False(t, stored, "nothing has changed")
	_, err = put("two", 1)
	require.NoError(t, err)
	_, err = put("three", 1)
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
	require.ErrorContains(t, err, "version 2 is the current one")

	s, files, err := db.Skill(t.Context(), "disk", 0)
	require.NoError(t, err)
	require.Equal(t, 2, s.Version)
	require.Equal(t, "About disk", s.Description)
	require.Equal(t, "two", string(files[0].Content))
	require.Equal(t, s.Digest, ops.SkillDigest(files))
	require.EqualValues(t, 3, s.Bytes)

	require.NoError(t, db.UseSkillVersion(t.Context(), "disk", 1))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(db.UseSkillVersion(t.Context(), "disk", 9)))
	s, _, err = db.Skill(t.Context(), "disk", 0)
	require.NoError(t, err)
	require.Equal(t, 1, s.Version)
	_, err = db.SkillBundle(t.Context(), ops.NewID(), "disk", 1, s.Digest)
	require.Equal(t, ops.CodeForbidden, ops.CodeOf(err), "it is for runs whose agent was given it")

	for i := range 25 {
		_, err := put(fmt.Sprint("more ", i), postgres.Whatever)
		require.NoError(t, err)
	}
	all, err := db.SkillVersions(t.Context(), "disk")
	require.NoError(t, err)
	require.Len(t, all, 20)
	require.Equal(t, 27, all[0].Version)
	require.True(t, all[0].Current)
	_, _, err = db.Skill(t.Context(), "disk", 7)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))

	require.NoError(t, db.PutAgent(t.Context(), ops.AgentDef{ID: "a", Skills: []string{"disk"}}))
	require.ErrorContains(t, db.PutAgent(t.Context(), ops.AgentDef{ID: "a", Skills: []string{"disk", "nope"}}), `no skill "nope"`)
	require.ErrorContains(t, db.DeleteSkill(t.Context(), "disk"), "take it from a first")
	require.NoError(t, db.PutAgent(t.Context(), ops.AgentDef{ID: "a", Skills: []string{"*"}}))
	require.NoError(t, db.DeleteSkill(t.Context(), "disk"))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(db.DeleteSkill(t.Context(), "disk")))
}

// What comes with the program is put in once and brought up to date until
// somebody edits or removes it.
func TestStarters(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	book := func(text string) []ops.Runbook {
		return []ops.Runbook{{Slug: "full", Title: "Full", Text: text, Author: "akmatori"}}
	}
	install := func(body string) []string {
		got, err := db.InstallStarters(t.Context(), []postgres.SkillContent{skill("disk", body), skill("cpu", body)}, book(body))
		require.NoError(t, err)
		return got
	}
	require.Equal(t, []string{"skill disk", "skill cpu", "runbook full"}, install("v1"))
	require.Empty(t, install("v1"))
	require.Len(t, install("v2"), 3)
	s, _, err := db.Skill(t.Context(), "cpu", 0)
	require.NoError(t, err)
	require.True(t, s.Starter)
	require.Equal(t, 2, s.Version)

	_, err = db.PutSkill(t.Context(), skill("disk", "edited"), 2)
	require.NoError(t, err)
	require.NoError(t, db.DeleteSkill(t.Context(), "cpu"))
	_, err = db.PutRunbook(t.Context(), ops.Runbook{Slug: "full", Title: "Full", Text: "edited"}, 2)
	require.NoError(t, err)
	require.Empty(t, install("v3"))
	s, _, err = db.Skill(t.Context(), "disk", 0)
	require.NoError(t, err)
	require.False(t, s.Starter)
	require.Equal(t, 3, s.Version)
	_, _, err = db.Skill(t.Context(), "cpu", 0)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))
	r, err := db.Runbook(t.Context(), "full", 0)
	require.NoError(t, err)
	require.Equal(t, "edited", r.Text)

	// Somebody had a skill of that name before it came with the program.
	_, err = db.PutSkill(t.Context(), skill("network", "ours"), postgres.NotThere)
	require.NoError(t, err)
	got, err := db.InstallStarters(t.Context(), []postgres.SkillContent{skill("network", "theirs")}, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestRunbooks(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	put := func(r ops.Runbook, base int) error {
		_, err := db.PutRunbook(t.Context(), r, base)
		return err
	}
	require.NoError(t, put(ops.Runbook{Slug: "queue", Title: "Queue backlog", Text: "Look at the consumers of RabbitMQ.", Author: "user:ann"}, postgres.NotThere))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(put(ops.Runbook{Slug: "queue", Title: "x", Text: "y"}, postgres.NotThere)))
	require.NoError(t, put(ops.Runbook{Slug: "queue", Title: "Queue backlog", Text: "Look at Kafka.", Author: "user:bob"}, 1))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(put(ops.Runbook{Slug: "queue", Title: "x", Text: "y"}, 1)))
	for words, n := range map[string]int{"": 1, "kafka": 1, "rabbitmq": 0, "backlog kaf": 1, "'": 1} {
		found, err := db.Runbooks(t.Context(), words)
		require.NoError(t, err)
		require.Len(t, found, n, words)
	}
	require.NoError(t, db.UseRunbookVersion(t.Context(), "queue", 1))
	found, err := db.Runbooks(t.Context(), "rabbitmq")
	require.NoError(t, err)
	require.Len(t, found, 1, "going back brings the words back")
	require.Empty(t, found[0].Text)
	all, err := db.RunbookVersions(t.Context(), "queue")
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.True(t, all[1].Current)
	require.NoError(t, db.DeleteRunbook(t.Context(), "queue"))
	_, err = db.Runbook(t.Context(), "queue", 0)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))
}

// A run is given its agent's skills, those that fit first, and the runbooks for
// its incident; what an alert says picks, and adds nothing.
func TestGuidanceOfARun(t *testing.T) {
	t.Parallel()
	g := newModelRig(t)
	for _, s := range []postgres.SkillContent{skill("cpu", "x"), skill("disk", "x"), skill("linux-host-triage", "x"),
		skill("postgres", "x", `service=nope`, `severity=high, title=~".*replica.*"`), skill("off", "x", `severity=~".*"`)} {
		_, err := g.db.PutSkill(t.Context(), s, postgres.NotThere)
		require.NoError(t, err)
	}
	require.NoError(t, g.db.EnableSkill(t.Context(), "off", false))
	for _, r := range []ops.Runbook{
		{Slug: "by-label", Title: "Unlike", Text: "z", Match: []string{`host="db-1"`}},
		{Slug: "by-title", Title: "What to do when the disk of a database is full", Text: "z"},
		{Slug: "by-text", Title: "Storage", Text: "When disk and replica suffer, call Ann."},
		{Slug: "by-one-word", Title: "Else", Text: "A disk is round."},
		{Slug: "by-nothing", Title: "High alert on host", Text: "z"},
	} {
		_, err := g.db.PutRunbook(t.Context(), r, postgres.NotThere)
		require.NoError(t, err)
	}
	incident := ops.Incident{Title: "High disk usage on replica"}
	alerts := []ops.Alert{{Title: "High disk usage on replica", Severity: ops.SeverityHigh, Host: "db-1"}}
	skills, runbooks, err := g.db.Guidance(t.Context(), ops.AgentDef{Skills: []string{"*"}}, incident, alerts)
	require.NoError(t, err)
	var got []string
	for _, s := range skills {
		got = append(got, s.Name+":"+string(s.Fit))
	}
	require.Equal(t, []string{"postgres:labels", "disk:words", "cpu:", "linux-host-triage:"}, got)
	got = nil
	for _, r := range runbooks {
		got = append(got, r.Slug+":"+string(r.Fit))
	}
	require.Equal(t, []string{"by-label:labels", "by-title:words", "by-text:words"}, got)
	require.Equal(t, "z", runbooks[0].Text)

	skills, _, err = g.db.Guidance(t.Context(), ops.AgentDef{}, incident, alerts)
	require.NoError(t, err)
	require.Empty(t, skills)
	skills, _, err = g.db.Guidance(t.Context(), ops.AgentDef{Skills: []string{"linux-host-triage", "cpu"}}, incident, alerts)
	require.NoError(t, err)
	require.Len(t, skills, 2)

	c, err := g.db.Claim(t.Context(), postgres.ClaimRun{Worker: "w", Lease: 60e9, Timeout: 600e9, GatewayTokenHash: []byte("a"), ProxyTokenHash: []byte("b")})
	require.NoError(t, err)
	require.Len(t, c.Skills, 4, "the default agent has all that are enabled")
	require.Equal(t, []string{"*"}, c.Agent.Skills)
}

// Nobody but the api reads or writes skills: what agents are told is not for the
// processes that hold credentials.
func TestRolesAndSkills(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	for _, url := range []ops.Secret{pg.Gateway, pg.Proxy} {
		_, err := open(t, url).Skills(t.Context())
		require.ErrorContains(t, err, "permission denied")
	}
}

// TestAVersionIsNotUsedThatGoesMeanwhile: one person goes back to the oldest version
// while another one's new version makes that go.
func TestAVersionIsNotUsedThatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	for what, use := range map[string]func(*testing.T, *postgres.DB) error{
		"skills":   func(t *testing.T, db *postgres.DB) error { return db.UseSkillVersion(t.Context(), "x", 1) },
		"runbooks": func(t *testing.T, db *postgres.DB) error { return db.UseRunbookVersion(t.Context(), "x", 1) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.New(t)
			db := open(t, pg.API)
			for n := range 2 {
				text := fmt.Sprint("text ", n)
				_, err := db.PutSkill(t.Context(), postgres.SkillContent{About: ops.SkillAbout{Name: "x"}, Files: []ops.SkillFile{{Path: ops.SkillMain, Content: []byte(text)}}, Digest: text}, postgres.Whatever)
				require.NoError(t, err)
				_, err = db.PutRunbook(t.Context(), ops.Runbook{Slug: "x", Title: "x", Text: text}, postgres.Whatever)
				require.NoError(t, err)
			}
			tx, err := db.Pool().Begin(t.Context()) // as PutSkill and PutRunbook do
			require.NoError(t, err)
			name := map[string]string{"skills": "name", "runbooks": "slug"}[what]
			for _, sql := range []string{`SELECT pg_advisory_xact_lock(hashtextextended('` + what + `', 0))`, `UPDATE ` + what + ` SET current = 2, newest = 2`,
				`DELETE FROM ` + strings.TrimSuffix(what, "s") + `_versions WHERE ` + name + ` = 'x' AND version = 1`} {
				_, err := tx.Exec(t.Context(), sql)
				require.NoError(t, err)
			}
			used := make(chan error, 1)
			go func() { used <- use(t, db) }()
			require.Eventually(t, func() bool {
				var waits bool
				require.NoError(t, db.Pool().QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits))
				return waits
			}, 5*time.Second, 10*time.Millisecond)
			require.NoError(t, tx.Commit(t.Context()))
			require.Equal(t, ops.CodeNotFound, ops.CodeOf(<-used))
			_, _, err = db.Skill(t.Context(), "x", 0)
			require.NoError(t, err)
			_, err = db.Runbook(t.Context(), "x", 0)
			require.NoError(t, err)
		})
	}
}

// TestStartersWaitForRoom: an api whose release brings one too many must start all the same.
func TestStartersWaitForRoom(t *testing.T) {
	t.Parallel()
	db := open(t, pgtest.New(t).API)
	for _, sql := range []string{
		`INSERT INTO skills (name, current, newest) SELECT 's' || n, 1, 1 FROM generate_series(1, 200) AS n`,
		`INSERT INTO skill_versions (name, version, digest, about, files, bytes, author, comment) SELECT name, 1, '', '{}', 0, 0, '', '' FROM skills`,
		`INSERT INTO runbooks (slug, current, newest, heading, words) SELECT 'r' || n, 1, 1, '', '' FROM generate_series(1, 500) AS n`,
		`INSERT INTO runbook_versions (slug, version, title, match, text, author) SELECT slug, 1, slug, '{}', '', '' FROM runbooks`,
	} {
		_, err := db.Pool().Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	install := func() []string {
		installed, err := db.InstallStarters(t.Context(), []postgres.SkillContent{skill("disk", "new")}, []ops.Runbook{{Slug: "dns", Title: "DNS", Text: "new"}})
		require.NoError(t, err)
		return installed
	}
	require.Empty(t, install())
	require.NoError(t, db.DeleteSkill(t.Context(), "s7"))
	require.NoError(t, db.DeleteRunbook(t.Context(), "r7"))
	require.Equal(t, []string{"skill disk", "runbook dns"}, install())
	require.Empty(t, install())
	require.NoError(t, db.DeleteSkill(t.Context(), "disk"))
	require.Empty(t, install(), "somebody has removed it")
}
