package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// verbs is for programs whose first words say what to do. Each verb is these
// words; a * at its end lets more words follow, none of which is an option. The
// options may stand anywhere but between the words of a verb, where one may take
// the next word for its value; hosts given with -h must be of the own network.
func verbs(known options, list ...string) func(argv) string {
	more := each(free)
	host := each(ownHost)
	return func(args argv) string {
		given, operands, _, why := known.scan(args, false)
		if why == "" {
			why = more(operands)
		}
		for _, h := range values(given, "-h") {
			if why == "" {
				why = host(argv{{text: h}})
			}
		}
		if why != "" {
			return why
		}
		_, _, rest, _ := known.scan(args, true)
		var have []string
		for _, w := range rest {
			have = append(have, w.text)
		}
		for _, v := range list {
			want, open := strings.CutSuffix(v, "*")
			fields := strings.Fields(want)
			if len(have) >= len(fields) && slices.Equal(have[:len(fields)], fields) && (open || len(operands) == len(fields)) {
				return ""
			}
		}
		if len(have) == 0 {
			return "not without a verb"
		}
		return strings.Join(have[:min(2, len(have))], " ") + " is not a known safe verb"
	}
}

// behind wants no options before the verb but those of the program itself. Of
// others it is not known whether they take the verb for their value, so that the
// word behind it would be the verb.
func behind(own options, then func(argv) string) func(argv) string {
	return func(args argv) string {
		if _, _, _, why := own.scan(args, true); why != "" {
			return "before the verb " + why
		}
		return then(args)
	}
}

// readable says why a program must not show the content of a file; "" if it may.
// Logs and the state of the system may be shown; environments, memory and
// whatever can hold a password may not.
func readable(file string) string {
	no := file + " is not a file of logs or of the system's state"
	if !strings.HasPrefix(file, "/") || strings.Contains("/"+file+"/", "/../") || path.Clean(file) != strings.TrimSuffix(file, "/") && file != "/" {
		return no
	}
	// What a pattern stands for begins with what stands before it, and goes up
	// again only where a dot is written: .? and .* are .., too.
	if i := strings.IndexAny(file, "*?["); i >= 0 {
		if strings.Contains(file, "/.") {
			return no
		}
		folder := file[:strings.LastIndexByte(file[:i], '/')+1]
		switch {
		case strings.HasPrefix(folder, "/var/log/"), folder == "/proc/pressure/":
			return ""
		case strings.HasPrefix(folder, "/sys/class/"), strings.HasPrefix(folder, "/sys/block/"):
			// Some have passwords among them, so that the last name must be known.
			in, last := path.Split(file)
			if !secretState.MatchString(last) && (!strings.ContainsAny(last, "*?[") || strings.HasSuffix(in, "/statistics/") || strings.HasSuffix(in, "/queue/")) {
				return ""
			}
		}
		return no
	}
	if (strings.HasPrefix(file, "/sys/") || strings.HasPrefix(file, "/proc/sys/")) && secretState.MatchString(path.Base(file)) {
		return no
	}
	if readableFile.MatchString(file) && !strings.HasPrefix(file, "/sys/kernel/debug") && !strings.HasPrefix(file, "/sys/kernel/tracing") && !strings.HasPrefix(file, "/sys/firmware") {
		return ""
	}
	return no
}

