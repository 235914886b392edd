package api

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/skill"
	"github.com/akmatori/akmatori/internal/skill/starter"
)

// Bounds of one answer and one edit; a skill as a whole is bounded by ops.
const (
	maxShownText = 1 << 20 // of all files of a skill that are shown
	maxEditBody  = 6 << 20
)

// skillFile is a file as people see and write it.
type skillFile struct {
	Path string `json:"path" minLength:"1" maxLength:"200"`
	Size int    `json:"size" readOnly:"true"`
	Text string `json:"text,omitempty" maxLength:"1048576"`
	// Binary: it is not shown.
	Binary bool `json:"binary,omitempty" readOnly:"true" doc:"It is no text, or too long to be shown; the archive has it."`
}

type skillView struct {
	ops.Skill
	Contents []skillFile `json:"contents" nullable:"false"`
}

type skillPath struct {
	Name string `path:"name" maxLength:"64"`
}

type skillVersionPath struct {
	Name    string `path:"name" maxLength:"64"`
	Version int    `path:"version" minimum:"1" maximum:"1000000000"`
}

type newSkill struct {
	Body struct {
		Files   []skillFileIn `json:"files" minItems:"1" maxItems:"200" nullable:"false" doc:"Texts, SKILL.md among them; its frontmatter names the skill."`
		Comment string        `json:"comment,omitempty" maxLength:"300"`
	}
}

// skillFileIn is a text to be stored.
type skillFileIn struct {
	Path string `json:"path" minLength:"1" maxLength:"200"`
	Text string `json:"text" maxLength:"1048576"`
}

type skillEdit struct {
	Name string `path:"name" maxLength:"64"`
	Body struct {
		Base    int           `json:"base" minimum:"1" maximum:"1000000000" doc:"The version that the edit was made on: it must still be the current one."`
		Files   []skillFileIn `json:"files,omitempty" maxItems:"200" doc:"Texts that are new or changed; all other files stay."`
		Remove  []string      `json:"remove,omitempty" maxItems:"200" doc:"Paths of files that go."`
		Comment string        `json:"comment,omitempty" maxLength:"300"`
	}
}

type skillChange struct {
	Name string `path:"name" maxLength:"64"`
	Body struct {
		Enabled bool `json:"enabled" doc:"Whether agents get it."`
	}
}

type skillImport struct {
	Replace bool   `query:"replace" default:"true" doc:"Whether a skill that is there already gets a new version; else that is a conflict."`
	RawBody []byte `contentType:"application/octet-stream"`
}

// importedSkill says what became of a skill of an archive.
type importedSkill struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Stored  bool   `json:"stored" doc:"False: these files are the current version already."`
}

type archiveAnswer struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}

type archiveQuery struct {
	Name    string `path:"name" maxLength:"64"`
	Version int    `query:"version" minimum:"0" maximum:"1000000000" doc:"0 is the current one."`
}

