package policy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A carrier runs a command that stands among its arguments; a shell, one that
// is the text of an argument. Both are allowed only by a rule that spells out
// the program and the word behind it, or if the command can be read (wrap.go).
var (
	shells   = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash", "busybox", "toybox", "su", "eval", "trap"}
	carriers = []string{"sudo", "doas", "pkexec", "runuser", "su", "env", "nice", "nohup", "timeout", "time", "xargs", "parallel", "exec",
		"command", "builtin", "setsid", "ionice", "chrt", "taskset", "stdbuf", "unbuffer", "watch", "chroot", "unshare", "nsenter", "flock",
		"strace", "ltrace", "gdb", "script", "setarch", "linux32", "linux64", "prlimit", "systemd-run", "systemd-nspawn", "systemd-cat",
		"machinectl", "start-stop-daemon", "runcon", "capsh", "setpriv", "firejail", "bwrap", "fakeroot", "proot", "expect", "busybox",
		"toybox", "find", "fd", "docker", "podman", "nerdctl", "kubectl", "crictl", "ctr", "lxc", "ssh", "sshpass", "rsh", "dbus-run-session",
		"screen", "tmux", "at", "batch", "crontab", "coproc", "source", ".", "logrotate", "run-parts", "ld.so", "cpulimit", "perf", "numactl", "ssh-agent", "sg", "gosu",
		"su-exec", "setuidgid", "chpst", "choom", "valgrind", "split", "aa-exec", "cgexec", "eatmydata", "fakechroot", "faketime", "proxychains", "proxychains4", "torsocks",
		"rlwrap", "dumb-init", "tini", "schedtool", "sem", "entr", "hyperfine", "daemonize", "scl"}
	// Interpreters run what an argument, a file or their input says.
	interpreters = regexp.MustCompile(`^(python|pypy|perl|ruby|node|nodejs|deno|bun|lua|luajit|php|tclsh|wish|expect|g?awk|mawk|nawk|original-awk|sed|gsed|` +
		`ed|ex|r?vim?|rview|view|vimdiff|nvim|emacs|nano|pico|joe|less|lesspipe|more|most|man|info|pg|psql|mysql|mariadb|sqlite3?|mongo(sh)?|redis-cli|` +
		`gdb|lldb|bc|dc|m4|make|gmake|ninja|rake|R|Rscript|octave|guile|scheme|jshell|java|erl|iex|elixir|go|cargo|rustc|gcc|cc|tcc|ghci|ocaml|` +
		`ftp|sftp|tftp|telnet|nc|ncat|netcat|socat|openssl|ld-linux.*|ld-musl.*)([-.0-9]*)$`)
)

type dangerous struct {
	long    []string
	letters string
	words   []string
	// like is how other dangerous arguments look.
	like *regexp.Regexp
	// second, if not nil, has all that the second argument without a dash may be.
	second []string
	// bare: the first argument may be letters without a dash.
	bare bool
}