var readableFile = regexp.MustCompile(`^(` +
	`/var/log(/.*)?|` +
	`/proc/(loadavg|meminfo|cpuinfo|mounts|stat|diskstats|uptime|version|swaps|vmstat|interrupts|softirqs|buddyinfo|zoneinfo|slabinfo|partitions|filesystems|modules|cmdline|locks|mdstat|devices|crypto|cgroups|schedstat|iomem|ioports)|` +
	`/proc/(net|pressure|irq|sys/(fs|net|vm|kernel))/[A-Za-z0-9_./-]+|` +
	`/proc/(self|[0-9]+)(/task/[0-9]+)?/(status|stat|statm|limits|io|sched|schedstat|wchan|smaps_rollup|oom_score|oom_score_adj|oom_adj|cgroup|mounts|mountinfo|mountstats|comm|cpuset|loginuid|net/[a-z0-9_]+)|` +
	`/sys(/.*)?|` +
	`/etc/(os-release|lsb-release|debian_version|redhat-release|centos-release|alpine-release|hostname|hosts|resolv\.conf|nsswitch\.conf|host\.conf|timezone|issue|services|protocols|passwd|group|shells|mtab|machine-id|` +
	`sysctl\.conf|sysctl\.d/[A-Za-z0-9_.-]+|security/limits\.conf|security/limits\.d/[A-Za-z0-9_.-]+|ssh/sshd_config|chrony\.conf|chrony/chrony\.conf|ntp\.conf|systemd/[a-z]+\.conf|logrotate\.conf|logrotate\.d/[A-Za-z0-9_.-]+)|` +
	`/usr/lib/os-release|/dev/null|/run/systemd/resolve/resolv\.conf)$`)

// ps takes its options in three dialects. In the one without dashes e shows
// environments, and what ps cannot read as a whole it reads again in that one,
// dashes or not. So an e may be there only if ps is sure to understand the rest.
func ps(args argv) string {
	const known options = "-AadeflFHjLMTVcwyZ -o: -p: -q: -C: -u: -U: -G: -g: -t: -s: --sort= --forest --no-headers --headers --format= --pid= --ppid= --user= --cols= --width= --quick-pid= --cumulative --deselect"
	var rest argv
	for _, w := range args {
		// "ps -aux" is a dialect, too: -u would take x for a user.
		if !w.unknown && (w.text == "-aux" || w.text == "-auxf" || w.text == "-auxw" || w.text == "-auxww") {
			continue
		}
		rest = append(rest, w)
	}
	given, operands, _, why := known.scan(rest, false)
	if why == "" {
		why = each(`^([acfghjlmnrsuvwxTHLSV]+|[0-9]+(,[0-9]+)*)$`)(operands)
	}
	if why != "" {
		return why
	}
	e, formats, sure := false, 0, len(rest) == len(args)
	for _, o := range given {
		long := strings.HasPrefix(o.name, "--")
		if len(rest) < len(args) && !long {
			return o.name + " is read as another dialect's"
		}
		switch o.name {
		case "-e":
			e = true
		case "-f", "-F", "-l", "-j":
			formats++
		case "-o", "--format":
			if !psColumns.MatchString(o.value) || strings.Contains(o.value, "environ") {
				return "with these columns"
			}
			sure = sure && psKnown.MatchString(o.value)
		case "-C":
			e = e || strings.Contains(o.value, "e")
		case "-p", "--pid", "--ppid":
			if !psNumbers.MatchString(o.value) {
				return o.name + " with " + o.value
			}
		case "-u", "-U", "-G", "-g", "-t", "-s", "-q", "--user", "--quick-pid":
			// A value that no user has is read again as letters without a dash.
			if !psOwner.MatchString(o.value) {
				return o.name + " with " + o.value
			}
			sure = sure && (o.name == "-u" || o.name == "--user") && psNobody.MatchString(o.value)
		case "-A", "-a", "-d", "-w", "-L", "-H", "--forest", "--no-headers", "--headers", "--sort":
		default:
			sure = false
		}
	}
	columns := has(given, "-o|--format")
	sure = sure && each(`^w+$`)(operands) == "" && formats < 2 && !(formats > 0 && columns) && !(has(given, "-L") && has(given, "-H|--forest"))
	if e && !sure {
		return "-e with options that ps may not understand, and then shows environments"
	}
	return ""
}