func (s *API) skillOperations(api huma.API) {
	const tag, root = "configuration", "/skills"
	handle(s, api, operation{id: "list-skills", method: http.MethodGet, path: root, summary: "All skills, each by its current version", tag: tag},
		func(ctx context.Context, _ caller, _ *nothing) (*answer[list[ops.Skill]], error) {
			return items(s.db.Skills(ctx))
		})
	handle(s, api, operation{id: "create-skill", method: http.MethodPost, path: root, summary: "Write a skill", tag: tag, status: http.StatusCreated, maxBody: maxEditBody},
		func(ctx context.Context, who caller, in *newSkill) (*answer[skillView], error) {
			sk, err := skill.Of(edited(nil, in.Body.Files, nil))
			if err != nil {
				return nil, err
			}
			return s.putSkill(ctx, who, "skill.created", sk, in.Body.Comment, postgres.NotThere)
		})
	handle(s, api, operation{id: "import-skills", method: http.MethodPost, path: root + "/import", tag: tag, maxBody: skill.MaxArchive + 1,
		summary: "Take the skills of a zip or tar.gz: each folder with a SKILL.md in it is one"}, s.importSkills)
	handle(s, api, operation{id: "get-skill", method: http.MethodGet, path: root + "/{name}", summary: "One skill with its files", tag: tag},
		func(ctx context.Context, _ caller, in *skillPath) (*answer[skillView], error) {
			return s.skillView(ctx, in.Name, 0)
		})
	handle(s, api, operation{id: "edit-skill", method: http.MethodPut, path: root + "/{name}", summary: "Make a version of the current one with some files changed", tag: tag, maxBody: maxEditBody}, s.editSkill)
	handle(s, api, operation{id: "enable-skill", method: http.MethodPatch, path: root + "/{name}", summary: "Say whether agents get a skill", tag: tag},
		func(ctx context.Context, who caller, in *skillChange) (*answer[skillView], error) {
			detail := map[string]string{"enabled": strconv.FormatBool(in.Body.Enabled)}
			if err := s.audited(ctx, who, "skill.enabled", storable(in.Name), detail, func() error { return s.db.EnableSkill(ctx, storable(in.Name), in.Body.Enabled) }); err != nil {
				return nil, err
			}
			return s.skillView(ctx, in.Name, 0)
		})
	handle(s, api, operation{id: "delete-skill", method: http.MethodDelete, path: root + "/{name}", summary: "Remove a skill with all its versions", tag: tag, status: http.StatusNoContent},
		func(ctx context.Context, who caller, in *skillPath) (*nothing, error) {
			return nil, s.audited(ctx, who, "skill.removed", storable(in.Name), nil, func() error { return s.db.DeleteSkill(ctx, storable(in.Name)) })
		})
	handle(s, api, operation{id: "list-skill-versions", method: http.MethodGet, path: root + "/{name}/versions", summary: "What is kept of a skill, newest first", tag: tag},
		func(ctx context.Context, _ caller, in *skillPath) (*answer[list[ops.Skill]], error) {
			return items(s.db.SkillVersions(ctx, storable(in.Name)))
		})
	handle(s, api, operation{id: "get-skill-version", method: http.MethodGet, path: root + "/{name}/versions/{version}", summary: "One version of a skill with its files", tag: tag},
		func(ctx context.Context, _ caller, in *skillVersionPath) (*answer[skillView], error) {
			return s.skillView(ctx, in.Name, in.Version)
		})
	handle(s, api, operation{id: "use-skill-version", method: http.MethodPost, path: root + "/{name}/versions/{version}/use", summary: "Make a version that is kept the current one", tag: tag},
		func(ctx context.Context, who caller, in *skillVersionPath) (*answer[skillView], error) {
			detail := map[string]string{"version": strconv.Itoa(in.Version)}
			if err := s.audited(ctx, who, "skill.version", storable(in.Name), detail, func() error { return s.db.UseSkillVersion(ctx, storable(in.Name), in.Version) }); err != nil {
				return nil, err
			}
			return s.skillView(ctx, in.Name, 0)
		})
	handle(s, api, operation{id: "download-skill", method: http.MethodGet, path: root + "/{name}/archive", summary: "A skill as a zip", tag: tag},
		func(ctx context.Context, _ caller, in *archiveQuery) (*archiveAnswer, error) {
			sk, files, err := s.db.Skill(ctx, storable(in.Name), in.Version)
			if err != nil {
				return nil, err
			}
			body, err := skill.Zip(sk.Name, files)
			return &archiveAnswer{"application/zip", `attachment; filename="` + sk.Name + `.zip"`, body}, err
		})
}

// edited gives files with some of them changed, removed and added.
func edited(files []ops.SkillFile, changed []skillFileIn, remove []string) []ops.SkillFile {
	byPath := map[string][]byte{}
	for _, f := range files {
		byPath[f.Path] = f.Content
	}
	for _, path := range remove {
		delete(byPath, path)
	}
	for _, f := range changed {
		byPath[f.Path] = []byte(f.Text)
	}
	out := []ops.SkillFile{}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		out = append(out, ops.SkillFile{Path: path, Content: byPath[path]})
	}
	return out
}

