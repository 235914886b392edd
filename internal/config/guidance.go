package config

import (
	"context"
	"fmt"
	"os"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/skill"
)

// fromFile is who has written what a configuration file names.
const fromFile = "service:config"

// guidance is the skills and runbooks of a configuration file.
type guidance struct {
	skills   []skill.Skill
	runbooks []ops.Runbook
}

// read reads and checks the folders.
func (g *guidance) read(skills, runbooks []string, beside func(string) string) error {
	for _, dir := range skills {
		all, err := skill.Folder(os.DirFS(beside(dir)))
		if err != nil {
			return fmt.Errorf("skills in %s: %w", dir, err)
		}
		g.skills = append(g.skills, all...)
	}
	for _, dir := range runbooks {
		if _, err := os.Stat(beside(dir)); err != nil {
			return fmt.Errorf("runbooks: %w", err)
		}
		all, err := skill.Runbooks(os.DirFS(beside(dir)), fromFile)
		if err != nil {
			return fmt.Errorf("runbooks in %s: %w", dir, err)
		}
		g.runbooks = append(g.runbooks, all...)
	}
	return nil
}

// apply stores what differs from the current versions as new ones.
func (g *guidance) apply(ctx context.Context, db *postgres.DB) error {
	for _, s := range g.skills {
		c := postgres.SkillContent{About: s.About, Files: s.Files, Digest: s.Digest, Author: fromFile, Comment: "imported"}
		if _, err := db.PutSkill(ctx, c, postgres.Whatever); err != nil {
			return fmt.Errorf("skill %s: %w", s.About.Name, err)
		}
	}
	for _, r := range g.runbooks {
		if _, err := db.PutRunbook(ctx, r, postgres.Whatever); err != nil {
			return fmt.Errorf("runbook %s: %w", r.Slug, err)
		}
	}
	return nil
}