var (
	psColumns = regexp.MustCompile(`^[a-z_:0-9,=% -]+$`)
	psKnown   = regexp.MustCompile(`^((pid|ppid|tid|lwp|spid|nlwp|thcount|user|euser|ruser|uid|euid|ruid|group|egroup|gid|pgid|pgrp|sid|sess|stat|state|s|f|pcpu|%cpu|c|pmem|%mem|vsz|vsize|rss|rsz|sz|size|etime|etimes|time|cputime|cputimes|` +
		`times|comm|ucmd|cmd|args|command|wchan|ni|nice|pri|psr|cls|class|policy|rtprio|tty|tt|tname|start|lstart|stime|bsdtime|bsdstart|start_time|cgroup|unit|slice|maj_flt|min_flt|label|pidns|netns|mntns)(:[0-9]+)?(=[a-z]*)?(,|$))+$`)
	psNumbers = regexp.MustCompile(`^[0-9]+(,[0-9]+)*$`)
	// psNobody are owners that no dialect can read otherwise, so that ps fails if
	// there are none: in www-data it is the dash, in postgres a p without a number.
	psNobody = regexp.MustCompile(`^(root|p[a-z]+|[acfghjlmnrsuvwxe]*[bdiyz_-][A-Za-z0-9_.-]*)$`)
	psOwner  = regexp.MustCompile(`^(root|p[a-z]+|[A-Za-z0-9_,.-]*[bdiyz0-9_-][A-Za-z0-9_,.-]*)$`)
)

func systemctl(args argv) string {
	const known options = "-alqr -n: -o: -t: -p: --all --full --no-pager --plain --failed --no-legend --legend= --type= --state= --lines= --output= --property= --value --quiet --system --reverse --after --before --with-dependencies --recursive --show-types"
	given, _, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	if why := verbs(known, "", "status *", "is-active *", "is-enabled *", "is-failed *", "is-system-running", "list-units *", "list-unit-files *", "list-timers *",
		"list-sockets *", "list-dependencies *", "list-jobs *", "list-automounts *", "list-paths *", "get-default", "show *")(args); why != "" {
		return why
	}
	if !slices.ContainsFunc(args, func(w word) bool { return w.text == "show" }) {
		return ""
	}
	// All properties of a unit have its environment among them.
	some := false
	for _, o := range given {
		if o.name != "-p" && o.name != "--property" {
			continue
		}
		if some = true; !propertyNames.MatchString(o.value) || strings.Contains(o.value, "Environment") {
			return "show with the property " + o.value
		}
	}
	if !some {
		return "show only with -p and properties that are not its environment"
	}
	return ""
}

var propertyNames = regexp.MustCompile(`^[A-Za-z]+(,[A-Za-z]+)*$`)

func ip(args argv) string {
	const known options = "-46sdjpocr -br -brief -stats -statistics -details -json -pretty -oneline -color -resolve -family:"
	for len(args) > 0 && !args[0].unknown && strings.HasPrefix(args[0].text, "-") {
		t := args[0].text
		if !slices.Contains(strings.Fields(string(known)), t) && !regexp.MustCompile(`^-[46sdjpocr]$`).MatchString(t) {
			return t + " is not a known safe option"
		}
		args = args[1:]
	}
	if why := each(`^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$`)(args); why != "" || len(args) == 0 {
		return "not without an object or with what is no name or address"
	}
	objects := []string{"a", "addr", "address", "l", "link", "r", "ro", "route", "n", "neigh", "neighbor", "neighbour", "rule", "maddr", "maddress", "mroute", "netns", "vrf", "tunnel", "xfrm"} // of xfrm, state has keys
	if !slices.Contains(objects, args[0].text) {
		return args[0].text + " is not a known object"
	}
	if len(args) == 1 {
		return ""
	}
	switch verb := args[1].text; {
	case verb == "show", verb == "list", verb == "ls", verb == "get" && strings.HasPrefix(args[0].text, "r"):
		return ""
	case args[0].text == "xfrm" && len(args) <= 3 && verb == "policy":
		// It shows, unless another verb follows; show is the only one that may.
		if len(args) == 2 || args[2].text == "show" {
			return ""
		}
	}
	return args[1].text + " is not a verb that shows"
}