func (s *API) editSkill(ctx context.Context, who caller, in *skillEdit) (*answer[skillView], error) {
	name := storable(in.Name)
	_, files, err := s.db.Skill(ctx, name, in.Body.Base)
	if ops.CodeOf(err) == ops.CodeNotFound {
		if _, _, now := s.db.Skill(ctx, name, 0); now == nil {
			return nil, ops.Errorf(ops.CodeConflict, "version %d is not kept any more: look at the current one first", in.Body.Base)
		}
	}
	if err != nil {
		return nil, err
	}
	sk, err := skill.Of(edited(files, in.Body.Files, in.Body.Remove))
	if err != nil {
		return nil, err
	}
	if sk.About.Name != name {
		return nil, ops.Errorf(ops.CodeInvalid, "the name in %s is %s and must stay %s: write a skill of the other name instead", ops.SkillMain, sk.About.Name, name)
	}
	return s.putSkill(ctx, who, "skill.edited", sk, in.Body.Comment, in.Body.Base)
}

func (s *API) putSkill(ctx context.Context, who caller, action string, sk skill.Skill, comment string, base int) (*answer[skillView], error) {
	if _, err := s.storeSkill(ctx, who, action, sk, comment, base); err != nil {
		return nil, err
	}
	return s.skillView(ctx, sk.About.Name, 0)
}

func (s *API) storeSkill(ctx context.Context, who caller, action string, sk skill.Skill, comment string, base int) (stored bool, err error) {
	detail := map[string]string{"digest": sk.Digest, "files": strconv.Itoa(len(sk.Files))}
	err = s.audited(ctx, who, action, sk.About.Name, detail, func() (err error) {
		stored, err = s.db.PutSkill(ctx, content(sk, who.actor(), storable(comment)), base)
		return err
	})
	return stored, err
}

func content(sk skill.Skill, author, comment string) postgres.SkillContent {
	return postgres.SkillContent{About: sk.About, Files: sk.Files, Digest: sk.Digest, Author: author, Comment: comment}
}

// importSkills stores all skills of an archive, which is read as a whole before.
func (s *API) importSkills(ctx context.Context, who caller, in *skillImport) (*answer[list[importedSkill]], error) {
	skills, err := skill.Import(in.RawBody)
	if err != nil {
		return nil, err
	}
	base := postgres.Whatever
	if !in.Replace {
		base = postgres.NotThere
		for _, sk := range skills { // before the first is stored
			switch _, _, err := s.db.Skill(ctx, sk.About.Name, 0); {
			case err == nil:
				return nil, ops.Errorf(ops.CodeConflict, "there is a skill %s already: none is taken", sk.About.Name)
			case ops.CodeOf(err) != ops.CodeNotFound:
				return nil, err
			}
		}
	}
	out := make([]importedSkill, 0, len(skills))
	for _, sk := range skills {
		stored, err := s.storeSkill(ctx, who, "skill.imported", sk, "imported", base)
		if err != nil {
			return nil, err
		}
		now, _, err := s.db.Skill(ctx, sk.About.Name, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, importedSkill{sk.About.Name, now.Version, stored})
	}
	return items(out, nil)
}

func (s *API) skillView(ctx context.Context, name string, version int) (*answer[skillView], error) {
	sk, files, err := s.db.Skill(ctx, storable(name), version)
	if err != nil {
		return nil, err
	}
	v := skillView{Skill: sk, Contents: make([]skillFile, len(files))}
	room := maxShownText
	for i, f := range files {
		v.Contents[i] = skillFile{Path: f.Path, Size: len(f.Content)}
		if room -= len(f.Content); room < 0 || !utf8.Valid(f.Content) || bytes.IndexByte(f.Content, 0) >= 0 {
			v.Contents[i].Binary = true
			continue
		}
		v.Contents[i].Text = string(f.Content)
	}
	return &answer[skillView]{v}, nil
}

// installStarters puts in what comes with the program. Like a migration it is the
// program's own act, told in the log: a database that nobody has used yet stays one.
func (s *API) installStarters(ctx context.Context) error {
	skills, err := skill.Folder(starter.Skills())
	if err != nil {
		return err
	}
	contents := make([]postgres.SkillContent, len(skills))
	for i, sk := range skills {
		contents[i] = content(sk, starterAuthor, "came with the program")
	}
	runbooks, err := skill.Runbooks(starter.Runbooks(), starterAuthor)
	if err != nil {
		return err
	}
	installed, err := s.db.InstallStarters(ctx, contents, runbooks)
	if err == nil && len(installed) > 0 {
		s.log.Info("put in what comes with the program", "installed", strings.Join(installed, ", "))
	}
	return err
}

// starterAuthor is who wrote what comes with the program.
const starterAuthor = "akmatori"
