package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check that no record was changed, removed, added or reordered."`
	Export auditExportCmd `cmd:"" help:"Write the audit log as JSON lines. Such a file can be verified by itself."`
}

type auditVerifyCmd struct {
	Chain   []string `help:"The chains to check." default:"api,gateway,proxy" enum:"api,gateway,proxy"`
	File    string   `help:"Verify this export, and ask no API." type:"path" placeholder:"FILE"`
	Keys    string   `help:"The deployment's public keys: api/audit-public-keys among its secrets. Without it those that the API or the export names are trusted." type:"path" placeholder:"FILE"`
	Anchors []string `help:"Heads that were kept outside of the database: files of anchors, or logs of the processes. Without them a chain that was cut at its end does not show." type:"path" placeholder:"FILE"`
}

// verified is what was found out of one chain.
type verified struct {
	Chain   string `json:"chain"`
	Records int64  `json:"records"`
	// Unsigned is how many of the first ones are from before records were signed.
	Unsigned int64 `json:"unsigned,omitempty"`
	// Anchored is the number of the last record that was compared with an anchor.
	Anchored int64 `json:"anchored,omitempty"`
	// Head is the hash of the last good record.
	Head string `json:"head,omitempty"`
	// BrokenAt is the first record that is not right, and Error why.
	BrokenAt int64  `json:"broken_at,omitempty"`
	Error    string `json:"error,omitempty"`
}

// trail is where records come from, a page of a chain at a time.
type trail interface {
	// keys are the public keys that it names itself.
	keys(context.Context) (string, error)
	// walk gives the records of the chains, each chain in its order.
	walk(ctx context.Context, chains []string, each func(chain string, records []ops.AuditRecord) error) error
}

// Run verifies each chain to its first bad record. It ends with exit code 5 if there is one.
func (a *auditVerifyCmd) Run(ctx context.Context, w *world) error {
	var from trail
	if a.File != "" {
		f, err := os.Open(a.File)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if from, err = openExport(f); err != nil {
			return fmt.Errorf("%s: %w", a.File, err)
		}
	} else {
		c, err := w.client()
		if err != nil {
			return err
		}
		from = apiTrail{c}
	}
	keys, err := a.trusted(ctx, w, from)
	if err != nil {
		return err
	}
	heads, err := a.heads(keys)
	if err != nil {
		return err
	}
	results, err := verifyAll(ctx, from, a.Chain, keys, heads)
	if err != nil {
		return err
	}
	return a.tell(w, results)
}

// trusted gives the keys that records are to be signed with.
func (a *auditVerifyCmd) trusted(ctx context.Context, w *world, from trail) (ops.AuditKeys, error) {
	if a.Keys != "" {
		text, err := os.ReadFile(a.Keys)
		if err != nil {
			return nil, err
		}
		return ops.ParseAuditKeys(string(text))
	}
	text, err := from.keys(ctx)
	if err != nil {
		return nil, err
	}
	if !w.json {
		_, _ = fmt.Fprintln(w.stderr, "The keys are those that the records came with: whoever sent you the records could have made them. Give --keys to be sure.")
	}
	return ops.ParseAuditKeys(text)
}

func (a *auditVerifyCmd) heads(keys ops.AuditKeys) (all []ops.AuditHead, err error) {
	for _, name := range a.Anchors {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		heads, err := ops.ReadAuditHeads(f, keys)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, heads...)
	}
	if len(a.Anchors) > 0 && len(all) == 0 {
		return nil, errors.New("there is no head of the audit in the anchors")
	}
	return all, nil
}