func ethtool(args argv) string {
	switch {
	case len(args) == 2 && !args[0].unknown && slices.Contains([]string{"-i", "-k", "-S", "-g", "-a", "-c", "-l", "-T", "-m", "-x", "-n", "-u", "--driver", "--statistics", "--show-features", "--show-ring", "--show-coalesce", "--show-channels", "--show-pause"}, args[0].text):
		args = args[1:]
	case len(args) != 1:
		return "only with one interface, and what to show of it"
	}
	return each(word_)(args)
}

var filterWord = regexp.MustCompile(`^(\(|\)|=|==|!=|<|>|<=|>=|eq|ne|neq|lt|gt|le|ge|and|or|not|&|\||!|&&|\|\||src|dst|sport|dport|dev|state|exclude|all|connected|synchronized|bucket|big|` +
	`established|syn-sent|syn-recv|fin-wait-1|fin-wait-2|time-wait|closed|close-wait|last-ack|listening|listen|closing|autobound|:?[0-9]+|\(?:?[a-z]{1,15}\)?|` +
	`[0-9.*\[\]/]*(:[0-9*]+)?|\[?[0-9a-fA-F:]+\]?(/[0-9]+)?(:[0-9*]+)?)$`)

// socketFilter lets no host be named but by its address: ss would ask for it.
func socketFilter(operands argv) string {
	behind := ""
	for _, w := range operands {
		if w.unknown {
			return "the filter is not known"
		}
		for _, f := range strings.Fields(w.text) {
			named := strings.ContainsAny(f, "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ")
			if !filterWord.MatchString(f) || named && (behind == "src" || behind == "dst") {
				return "the filter has " + f
			}
			behind = f
		}
	}
	return ""
}

// dig asks servers of the own network alone: a name goes to whoever is asked.
func dig(args argv) string {
	const known options = "-46 -p: -t: -x: -c: -q:"
	given, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	for _, o := range given {
		if (o.name == "-x" || o.name == "-q") && !regexp.MustCompile(ownHost).MatchString(o.value) {
			return o.name + " with a name outside"
		}
	}
	return each(`^(\+(no)?[a-z]+(=[0-9]+)?|@` + private + `|A|AAAA|MX|NS|TXT|SOA|SRV|PTR|CNAME|CAA|DS|DNSKEY|ANY|any|a|aaaa|mx|ns|txt|soa|srv|ptr|cname|IN)$|` + ownHost)(operands)
}

func getent(args argv) string {
	const known options = "-s:"
	_, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	if len(operands) == 0 || operands[0].unknown || !slices.Contains([]string{"hosts", "ahosts", "ahostsv4", "ahostsv6", "passwd", "group", "services", "protocols", "networks", "initgroups"}, operands[0].text) {
		return "only for hosts, passwd, group, services, protocols and networks"
	}
	return each(ownHost)(operands[1:])
}

// curl asks this very machine, whether it is there and how it is.
func curl(args argv) string {
	const known options = "-sSifkIvg46 -m: -w: -o: -H: --silent --show-error --fail --head --include --insecure --verbose --max-time= --connect-timeout= --write-out= --output= --header= --noproxy= --compressed --http1.1"
	given, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	for _, o := range given {
		switch o.name {
		case "-o", "--output":
			if o.value != nowhere {
				return "it may write nowhere but to " + nowhere
			}
		case "-w", "--write-out":
			if strings.HasPrefix(o.value, "@") || strings.Contains(o.value, "%output{") {
				return "-w with a file"
			}
		case "-H", "--header":
			if !regexp.MustCompile(`^(Host|Accept|User-Agent): ?[A-Za-z0-9 .*/;=,_-]+$`).MatchString(o.value) {
				return "with this header"
			}
		}
	}
	if len(operands) == 0 {
		return "not without a URL"
	}
	return each(`^(https?://)?(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?(/(-/(healthy|ready)|health[a-z]*|[a-z]*health|api/health|_health|actuator/health(/[a-z]+)?|livez|readyz|ready|live|ping|status|version|metrics|` +
		`nginx_status|stub_status|basic_status|server-status(\?auto)?|haproxy\?stats;csv|fpm-status|_cluster/health|_cat/[a-z]+)?/?)?$`)(operands)
}

