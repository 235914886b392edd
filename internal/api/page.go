package api

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

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
	// packed holds the files under assets that somebody has asked for, as gzip:
	// packing the program takes longer than sending it.
	packed sync.Map // of names to []byte
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
	if !isAsset(r) {
		w.Header().Set("Cache-Control", "no-cache")
		http.ServeFileFS(w, r, p.files, name)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // named by their content
	kind, packable := packableTypes[path.Ext(name)]
	if !packable || !acceptsGzip(r) {
		http.ServeFileFS(w, r, p.files, name)
		return
	}
	packed, err := p.gzip(name)
	if err != nil {
		writeProblem(w, newProblem(http.StatusInternalServerError, "the file could not be read"))
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", strconv.Itoa(len(packed)))
	w.Header().Set("Vary", "Accept-Encoding")
	_, _ = w.Write(packed)
}

// isAsset says whether a file is asked for that is named by its content.
func isAsset(r *http.Request) bool {
	return strings.HasPrefix(path.Clean(r.URL.Path), "/assets/")
}

// packableTypes are the files of the page that are worth packing, by their ends.
var packableTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3). A wildcard is not enough.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, q, _ := strings.Cut(weight, "=")
			refused, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			return err != nil || refused > 0
		}
	}
	return false
}

// gzip gives a file packed, which it does once for each.
func (p *page) gzip(name string) ([]byte, error) {
	if packed, ok := p.packed.Load(name); ok {
		return packed.([]byte), nil
	}
	content, err := fs.ReadFile(p.files, name)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	p.packed.Store(name, packed.Bytes())
	return packed.Bytes(), nil
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
