package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Elsewhere is where data lies when root starts a server in a folder that the
// server's user cannot walk to.
const Elsewhere = "/var/lib/akmatori-dev"

// account is the user that the programs run as.
type account struct {
	name     string
	uid, gid int
	other    bool // than the caller
}

// serverAccount is the caller, or for root the first user that exists and is not root.
func serverAccount() (account, error) {
	if uid := os.Getuid(); uid != 0 {
		return account{name: strconv.Itoa(uid), uid: uid, gid: os.Getgid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		if errUID == nil && errGID == nil && uid != 0 {
			return account{name: name, uid: uid, gid: gid, other: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody")
}

// attr starts a process as the account, with none of the caller's groups.
func (a account) attr() *syscall.SysProcAttr {
	if !a.other {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}}
}

// mkdir makes a folder that only the account can enter.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// write writes a file that only the account can read.
func (a account) write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return a.own(path)
}

func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// blocked names the first part of path that the account cannot enter, "" if it
// can walk all of it. It reads the classic permission bits; a folder opened by
// an access list alone counts as closed.
func (a account) blocked(path string) (string, error) {
	if !a.other {
		return "", nil
	}
	var part string
	for _, name := range strings.SplitAfter(path, "/") {
		part += name
		info, err := os.Stat(part)
		if err != nil {
			return "", err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.IsDir() && !enterable(st, a) {
			return strings.TrimSuffix(part, "/"), nil
		}
	}
	return "", nil
}

func enterable(st *syscall.Stat_t, a account) bool {
	switch {
	case int(st.Uid) == a.uid:
		return st.Mode&0o100 != 0
	case int(st.Gid) == a.gid:
		return st.Mode&0o010 != 0
	default:
		return st.Mode&0o001 != 0
	}
}

// openHome gives Dir/cluster with its links resolved. It makes that a folder,
// or a link to one below [Elsewhere] where the account cannot walk to dir.
func openHome(dir string, a account, log *slog.Logger) (string, error) {
	home := filepath.Join(dir, "cluster")
	if _, err := os.Lstat(home); errors.Is(err, fs.ErrNotExist) {
		where, err := a.blocked(dir)
		if err != nil {
			return "", err
		}
		if where == "" {
			err = os.Mkdir(home, 0o711)
		} else {
			err = linkHome(home)
			log.Info("the database lies elsewhere", "because", "user "+a.name+" cannot enter "+where, "dir", Elsewhere)
		}
		if err != nil {
			return "", err
		}
	}
	resolved, err := filepath.EvalSymlinks(home)
	if err != nil {
		return "", fmt.Errorf("the folder of the database is gone (remove %s to start afresh): %w", dir, err)
	}
	if err := checkOwner(filepath.Join(resolved, "data"), a); err != nil {
		return "", err
	}
	where, err := a.blocked(resolved)
	if err == nil && where != "" {
		err = fmt.Errorf("user %s cannot enter %s: choose a folder that others can walk to, or chmod a+x it", a.name, where)
	}
	return resolved, err
}

// linkHome makes a folder that any user can walk to, and home a link to it.
func linkHome(home string) error {
	if err := os.MkdirAll(Elsewhere, 0o711); err != nil {
		return err
	}
	target := filepath.Join(Elsewhere, "pg-"+randomName())
	if err := os.Mkdir(target, 0o711); err != nil {
		return err
	}
	return os.Symlink(target, home)
}

// checkOwner refuses data that was made by a start as another user.
func checkOwner(data string, a account) error {
	info, err := os.Lstat(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != a.uid {
		return fmt.Errorf("%s belongs to uid %d and the server would run as %s (uid %d): start it as the user who made it, or remove that folder", data, st.Uid, a.name, a.uid)
	}
	return nil
}

// runs says whether the account can start a program, and what it prints.
func (a account) runs(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, a.attr()
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), nil
	}
	if where, _ := a.blocked(filepath.Dir(program)); where != "" {
		return "", fmt.Errorf("user %s cannot enter %s", a.name, where)
	}
	return "", fmt.Errorf("%w: %s", err, lastLines(string(out)))
}
