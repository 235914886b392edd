package api

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/akmatori/akmatori/web"
)

// noncePlaceholder in index.html is replaced by a fresh nonce in each answer.
const noncePlaceholder = "__CSP_NONCE__"

// notBuilt is shown where the program was compiled without the page.
const notBuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Akmatori</title>
<h1>The page was not built</h1><p>This api works, but it was compiled without its web page: run <code>make</code>
(or <code>npm run build</code> in web) and compile it again.</p></html>
`

// page serves the files of the web page, and index.html for all its paths.
type page struct {
	files fs.FS
	index []byte
}

func newPage() (*page, error) {
	files, err := fs.Sub(web.Dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return pageOf(files)
}

func pageOf(files fs.FS) (*page, error) {
	index, err := fs.ReadFile(files, "index.html")
	if errors.Is(err, fs.ErrNotExist) {
		index, err = []byte(notBuilt), nil
	}
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return &page{files: files, index: index}, nil
}

// ServeHTTP implements [http.Handler].
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	f, err := fs.Stat(p.files, name)
	if err != nil || f.IsDir() || name == "index.html" || strings.HasPrefix(path.Base(name), ".") {
		if strings.HasPrefix(name, "assets/") { // an old page asks for what is gone: its HTML would be no script
			writeProblem(w, newProblem(http.StatusNotFound, "there is no such file"))
			return
		}
		p.serveIndex(w)
		return
	}
	cache := "no-cache"
	if strings.HasPrefix(name, "assets/") { // named by their content
		cache = "public, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", cache)
	http.ServeFileFS(w, r, p.files, name)
}

func (p *page) serveIndex(w http.ResponseWriter) {
	index := p.index
	if bytes.Contains(index, []byte(noncePlaceholder)) {
		var raw [16]byte
		_, _ = rand.Read(raw[:])
		nonce := base64.StdEncoding.EncodeToString(raw[:])
		index = bytes.ReplaceAll(index, []byte(noncePlaceholder), []byte(nonce))
		w.Header().Set("Content-Security-Policy", contentPolicy(nonce))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(index)
}

// contentPolicy lets the page use its own files and nothing else.
func contentPolicy(nonce string) string {
	allowed := "'self'"
	if nonce != "" {
		allowed += " 'nonce-" + nonce + "'"
	}
	return "default-src 'none'; script-src " + allowed + "; style-src " + allowed + "; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}