// dangers are arguments that make a harmless program run, write, read or
// connect to something else. Options are long names without dashes, which GNU
// programs also take abbreviated, and single letters, which may stand anywhere
// in a bundle. Words are arguments that are verbs.
var dangers = map[string]dangerous{
	"git": {long: []string{"exec-path", "upload-pack", "receive-pack", "exec", "config-env", "ext-diff", "textconv", "output", "open-files-in-pager",
		"paginate", "git-dir", "work-tree", "namespace", "template", "config", "separate-git-dir", "reference", "strategy"},
		letters: "cCOopux", words: []string{"config", "daemon", "difftool", "mergetool", "filter-branch", "bisect", "rebase", "remote-ext", "remote-fd", "submodule", "hook", "send-email", "archive", "instaweb", "gui", "citool"},
		like: regexp.MustCompile(`^(remote-|credential|filter-|cvs|(svn|p4|subtree|maintenance|for-each-repo|fast-import|quiltimport|upload-pack|receive-pack|http-backend|shell|web--browse)$)`)},
	"sort": {long: []string{"output", "compress-program", "files0-from", "temporary-directory"}, letters: "oT"},
	"find": {words: []string{"-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf", "-fls", "-files0-from"}},
	"tar":  {long: []string{"to-command", "checkpoint-action", "use-compress-program", "rsh-command", "rmt-command", "info-script", "new-volume-script", "extract", "create", "get", "append", "update", "delete", "catenate", "concatenate", "index-file", "volno-file", "listed-incremental"}, letters: "IFxcruAgG", like: regexp.MustCompile(":"), bare: true},
	"curl": {long: []string{"output", "remote-name", "remote-name-all", "config", "upload-file", "data", "form", "dump-header", "cookie-jar", "trace", "trace-ascii", "proxy", "socks5", "unix-socket", "netrc-file", "request", "json", "output-dir", "stderr", "engine", "libcurl", "key", "cert", "data-ascii", "data-binary", "data-raw", "data-urlencode",
		"url-query", "form-string", "variable", "cookie", "etag-save", "etag-compare", "hsts", "alt-svc", "ssl-sessions", "trace-config", "quote", "prequote", "postquote", "proto-default"}, letters: "oOKTdFDcbxXEQ",
		like: regexp.MustCompile(`^(-[A-Za-z]*|--[a-z-]+=)?@|%output\{|(?i)file:|^--(expand-|preproxy|proxy|socks)`)},
	"wget":       {long: []string{"output-document", "output-file", "append-output", "use-askpass", "execute", "post-file", "post-data", "body-file", "config", "directory-prefix", "input-file"}, letters: "OoaePi"},
	"rsync":      {long: []string{"rsh", "rsync-path", "daemon", "config"}, letters: "e"},
	"tcpdump":    {long: []string{"postrotate-command"}, letters: "zwWrFZ"},
	"journalctl": {long: []string{"vacuum-size", "vacuum-time", "vacuum-files", "rotate", "flush", "sync", "relinquish-var", "smart-relinquish-var", "setup-keys", "update-catalog", "file", "directory", "root", "image", "machine", "cursor-file", "namespace"}, letters: "DMi"},
	"systemctl": {long: []string{"host", "machine", "root", "image"}, letters: "HM", words: []string{"start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "kill", "clean", "freeze", "thaw",
		"set-property", "bind", "mount-image", "enable", "disable", "reenable", "preset", "preset-all", "mask", "unmask", "link", "revert", "add-wants", "add-requires", "edit", "set-default", "isolate", "emergency", "rescue", "halt", "poweroff",
		"reboot", "kexec", "soft-reboot", "exit", "switch-root", "suspend", "hibernate", "hybrid-sleep", "import-environment", "set-environment", "unset-environment", "daemon-reload", "daemon-reexec", "cancel", "default", "show-environment", "log-level", "service-log-level"}},
	"ip": {long: []string{"batch", "netns"}, letters: "bn", words: []string{"add", "del", "delete", "set", "change", "replace", "append", "flush", "exec", "netns", "restore", "attach", "detach"},
		second: []string{"show", "list", "ls", "get"}},
	"ss":       {long: []string{"kill", "diag", "filter", "net"}, letters: "KDFN"},
	"dmesg":    {long: []string{"clear", "read-clear", "console-off", "console-on", "console-level", "file"}, letters: "CcDEnF"},
	"date":     {long: []string{"set", "file"}, letters: "sf", like: regexp.MustCompile(`^[^+-]`)},
	"hostname": {long: []string{"file", "boot"}, letters: "Fb", like: regexp.MustCompile(`^[^-]`)},
	"sysctl":   {long: []string{"write", "load", "system"}, letters: "wpf", like: regexp.MustCompile(`=`)},
	"rpm": {long: []string{"eval", "define", "predefine", "undefine", "load", "macros", "rcfile", "pipe", "root", "dbpath", "install", "upgrade", "freshen", "reinstall", "erase", "delete", "import", "restore", "setperms", "setugids", "setcaps",
		"initdb", "rebuilddb", "specfile"}, letters: "UFeDE", like: regexp.MustCompile(`^-[^q-]*i[^q]*$|%\(|%\{lua`)},
	"uniq":  {second: []string{}},
	"mount": {letters: "oBRaM", long: []string{"bind", "options", "all", "move"}},
	"grep":  {long: []string{"file", "recursive", "dereference-recursive", "directories", "include", "exclude-from"}, letters: "frRd"},
	"zip":   {long: []string{"unzip-command"}, letters: "T"},
	"man":   {long: []string{"pager", "html", "config-file"}, letters: "PHC"},
	"diff":  {long: []string{"to-file", "from-file", "output"}},
	"df":    {long: []string{"sync"}},
	"xxd":   {letters: "r"},
	"du":    {long: []string{"files0-from", "exclude-from"}, letters: "X"},
	"wc":    {long: []string{"files0-from"}},
}

