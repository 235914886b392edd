package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// maxCase bounds a case that is written, in bytes.
const maxCase = 16 << 20

type caseCmd struct {
	Incident      string `arg:"" help:"Number or id of the incident."`
	Investigation string `name:"run" help:"Id of the investigation; the newest one if it is left out." placeholder:"ID"`
	Out           string `short:"o" help:"File to write, which must not be there yet. Without it the case is printed." type:"path" placeholder:"FILE"`
}

// Run asks for the case and writes it. Look at it before you give it away: only
// what looks like a secret is taken out.
func (k *caseCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	res, err := c.send(ctx, http.MethodGet, "incidents/"+url.PathEscape(k.Incident)+"/runs/"+url.PathEscape(cmp.Or(k.Investigation, "newest"))+"/case", nil, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxCase+1))
	if err != nil {
		return err
	}
	if len(data) > maxCase {
		return fmt.Errorf("the case is larger than %d bytes", maxCase)
	}
	if k.Out == "" {
		_, err := io.WriteString(w.stdout, inert(string(data)))
		return err
	}
	f, err := os.OpenFile(k.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w.stderr, "Written to %s. Look for what must not leave your house before you give it away, and at its notes.\n", k.Out)
	return nil
}
