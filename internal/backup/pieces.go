package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// pieces writes a table of unknown size into a tar, which wants to know sizes:
// as entries of at most one piece. A table without rows has none.
type pieces struct {
	archive *archive
	table   string
	buf     []byte
	n       int
}

// Write implements [io.WriteCloser].
func (p *pieces) Write(data []byte) (int, error) {
	written := len(data)
	for len(data) > 0 {
		n := min(piece-len(p.buf), len(data))
		p.buf, data = append(p.buf, data[:n]...), data[n:]
		if len(p.buf) == piece {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

// Close writes what is left.
func (p *pieces) Close() error { return p.flush() }

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	p.n++
	err := p.archive.add(fmt.Sprintf("%s%s/%06d", tablesFolder, p.table, p.n), p.buf)
	p.buf = p.buf[:0]
	return err
}

// entries reads a tar with one entry of lookahead.
type entries struct {
	tar  *tar.Reader
	name string // of the entry that is next, or whose content is being read
}

// next goes to the next entry. At the end the name is empty.
func (e *entries) next() error {
	h, err := e.tar.Next()
	if err == io.EOF {
		e.name = ""
		return nil
	}
	if err != nil {
		return err
	}
	e.name = h.Name
	return nil
}

// content reads the entry that is next, which must be name and at most limit long.
func (e *entries) content(name string, limit int64) ([]byte, error) {
	if e.name != name {
		return nil, fmt.Errorf("%q is where %s should be", e.name, name)
	}
	data, err := io.ReadAll(io.LimitReader(e.tar, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is too long", name)
	}
	return data, e.next()
}

// table reads the pieces of one table, one after the other.
type table struct {
	*entries
	prefix string
}

// Read implements [io.Reader].
func (t table) Read(data []byte) (int, error) {
	for strings.HasPrefix(t.name, t.prefix) {
		n, err := t.tar.Read(data)
		if errors.Is(err, io.EOF) {
			err = t.next()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}