// program is the name that the lists above know a first word by.
func program(words argv) string {
	if len(words) == 0 || words[0].unknown {
		return ""
	}
	return path.Base(words[0].text)
}

// danger says what is dangerous about a command and not spelled out by the
// pattern that allows it; "" if there is nothing.
func danger(words argv, p *pattern) string {
	name := program(words)
	if name == "" {
		return ""
	}
	if slices.Contains(shells, name) || slices.Contains(carriers, name) && name != "find" || interpreters.MatchString(name) {
		if !(p.spells(0) && p.spells(1)) && !(p.spells(0) && len(words) == 1 && !p.rest) {
			return name + " runs what its arguments or its input say"
		}
	}
	known, operands := dangers[name], 0
	for i, w := range words {
		if i == 0 {
			continue
		}
		if w.text == "-" || !strings.HasPrefix(w.text, "-") {
			operands++
		}
		if w.unknown || p.spells(i) {
			continue
		}
		if known.has(w.text) || known.bare && i == 1 && known.has("-"+w.text) || known.second != nil && operands == 2 && !slices.Contains(known.second, w.text) {
			return fmt.Sprintf("%s %s can run, write or reach something else", name, w.text)
		}
	}
	return ""
}

func (d dangerous) has(arg string) bool {
	if slices.Contains(d.words, arg) || d.like != nil && d.like.MatchString(arg) {
		return true
	}
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		long, _, _ = strings.Cut(long, "=")
		return long != "" && slices.ContainsFunc(d.long, func(l string) bool { return strings.HasPrefix(l, long) })
	}
	if letters, ok := strings.CutPrefix(arg, "-"); ok {
		return strings.ContainsAny(letters, d.letters)
	}
	return false
}

// carried are the commands that a command would run in its turn, as far as they
// can be seen: every tail of a carrier's arguments, and the commands in a text
// given to a shell.
func carried(words argv) (tails, texts []argv) {
	name := program(words)
	carrier := slices.Contains(carriers, name)
	if carrier {
		for i := 1; i < len(words); i++ {
			tails = append(tails, words[i:])
		}
	}
	if carrier || slices.Contains(shells, name) || interpreters.MatchString(name) {
		var all strings.Builder // eval joins its arguments
		for _, w := range words[1:] {
			if w.unknown || refused(w.text) != "" {
				continue
			}
			texts = append(texts, parse(w.text).commands...)
			if text := ownValue(w.text); text != "" {
				texts = append(texts, parse(text).commands...)
			}
			all.WriteString(w.text + " ")
		}
		if name == "eval" {
			texts = append(texts, parse(all.String()).commands...)
		}
	}
	return tails, texts
}

// ownValue is the value that an option has in its own word: --filter=x, -cx.
func ownValue(w string) string {
	if strings.HasPrefix(w, "--") {
		_, value, _ := strings.Cut(w, "=")
		return value
	}
	if strings.HasPrefix(w, "-") && len(w) > 2 {
		return w[2:]
	}
	return ""
}