const (
	grepOptions = "-# -EFGPivwxclLoqsbhHnaIzZyUTr -m: -A: -B: -C: -e: --extended-regexp --fixed-strings --basic-regexp --perl-regexp --ignore-case --no-ignore-case --invert-match --word-regexp --line-regexp --count " +
		"--files-with-matches --files-without-match --only-matching --quiet --silent --no-messages --byte-offset --no-filename --with-filename --line-number --text --null --null-data --line-buffered --initial-tab " +
		"--recursive --max-count= --after-context= --before-context= --context= --regexp= --color? --colour? --include= --exclude= --exclude-dir= --binary-files="
	zgrepOptions = "-# -EFGivwxclLoqshHna -m: -A: -B: -C: -e:"
)

func grep(known options) func(argv) string {
	return func(args argv) string {
		given, operands, _, why := known.scan(args, false)
		if why != "" {
			return why
		}
		if !has(given, "-e|--regexp") {
			if len(operands) == 0 || operands[0].unknown {
				return "what it looks for is not known"
			}
			operands = operands[1:]
		}
		if has(given, "-r|--recursive") {
			if len(operands) == 0 {
				return "where it looks is not known"
			}
			operands = slices.Clone(operands)
			for i, w := range operands {
				operands[i] = inside(w)
			}
		}
		return files(operands)
	}
}

// awk is for programs that pick and count. What runs, reads or writes something
// else needs one of these words, an @, or a | or > behind a print. They are
// looked for in strings and expressions, too, so that nothing hangs on telling
// those apart.
func awk(args argv) string {
	const known options = "-F: -v:"
	_, _, rest, why := known.scan(args, true)
	if why != "" {
		return why
	}
	if len(rest) == 0 || rest[0].unknown {
		return "its program is not known"
	}
	program := rest[0].text
	if awkWords.MatchString(program) || strings.ContainsAny(program, "@`") {
		return "its program can run or open something"
	}
	if i := strings.Index(program, "print"); i >= 0 && strings.ContainsAny(program[i:], "|>") {
		return "its program prints to somewhere"
	}
	var operands argv
	for _, w := range rest[1:] {
		// An assignment stands among the files.
		if w.unknown || !awkSetting.MatchString(w.text) {
			operands = append(operands, w)
		}
	}
	return files(operands)
}