// verifyAll goes along the chains. What is wrong with one is in its result.
func verifyAll(ctx context.Context, from trail, chains []string, keys ops.AuditKeys, heads []ops.AuditHead) ([]verified, error) {
	walks, broken := map[string]*ops.AuditVerifier{}, map[string]*ops.ChainError{}
	for _, chain := range chains {
		walks[chain] = ops.NewAuditVerifier(chain, keys, heads)
	}
	err := from.walk(ctx, chains, func(chain string, records []ops.AuditRecord) error {
		if _, over := broken[chain]; over {
			return nil
		}
		var bad *ops.ChainError
		if errors.As(walks[chain].Next(records...), &bad) {
			broken[chain] = bad
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	results := []verified{}
	for _, chain := range chains {
		v := walks[chain]
		if broken[chain] == nil {
			broken[chain], _ = errors.AsType[*ops.ChainError](v.End())
		}
		r := verified{Chain: chain, Records: v.Records(), Unsigned: v.Unsigned(), Anchored: v.Anchored(), Head: fmt.Sprintf("%x", v.Head())}
		if r.Head == "" {
			r.Head = "none"
		}
		if bad := broken[chain]; bad != nil {
			r.BrokenAt, r.Error = bad.Seq, bad.Error()
		}
		results = append(results, r)
	}
	return results, nil
}

func (a *auditVerifyCmd) tell(w *world, results []verified) error {
	if w.json {
		if err := w.printJSON(results); err != nil {
			return err
		}
	}
	var broken error
	for _, r := range results {
		if r.Error != "" {
			broken = errors.Join(broken, errors.New(r.Error))
			continue
		}
		if w.json {
			continue
		}
		line := fmt.Sprintf("%s: %d records, unbroken, head %s", r.Chain, r.Records, r.Head)
		if r.Unsigned > 0 {
			line += fmt.Sprintf("; the first %d are from before records were signed", r.Unsigned)
		}
		switch {
		case r.Anchored > 0:
			line += fmt.Sprintf("; anchored to record %d", r.Anchored)
		case r.Records > 0:
			line += "; whether it was cut at its end is not known without anchors"
		}
		_, _ = fmt.Fprintln(w.stdout, line)
	}
	if broken != nil {
		return &exitError{exitBroken, broken}
	}
	return nil
}

// apiTrail reads from the API.
type apiTrail struct{ c *client }

func (t apiTrail) keys(ctx context.Context) (string, error) {
	var page struct {
		Items []struct {
			Keys []string `json:"keys"`
		} `json:"items"`
	}
	if err := t.c.call(ctx, http.MethodGet, "audit/chains", nil, nil, &page); err != nil {
		return "", err
	}
	var lines []string
	for _, chain := range page.Items {
		lines = append(lines, chain.Keys...)
	}
	return strings.Join(lines, "\n"), nil
}

func (t apiTrail) walk(ctx context.Context, chains []string, each func(string, []ops.AuditRecord) error) error {
	for _, chain := range chains {
		for after := int64(0); ; {
			raw, err := t.c.list(ctx, "audit/chains/"+chain, url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {"1000"}}, "after", 1000)
			if err != nil {
				return err
			}
			records, err := as[ops.AuditRecord](raw)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				break
			}
			if err := each(chain, records); err != nil {
				return err
			}
			next := records[len(records)-1].Seq
			if next <= after { // a server that gives the same for ever
				return fmt.Errorf("chain %s: there is no record behind number %d, and yet there is one", chain, after)
			}
			after = next
		}
	}
	return nil
}

// maxExportLine is more than the longest record.
const maxExportLine = 4 << 20

// exportTrail reads an export, once.
type exportTrail struct {
	lines  *bufio.Scanner
	header ops.AuditExport
}

func openExport(r io.Reader) (*exportTrail, error) {
	t := &exportTrail{lines: bufio.NewScanner(r)}
	t.lines.Buffer(make([]byte, 0, 64<<10), maxExportLine)
	if !t.lines.Scan() || json.Unmarshal(t.lines.Bytes(), &t.header) != nil || t.header.Format == 0 {
		return nil, errors.Join(errors.New("it is no export of the audit log"), t.lines.Err())
	}
	switch {
	case t.header.Format != ops.AuditExportFormat:
		return nil, fmt.Errorf("it is an export of format %d, and this program knows %d", t.header.Format, ops.AuditExportFormat)
	case !t.header.Complete:
		return nil, errors.New("it is an export of a part of the audit log: only whole chains can be verified")
	}
	return t, nil
}

func (t *exportTrail) keys(context.Context) (string, error) {
	return strings.Join(t.header.Keys, "\n"), nil
}

func (t *exportTrail) walk(ctx context.Context, chains []string, each func(string, []ops.AuditRecord) error) error {
	for _, chain := range chains {
		if !slices.Contains(t.header.Chains, chain) {
			return fmt.Errorf("chain %s is not in the export: name those that are by --chain", chain)
		}
	}
	for n := int64(0); t.lines.Scan(); n++ {
		var line struct {
			ops.AuditRecord
			End     bool  `json:"end"`
			Records int64 `json:"records"`
		}
		if err := json.Unmarshal(t.lines.Bytes(), &line); err != nil {
			return fmt.Errorf("line %d of the export is no record", n+2)
		}
		if line.End {
			if line.Records != n {
				return fmt.Errorf("the export has %d records and says that there are %d", n, line.Records)
			}
			return nil
		}
		if !slices.Contains(t.header.Chains, line.Chain) {
			return fmt.Errorf("line %d of the export is of a chain that is not in it", n+2)
		}
		if !slices.Contains(chains, line.Chain) {
			continue
		}
		if err := each(line.Chain, []ops.AuditRecord{line.AuditRecord}); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(errors.New("the export was cut off: it has no last line"), t.lines.Err())
}

type auditExportCmd struct {
	Chain  string `help:"Only this chain. By default all." enum:",api,gateway,proxy" default:""`
	Output string `short:"o" help:"Write to this file, which must not be there. By default to standard output." type:"path" placeholder:"FILE"`
}

// Run copies the export as it comes, and fails if it was cut off.
func (a *auditExportCmd) Run(ctx context.Context, w *world) (err error) {
	c, err := w.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	if a.Chain != "" {
		query.Set("chain", a.Chain)
	}
	res, err := c.send(ctx, http.MethodGet, "audit/export", query, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	out := w.stdout
	if a.Output != "" {
		f, err := os.OpenFile(a.Output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	whole := &lastLine{to: out}
	if _, err := io.Copy(whole, res.Body); err != nil {
		return fmt.Errorf("the export was cut off: %w", err)
	}
	var end ops.AuditExportEnd
	if json.Unmarshal(whole.line, &end) != nil || !end.End {
		return errors.New("the export was cut off: it has no last line")
	}
	if a.Output != "" && !w.json {
		_, _ = fmt.Fprintf(w.stderr, "%d records are in %s.\n", end.Records, inertLine(a.Output))
	}
	return nil
}

// lastLine passes on what is written and keeps the last line, if it is short.
type lastLine struct {
	to     io.Writer
	line   []byte
	closed bool // the line has ended
}

// Write implements [io.Writer].
func (l *lastLine) Write(p []byte) (int, error) {
	for _, b := range p {
		if l.closed {
			l.line, l.closed = l.line[:0], false
		}
		if b == '\n' {
			l.closed = true
			continue
		}
		if len(l.line) < 256 {
			l.line = append(l.line, b)
		}
	}
	return l.to.Write(p)
}