var (
	awkWords   = regexp.MustCompile(`system\s*\(|getline|ENVIRON|PROCINFO|ARGV|ARGC|ARGIND|SYMTAB|FUNCTAB`)
	awkSetting = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=[^/]*$`)
)

// sed is for scripts that print some lines or replace text: no e, r, w, and no
// -i, -s or -f.
func sed(args argv) string {
	const known options = "-nErzu -e: --quiet --silent --regexp-extended --expression="
	given, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	var scripts []string
	for _, o := range given {
		if o.name == "-e" || o.name == "--expression" {
			scripts = append(scripts, o.value)
		}
	}
	if len(scripts) == 0 {
		if len(operands) == 0 || operands[0].unknown {
			return "its script is not known"
		}
		scripts, operands = []string{operands[0].text}, operands[1:]
	}
	for _, s := range scripts {
		if !sedPrints.MatchString(s) && !sedReplaces.MatchString(s) {
			return "its script does more than print lines or replace text"
		}
	}
	return files(operands)
}

const sedAddress = `([0-9]+|\$|/([^/\\]|\\[^\n])*/I?)`

var (
	sedPrints   = regexp.MustCompile(`^(` + sedAddress + `(,\+?` + sedAddress + `)?)? *!? *[pdq=](;? *\$?[0-9]*[pdq])?$`)
	sedReplaces = regexp.MustCompile(`^(` + sedAddress + `(,` + sedAddress + `)?)? *s(/([^/\\\n]|\\[^\n])*/([^/\\\n]|\\[^\n])*/|\|([^|\\\n]|\\[^\n])*\|([^|\\\n]|\\[^\n])*\||#([^#\\\n]|\\[^\n])*#([^#\\\n]|\\[^\n])*#|,([^,\\\n]|\\[^\n])*,([^,\\\n]|\\[^\n])*,)[gpiI0-9]*$`)
)

func jq(args argv) string {
	const known options = "-rcseMCnSaj --raw-output --compact-output --slurp --tab --sort-keys --exit-status --monochrome-output --color-output --join-output --indent="
	_, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	if len(operands) == 0 || operands[0].unknown {
		return "its filter is not known"
	}
	if jqWords.MatchString(operands[0].text) {
		return "its filter reads more than its input"
	}
	return files(operands[1:])
}

var jqWords = regexp.MustCompile(`env|ENV|import|include|input_filename|modulemeta|get_search_list|halt`)

// printf: some shells compute a number, and run what stands in it between brackets.
func printf(args argv) string {
	if len(args) == 0 || args[0].unknown || strings.HasPrefix(args[0].text, "-") {
		return "its format is not known"
	}
	if !printfTexts.MatchString(args[0].text) {
		return each(`^-?[0-9.]*$`)(args[1:])
	}
	return ""
}

// printfTexts are formats that print texts as they are.
var printfTexts = regexp.MustCompile(`^([^%]|%%|%-?[0-9]*(\.[0-9]+)?[sb])*$`)

// find walks and prints. What it runs on what it finds is judged as a command
// of its own, with the folders as its operands.
func find(args argv) string {
	var roots argv
	for len(args) > 0 && !(strings.HasPrefix(args[0].text, "-") && !args[0].glob || args[0].text == "(" || args[0].text == "!") {
		if args[0].unknown && !args[0].glob {
			return "where it looks is not known"
		}
		roots, args = append(roots, args[0]), args[1:]
	}
	if len(roots) == 0 {
		roots = known(".")
	}
	for i := 0; i < len(args); i++ {
		w := args[i]
		if w.unknown {
			return "an argument is only known when it runs"
		}
		switch {
		case slices.Contains(findTests, w.text):
		case slices.Contains(findValues, w.text):
			if i++; i == len(args) || args[i].unknown {
				return w.text + " lacks its value"
			}
		case w.text == "-exec":
			// A + ends it behind {} for all, elsewhere only for some.
			end := slices.IndexFunc(args[i:], func(w word) bool { return !w.unknown && (w.text == ";" || w.text == "+") })
			if end < 2 || args[i+end].text == "+" && args[i+end-1].text != "{}" {
				return "what it runs does not end"
			}
			for _, root := range roots {
				inner := slices.Clone(args[i+1 : i+end])
				for j := range inner {
					if inner[j].text == "{}" {
						inner[j] = inside(root)
					} else if strings.Contains(inner[j].text, "{}") {
						return "what it runs has {} inside a word"
					}
				}
				if why := diagnose(unit{words: inner}, maxDepth); why != "" {
					return "what it runs: " + why
				}
			}
			i += end
		default:
			return w.text + " is not a known safe test"
		}
	}
	return ""
}

// inside stands for files in a folder, one or many, of which no more is known than
// where they are.
func inside(folder word) word {
	if folder.unknown && !folder.glob {
		return folder
	}
	return word{text: strings.TrimSuffix(folder.text, "/") + "/*", unknown: true, glob: true}
}

var (
	findTests  = []string{"-print", "-print0", "-ls", "-depth", "-daystart", "-empty", "-mount", "-xdev", "-nouser", "-nogroup", "-prune", "-quit", "-readable", "-writable", "-executable", "-true", "-false", "-noleaf", "-a", "-o", "-and", "-or", "-not", "!", "(", ")", ",", "-warn", "-nowarn"}
	findValues = []string{"-maxdepth", "-mindepth", "-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename", "-regex", "-iregex", "-regextype", "-lname", "-ilname", "-type", "-xtype", "-size", "-mtime", "-atime", "-ctime", "-mmin", "-amin", "-cmin", "-newer", "-anewer", "-cnewer", "-newermt", "-newerct", "-perm", "-user", "-group", "-uid", "-gid", "-links", "-inum", "-fstype", "-used", "-printf", "-samefile"}
)

// docker looks at containers. What they were started with, and so their
// environment, is not shown.
func docker(args argv) string {
	const known options = "-aqslt -n: -f: --all --quiet --size --latest --last= --filter= --format= --no-trunc --no-stream --tail= --since= --until= --timestamps --details --digests"
	given, operands, _, why := known.scan(args, false)
	if why != "" {
		return why
	}
	if len(args) > 1 && args[0].text == "container" {
		return behind("", docker)(args[1:])
	}
	if len(operands) == 0 || operands[0].unknown {
		return "not without a verb"
	}
	switch operands[0].text {
	case "inspect":
		formats := values(given, "-f|--format")
		if len(formats) > 0 && !slices.ContainsFunc(formats, func(f string) bool { return !dockerFormat.MatchString(f) }) {
			return each(word_)(operands[1:])
		}
		return "inspect only with --format and a part that is not its configuration"
	case "logs":
		if has(given, "-f") {
			return "logs -f does not end"
		}
	case "compose":
		if has(given, "-f") {
			return "compose with a file, which may be a repository elsewhere"
		}
	case "top": // more words are options of ps, and with -l the first, too
		if len(operands) != 2 || len(given) > 0 {
			return "top only of one container"
		}
	case "stats":
		if !has(given, "--no-stream") {
			return "stats only with --no-stream"
		}
	}
	for _, o := range given {
		if o.name == "--format" && strings.Contains(o.value, "Config") {
			return "--format with the configuration"
		}
	}
	return verbs(known, "ps *", "ls *", "images *", "logs *", "stats *", "top *", "port *", "version", "info", "system df", "network ls", "volume ls", "image ls", "compose ps *", "compose ls", "compose top *", "diff *")(args)
}

var dockerFormat = regexp.MustCompile(`^(\{\{ ?(json )?\.(State|RestartCount|Name|Image|Created|NetworkSettings|Mounts|HostConfig\.(RestartPolicy|Memory|NanoCpus|LogConfig\.Type))(\.[A-Za-z]+)* ?\}\}[ ,:|\\tn-]*)+$`)

var kubeKinds = regexp.MustCompile(`^(all|po|pods?|no|nodes?|svc|services?|deploy|deployments?|rs|replicasets?|sts|statefulsets?|ds|daemonsets?|jobs?|cj|cronjobs?|ev|events?|ns|namespaces?|ing|ingress(es)?|ep|endpoints|endpointslices?|` +
	`hpa|horizontalpodautoscalers?|pvc|persistentvolumeclaims?|pv|persistentvolumes?|sc|storageclass(es)?|netpol|networkpolic(y|ies)|pdb|poddisruptionbudgets?|quota|resourcequotas?|limits|limitranges?|cs|componentstatus(es)?|leases?)$`)

// kubectl lists, without the content of objects: that has environments, and of
// secrets and configuration it is the secret.
func kubectl(args argv) string {
	const known options = "-Ap -n: -l: -o: -L: -c: --namespace= --all-namespaces --selector= --output= --field-selector= --sort-by= --show-labels --no-headers --label-columns= --container= --all-containers? --tail= --since= --since-time= --previous --timestamps --prefix --context= --containers --limit-bytes="
	given, operands, _, why := known.scan(args, false)
	if why == "" {
		why = each(free)(operands)
	}
	if why != "" {
		return why
	}
	for _, o := range values(given, "-o|--output") {
		if o != "wide" && o != "name" {
			return "-o " + o
		}
	}
	if len(operands) == 0 {
		return "not without a verb"
	}
	kinds := func(shape func(string) bool) string {
		if len(operands) < 2 {
			return "not without a kind of object"
		}
		for _, w := range operands[1:] {
			if strings.Contains(w.text, "/") {
				for kind := range strings.SplitSeq(w.text, ",") {
					kind, _, _ = strings.Cut(kind, "/")
					if !shape(kind) {
						return "not of " + kind
					}
				}
			}
		}
		if !strings.Contains(operands[1].text, "/") {
			for kind := range strings.SplitSeq(operands[1].text, ",") {
				if !shape(kind) {
					return "not of " + kind
				}
			}
		}
		return ""
	}
	switch operands[0].text {
	case "get":
		return kinds(kubeKinds.MatchString)
	case "describe":
		return kinds(func(kind string) bool {
			return slices.Contains([]string{"no", "node", "nodes", "svc", "service", "services", "ns", "namespace", "ing", "ingress", "pvc", "pv", "hpa", "ep", "endpoints", "quota"}, kind)
		})
	}
	return verbs(known, "logs *", "top pod *", "top pods *", "top node *", "top nodes *", "version", "cluster-info", "api-resources", "api-versions", "events *", "rollout status *", "rollout history *", "config current-context", "config get-contexts")(args)
}

// openssl shows a certificate, of a file or of a service on this machine.
func openssl(args argv) string {
	if len(args) == 0 || args[0].unknown {
		return "not without a verb"
	}
	values := map[string]func(string) bool{}
	var flags []string
	switch args[0].text {
	case "version":
		return each(`^-[avpd]$`)(args[1:])
	case "x509":
		flags = []string{"-noout", "-text", "-dates", "-startdate", "-enddate", "-subject", "-issuer", "-serial", "-fingerprint", "-sha256", "-ext", "subjectAltName", "-email", "-purpose"}
		values["-in"] = regexp.MustCompile(`^/[A-Za-z0-9_./-]+\.(crt|pem|cer|cert)$`).MatchString
		values["-checkend"] = regexp.MustCompile(digits).MatchString
		values["-inform"] = func(v string) bool { return v == "PEM" || v == "DER" }
		if !slices.ContainsFunc(args, func(w word) bool { return w.text == "-noout" }) {
			return "x509 only with -noout"
		}
	case "s_client":
		flags = []string{"-showcerts", "-brief", "-no_ign_eof", "-tls1_2", "-tls1_3"}
		values["-connect"] = regexp.MustCompile(`^(localhost|127\.0\.0\.1|\[::1\]):[0-9]{1,5}$`).MatchString
		values["-servername"] = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`).MatchString
		values["-starttls"] = regexp.MustCompile(`^[a-z0-9]+$`).MatchString
		if !slices.ContainsFunc(args, func(w word) bool { return w.text == "-connect" }) {
			return "s_client only with -connect to this machine"
		}
	default:
		return args[0].text + " is not a known safe verb"
	}
	for i := 1; i < len(args); i++ {
		w := args[i]
		check, takes := values[w.text]
		switch {
		case w.unknown:
			return "an argument is only known when it runs"
		case takes && i+1 < len(args) && !args[i+1].unknown && check(args[i+1].text):
			i++
		case !slices.Contains(flags, w.text):
			return w.text + " is not a known safe option"
		}
	}
	return ""
}

// ceph reads commands if it is given none.
func ceph(args argv) string {
	if len(args) == 1 && (args[0].text == "-s" || args[0].text == "--status") {
		return ""
	}
	return verbs("", "status", "health", "health detail", "df", "df detail", "osd tree", "osd df", "osd stat", "mon stat", "pg stat", "versions")(args)
}
