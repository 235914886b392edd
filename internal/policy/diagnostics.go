package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// diagnosticsClass is what patterns call the commands below: Tool(@diagnostics).
const diagnosticsClass = "diagnostics"

// class is the pattern @diagnostics.
type class struct{ subject Subject }

func (c class) matches(u unit, _ bool) bool { return c.why(u) == "" }

func (c class) covers(other matcher) bool { return other == matcher(c) }

// why says what keeps u out of the class; "" if nothing does.
func (c class) why(u unit) string {
	if c.subject == Path {
		for _, names := range append(u.path.real, u.path.segs) {
			if why := readable("/" + strings.Join(names, "/")); u.path.root != '/' || why != "" {
				return u.path.written + " is not a file of logs or of the system's state"
			}
		}
		return ""
	}
	return diagnose(u, 0)
}

// diagnose says why a command is not one of the diagnostics; "" if it is. It
// sees through wrappers, of which sudo is one: what is here reads the same
// things whoever reads them, and is chosen for that.
func diagnose(u unit, depth int) string {
	words := u.words
	if len(words) == 0 || words[0].unknown {
		return "which program it runs is not known"
	}
	name := program(words)
	if !systemProgram(words[0]) {
		return words[0].text + " is not a program of the system"
	}
	if depth > maxDepth {
		return "it is nested too deeply"
	}
	d, ok := diagnostics[name]
	if name == "find" { // not in the table, since it comes back here
		d, ok = diagnostic{all: find}, true
	}
	if ok {
		why := d.why(words[1:])
		if why == "" && name == "openssl" && words[1].text == "s_client" && !u.silent {
			why = "s_client sends on what it reads: only behind a bare echo, or with </dev/null"
		}
		if why == "" {
			return ""
		}
		if _, wraps := wrappers[name]; !wraps {
			return name + ": " + why
		}
	}
	if len(words) == 2 && words[1].text == "--version" && versioned.MatchString(name) {
		return ""
	}
	inner, ok := unwrap(u)
	if !ok {
		if _, wraps := wrappers[name]; wraps {
			return "what " + name + " runs cannot be read"
		}
		return name + " is not one of its commands"
	}
	for _, in := range inner {
		if why := diagnose(in, depth+1); why != "" {
			return why
		}
	}
	return ""
}

// versioned are programs that show their version and nothing else when asked.
var versioned = regexp.MustCompile(`^(nginx|apache2|httpd|haproxy|java|python3?|node|ruby|perl|php|go|gcc|bash|git|docker|podman|psql|mysql|mariadb|postgres|mysqld|` +
	`redis-server|redis-cli|mongod|rabbitmqctl|openssl|curl|systemctl|journalctl|uname|ls|grep|awk|sed|tar|rsync|ansible|helm|envoy|consul|vault|etcd|prometheus|alertmanager|node_exporter)$`)

// diagnostic says with which arguments a program shows something about the
// system and does nothing else: it writes no file and no setting, starts
// nothing, ends by itself or with the time limit, asks no host but by its
// address or a name of the own network, shows no environment of a process and
// reads no file that may hold a secret.
type diagnostic struct {
	options options
	// operands says what is wrong with the other arguments; nil: there are none.
	operands func(argv) string
	// check looks at all of it, after options and operands were found good.
	check func([]option, argv) string
	// all replaces the three for programs with verbs.
	all func(argv) string
}

func (d diagnostic) why(args argv) string {
	if d.all != nil {
		return d.all(args)
	}
	given, operands, _, why := d.options.scan(args, false)
	switch {
	case why != "":
		return why
	case d.operands == nil && len(operands) > 0:
		return "it takes no " + quoted(operands[:1]) + " here"
	case d.operands != nil:
		why = d.operands(operands)
	}
	if why == "" && d.check != nil {
		why = d.check(given, operands)
	}
	return why
}

// diagnostics are the commands that people on call use to look around.
var diagnostics = map[string]diagnostic{
	// The machine.
	"uptime":    {options: "-ps --pretty --since"},
	"uname":     {options: "-asnrvmpio --all --kernel-name --nodename --kernel-release --kernel-version --machine --operating-system"},
	"arch":      {},
	"nproc":     {options: "--all"},
	"hostname":  {options: "-fisAId --fqdn --long --ip-address --all-ip-addresses --short --domain"},
	"date":      {options: "-uR -I? -d: -r: --utc --universal --rfc-3339= --iso-8601? --date=", operands: each(`^\+.*$`)},
	"lscpu":     {options: "-aeJpyx --all --extended? --parse? --json"},
	"lsmem":     {options: "-abJnr --all --json --summary?"},
	"lsblk":     {options: "-abdfimnlpPrsStTzJO -o: -e: -I: -x: --all --bytes --fs --json --list --noheadings --nodeps --paths --raw --topology --scsi --output= --output-all --sort= --tree?", operands: anyPath},
	"lspci":     {options: "-knvmtDq -s: -d:"},
	"lsusb":     {options: "-tv -s: -d:"},
	"lsmod":     {},
	"modinfo":   {options: "-dapn -F:", operands: each(word_)},
	"lsns":      {options: "-lnprtJu -o: -t: -p: --json --list --output= --type= --task="},
	"lsipc":     {options: "-agmqst -i: --json"},
	"ipcs":      {options: "-amqstpclu --human"},
	"numactl":   {options: "-Hs --hardware --show"},
	"numastat":  {options: "-cmnsvz -p:"},
	"dmidecode": {options: "-q -t: -s: --type= --string= --quiet"},
	"sysctl":    {options: "-aenN --all --values --names --ignore", operands: settings},
	"getconf":   {options: "-a", operands: each(word_)},
	"ulimit":    {options: "-aHScdflmnpstuvx"},
	"mcelog":    {options: "--client", check: needs("--client")},
	"sensors":   {options: "-uAj"},
	"dmesg":     {options: "-THkrtuxeP -l: -f: -L? --human --ctime --reltime --kernel --userspace --decode --nopager --notime --level= --facility= --since= --until= --time-format= --color?"},

	// Time, login and system state.
	"timedatectl":     {all: verbs("-a --no-pager --all", "", "status", "show", "timesync-status", "show-timesync", "list-timezones")},
	"hostnamectl":     {all: verbs("--no-pager", "", "status")},
	"localectl":       {all: verbs("--no-pager", "", "status")},
	"loginctl":        {all: verbs("-a --no-pager --all", "", "list-sessions", "list-users", "list-seats", "session-status *", "user-status *")},
	"resolvectl":      {all: verbs("--no-pager --legend=", "", "status", "statistics", "dns", "domain")},
	"networkctl":      {all: verbs("-as --all --no-pager --stats", "", "list", "status *")},
	"coredumpctl":     {all: verbs("-1r --no-pager -n: --since= --until= --reverse", "", "list *", "info *")},
	"systemd-analyze": {all: verbs("--no-pager", "", "time", "blame", "critical-chain *")},
	"chronyc":         {all: verbs("-nva -m", "tracking", "sources", "sourcestats", "activity", "ntpdata", "selectdata", "serverstats")},
	"ntpq":            {options: "-pn46", check: needs("-p")},
	"ntpstat":         {},
	"getenforce":      {},
	"sestatus":        {options: "-bv"},
	"aa-status":       {},
	"runlevel":        {},
	"id":              {options: "-ugGnrzZ --user --group --groups --name", operands: each(word_)},
	"whoami":          {},
	"groups":          {operands: each(word_)},
	"who":             {options: "-abdHlmpqrstTu --all --boot --count --heading --users"},
	"w":               {options: "-hsfoiu --no-header --short --from", operands: each(word_)},
	"users":           {},
	"last":            {options: "-# -aFdixwR -n: -s: -t: --since= --until= --limit= --fulltimes --hostlast --fullnames", operands: each(word_)},
	"systemctl":       {all: systemctl},
	"journalctl": {options: "-# -aeklmqrx -b? -n: -o: -p: -t: -u: -S: -U: -g: -F: -N --no-pager --since= --until= --unit= --user-unit= --priority= --identifier= --grep= --case-sensitive? " +
		"--lines= --output= --output-fields= --boot? --list-boots --dmesg --reverse --utc --no-hostname --no-tail --no-full --full --all --catalog --quiet --disk-usage --facility= --system --user " +
		"--pager-end --merge --truncate-newline --field= --fields --show-cursor --cursor= --after-cursor= --exclude-identifier=",
		operands: each(`^(\+|-?[0-9]+|[A-Z_][A-Z0-9_]*=.*|/(usr/)?s?bin/[A-Za-z0-9._-]+)$`)},

	// Processes and load.
	"ps":      {all: ps},
	"pgrep":   {options: "-acfilnoxv -d: -u: -U: -P: -g: -G: -t: -s: -r: --full --list-name --list-full --count --newest --oldest --exact --parent= --euid=", operands: each(free)},
	"pidof":   {options: "-sxcq -o:", operands: each(word_)},
	"pstree":  {options: "-aAcglnpsStTuU -H: -N:", operands: each(word_)},
	"pwdx":    {operands: each(digits)},
	"top":     {options: "-bcHi1S -n: -o: -p: -u: -d: -E: -e: -w?", check: needs("-b", "-n")},
	"free":    {options: "-bkmghltwv --bytes --kibi --mebi --gibi --human --si --total --wide -s: -c:", check: together("-s", "-c")},
	"vmstat":  {options: "-adfmnstwDy -S: -p: --active --forks --slabs --stats --disk --wide --timestamp --unit=", operands: rounds},
	"iostat":  {options: "-cdhkmNstxyz -p: -o: -j: --human --pretty --dec=", operands: rounds, check: likeThis("-p|-o|-j", `^[A-Za-z]`)},
	"mpstat":  {options: "-AnuT -P: -I: -N: -o:", operands: rounds},
	"pidstat": {options: "-dHhIlRrstUuvw -p: -C: -T: -G: --human --dec=", operands: rounds},
	"sar": {options: "-ABbdFHhpqRrSuVvWwyzt -I: -m: -n: -P: -s: -e: -i: -f: -# --human --pretty", operands: rounds, check: all(
		likeThis("-s|-e", `^[0-9]{2}:[0-9]{2}(:[0-9]{2})?$`), likeThis("-I", `^(SUM|ALL)$`), func(given []option, _ argv) string { return fileOptions(given, "-f") })},
	"ipvsadm": {options: "-Lln --list --numeric --stats --rate"},
	"lsof":    {options: "-nPabltwUOR -i? -p: -u: -c: -s? -T?", operands: anyOf(`^(\+(L[0-9]*|[dD])|`+sockets+`)$`, below), check: likeThis("-i", `^(`+sockets+`)?$`)},
	"fuser": {options: "-vmu -n:", operands: anyOf(`^[a-z0-9-]+(/(tcp|udp))?$`, below), check: func(_ []option, operands argv) string {
		return each(`^[^,]*$`)(slices.DeleteFunc(slices.Clone(operands), func(w word) bool { return w.glob })) // host names stand behind a comma
	}},
	"jps": {options: "-lmvq"},
	"jstat": {all: func(args argv) string {
		numbers := slices.DeleteFunc(slices.Clone(args), func(w word) bool { return strings.HasPrefix(w.text, "-") })
		if len(numbers) == 2 { // the second is an interval
			return "it would not end"
		}
		return each(`^(-(class|compiler|gc|gccapacity|gccause|gcnew|gcold|gcmetacapacity|gcutil)|-t|[0-9]+|[0-9]+m?s)$`)(args)
	}},
	"jstack": {options: "-le", operands: each(digits)},

	// Disks and files, by their names and sizes.
	"df":         {options: "-ahHiklPT -t: -x: -B: --all --human-readable --inodes --local --portability --print-type --total --si --type= --exclude-type= --block-size= --output?", operands: anyPath},
	"du":         {options: "-abcDhHkLlmPSsx0 -d: -t: -B: --all --apparent-size --bytes --total --human-readable --max-depth= --one-file-system --summarize --separate-dirs --threshold= --time? --exclude= --inodes --block-size= --si", operands: anyPath},
	"ls":         {options: "-1aAbBcCdFgGhHiklLmnNopqQrsStuUvxXZ -I: -w: -T: --all --almost-all --human-readable --inode --size --reverse --directory --full-time --time= --time-style= --sort= --color? --group-directories-first --si --block-size= --ignore= --numeric-uid-gid --classify?", operands: anyPath},
	"stat":       {options: "-fLt -c: --format= --printf= --file-system --terse --dereference", operands: anyPath},
	"file":       {options: "-biLhkN0r --brief --mime --mime-type --mime-encoding --dereference", operands: anyPath},
	"readlink":   {options: "-femnqsvz --canonicalize", operands: anyPath},
	"realpath":   {options: "-emsLPqz", operands: anyPath},
	"namei":      {options: "-lmovnx --long --modes --owners", operands: anyPath},
	"getfacl":    {options: "-acdenpst --absolute-names --omit-header", operands: anyPath},
	"lsattr":     {options: "-adlv", operands: anyPath},
	"findmnt":    {options: "-AabcDefiJlnoPRrTuvV -o: -O: -S: -t: -T: -M: --all --bytes --df --json --list --noheadings --output= --types= --target= --source= --mountpoint= --raw --real --pseudo", operands: anyPath},
	"mount":      {options: "-l -t:"},
	"mountpoint": {options: "-dqnx", operands: anyPath},
	"swapon":     {options: "-s --show? --summary --noheadings --bytes", check: needs("-s|--show|--summary")},
	"blkid":      {options: "-kL"},
	"pvs":        {options: "-av -o: -O: --all --noheadings --units= --segments --nosuffix --options= --readonly", operands: anyPath},
	"vgs":        {options: "-av -o: -O: --all --noheadings --units= --nosuffix --options= --readonly", operands: each(word_)},
	"lvs":        {options: "-av -o: -O: --all --noheadings --units= --segments --nosuffix --options= --readonly", operands: anyPath},
	"smartctl":   {options: "-aHiAxc -l: -d: -n: --all --xall --info --health --attributes --scan", operands: each(device), check: noValue("-l", ",", "offline")},
	"nvme":       {all: verbs("-o:", "list", "list-subsys", "smart-log *", "error-log *", "id-ctrl *")},
	"mdadm":      {options: "-D --detail --scan", operands: each(device), check: needs("-D|--detail")},
	"multipath":  {options: "-l -ll -v:", check: needs("-l")},
	"zpool": {all: func(args argv) string {
		if slices.ContainsFunc(args, func(w word) bool { return !w.unknown && numeric.MatchString(w.text) }) {
			return "it would not end"
		}
		return verbs("-xvHp", "status *", "list *", "history")(args)
	}},
	"zfs":      {all: verbs("-Hpr -o: -t:", "list *")},
	"tune2fs":  {options: "-l", operands: each(device), check: needs("-l")},
	"dumpe2fs": {options: "-h", operands: each(device), check: needs("-h")},
	"xfs_info": {operands: anyPath},

	// The network, from here.
	"ip":           {all: ip},
	"tc":           {all: verbs("-sd -p", "qdisc", "qdisc show *", "class show *", "filter show *")},
	"bridge":       {all: verbs("-sd -c?", "link", "link show *", "fdb show *", "vlan show *")},
	"ss":           {options: "-natuplsrmieoxwdZz46bOHSMhV0 -f: -A: --numeric --all --listening --tcp --udp --raw --unix --processes --summary --info --memory --extended --options --resolve --ipv4 --ipv6 --family= --query= --no-header --oneline", operands: socketFilter},
	"netstat":      {options: "-anptuleirsgwxoW46v --all --numeric --programs --listening --statistics --tcp --udp --route --interfaces? --wide"},
	"ifconfig":     {options: "-as", operands: upTo(1, each(word_))},
	"route":        {options: "-nev46"},
	"arp":          {options: "-aenv"},
	"ethtool":      {all: ethtool},
	"iptables":     {options: "-LSnvx -t: --list --list-rules --numeric --verbose --exact --line-numbers --table=", operands: upTo(1, each(word_)), check: needs("-L|-S|--list|--list-rules")},
	"ip6tables":    {options: "-LSnvx -t: --list --list-rules --numeric --verbose --exact --line-numbers --table=", operands: upTo(1, each(word_)), check: needs("-L|-S|--list|--list-rules")},
	"nft":          {all: verbs("-na -s", "list ruleset", "list tables", "list chains", "list table *", "list chain *", "list counters")},
	"ufw":          {all: verbs("", "status", "status verbose", "status numbered")},
	"firewall-cmd": {options: "--state --list-all --list-all-zones --list-services --list-ports --list-rich-rules --get-active-zones --get-default-zone --get-zones --zone="},
	"conntrack":    {options: "-SC --stats --count -L -p: -s: -d: --list"},
	"ping":         {options: "-nqbOD46 -c: -i: -w: -W: -s: -I: -t: -M:", operands: each(ownHost), check: func(given []option, _ argv) string { return bounded(given, "-c", 100) }},
	"ping6":        {options: "-nqO -c: -i: -w: -W: -I:", operands: each(ownHost), check: func(given []option, _ argv) string { return bounded(given, "-c", 100) }},
	"traceroute":   {options: "-nIT46 -m: -q: -w: -p: -f:", operands: each(ownHost)},
	"tracepath":    {options: "-nb46 -m: -p:", operands: each(ownHost)},
	"mtr":          {options: "-nrwbzT46 -c: -m: --report --report-wide --no-dns --report-cycles=", operands: each(ownHost), check: needs("-r|-w|--report|--report-wide")},
	"nc":           {options: "-zvnu46 -w:", operands: each(ownHost + `|^[0-9]+(-[0-9]+)?$`), check: needs("-z")},
	"dig":          {all: dig},
	"host":         {options: "-46av -t: -W: -c:", operands: upTo(1, each(ownHost))}, // a second one is a server
	"nslookup":     {operands: upTo(1, each(ownHost)), check: some},                  // likewise, and without any it reads commands
	"getent":       {all: getent},
	"curl":         {all: curl},

	// Text in pipes, and files of logs and of the system's state.
	"cat":       {options: "-AbeEnstTuv --number --show-all --squeeze-blank", operands: files},
	"tac":       {operands: files},
	"nl":        {options: "-b: -n: -w: -s: -v:", operands: files},
	"head":      {options: "-# -qvz -n: -c: --lines= --bytes= --quiet --verbose", operands: files},
	"tail":      {options: "-# -qvz -n: -c: --lines= --bytes= --quiet --verbose", operands: anyOf(`^\+[0-9]+$`, files)},
	"grep":      {all: grep(grepOptions)},
	"egrep":     {all: grep(grepOptions)},
	"fgrep":     {all: grep(grepOptions)},
	"zgrep":     {all: grep(zgrepOptions)},
	"zegrep":    {all: grep(zgrepOptions)},
	"zfgrep":    {all: grep(zgrepOptions)},
	"xzgrep":    {all: grep(zgrepOptions)},
	"bzgrep":    {all: grep(zgrepOptions)},
	"zcat":      {options: "-f", operands: files},
	"gzcat":     {operands: files},
	"xzcat":     {operands: files},
	"bzcat":     {operands: files},
	"zstdcat":   {operands: files},
	"awk":       {all: awk},
	"gawk":      {all: awk},
	"mawk":      {all: awk},
	"sed":       {all: sed},
	"jq":        {all: jq},
	"sort":      {options: "-bcCdfghiMmnrRsuVz -k: -t: -S: --ignore-leading-blanks --dictionary-order --ignore-case --general-numeric-sort --human-numeric-sort --month-sort --numeric-sort --reverse --stable --unique --version-sort --key= --field-separator= --check? --parallel=", operands: files},
	"uniq":      {options: "-cdDiuz -f: -s: -w: --count --repeated --ignore-case --unique --skip-fields= --skip-chars= --check-chars= --all-repeated?", operands: upTo(1, files)}, // a second one is written
	"wc":        {options: "-cmlLw --bytes --chars --lines --words --max-line-length", operands: files},
	"cut":       {options: "-nsz -b: -c: -d: -f: --bytes= --characters= --delimiter= --fields= --complement --only-delimited --output-delimiter=", operands: files},
	"tr":        {options: "-cCdst --complement --delete --squeeze-repeats --truncate-set1", operands: upTo(2, each(free))},
	"paste":     {options: "-sz -d: --serial --delimiters=", operands: files},
	"column":    {options: "-tnexJ -s: -o: -c: -N: -R: -W: -H: -n: --table --separator= --output-separator= --json", operands: files},
	"rev":       {operands: files},
	"fold":      {options: "-sb -w: --spaces --width=", operands: files},
	"comm":      {options: "-123z", operands: files},
	"diff":      {options: "-uqrywbiBNasTtd -U: -C: -W: --brief --unified? --side-by-side --ignore-all-space --ignore-case --suppress-common-lines --color?", operands: files},
	"cmp":       {options: "-bls -n: -i:", operands: files},
	"od":        {options: "-bcdosxv -A: -t: -N: -j: -w?", operands: files},
	"hexdump":   {options: "-bcCdovx -n: -s:", operands: files},
	"strings":   {options: "-a -n: -t: -e:", operands: files},
	"md5sum":    {options: "-bt", operands: files},
	"sha1sum":   {options: "-bt", operands: files},
	"sha256sum": {options: "-bt", operands: files},
	"echo":      {all: func(argv) string { return "" }},
	"printf":    {all: printf},
	"test":      {all: each(`^(!|-[bcdefghkLpSrsuwx]|/[A-Za-z0-9_./-]*)$`)},
	"true":      {operands: each(free)},
	"false":     {operands: each(free)},
	"pwd":       {options: "-LP"},
	"basename":  {options: "-az -s:", operands: func(argv) string { return "" }},
	"dirname":   {options: "-z", operands: func(argv) string { return "" }},
	"seq":       {options: "-w -s:", operands: each(`^[0-9.]+$`)},
	"sleep":     {operands: each(`^([0-9]|[1-5][0-9]|60)(\.[0-9]+)?s?$`)},
	"which":     {options: "-a", operands: each(word_)},
	"type":      {options: "-atpP", operands: each(word_)},
	"command":   {options: "-vV", operands: each(word_), check: needs("-v|-V")},
	"whereis":   {options: "-bms", operands: each(word_)},

	// Packages.
	"dpkg":       {options: "-lsLS --list --status --listfiles --search --print-architecture", operands: each(free)},
	"dpkg-query": {options: "-lsLSW -f: --list --status --listfiles --search --show --showformat=", operands: each(free)},
	"apt-cache":  {all: verbs("", "policy *", "show *", "madison *", "rdepends *")},
	"rpm":        {options: "-qailc -R -f --query --all --info --list --last --changelog --requires --qf= --queryformat=", operands: each(packageName), check: all(needs("-q|--query"), noValue("--qf", "%(", "%{lua"), noValue("--queryformat", "%(", "%{lua"))},

	// Containers.
	"docker":  {all: behind("", docker)},
	"podman":  {all: behind("", docker)},
	"nerdctl": {all: behind("", docker)},
	"crictl":  {all: behind("", verbs("-aqv -o: --tail= --name= --state= --no-trunc --timestamps --since=", "ps", "pods", "images", "stats", "info", "version", "logs *"))},
	"kubectl": {all: behind("-n: --namespace= --context=", kubectl)},
	"helm":    {all: behind("-n: --namespace=", verbs("-aqA -n: --all --all-namespaces --namespace= --max=", "list", "ls", "history *", "version"))},

	// Services.
	"nginx":                {options: "-vV"},
	"apachectl":            {options: "-vVtSM"},
	"apache2ctl":           {options: "-vVtSM"},
	"redis-cli":            {all: verbs("-p: -n: -h: --no-auth-warning", "ping", "info *", "dbsize", "lastsave", "role", "slowlog get *", "slowlog len", "memory stats", "memory doctor", "latency latest", "latency doctor", "cluster info", "cluster nodes", "client list")},
	"mysqladmin":           {all: verbs("-u: -P: --user= --port=", "status", "ping", "version", "extended-status", "processlist")},
	"pg_isready":           {options: "-q -p: -U: -d: -t:", check: noValue("-d", "=", "://")},
	"pg_lsclusters":        {options: "-hj"},
	"rabbitmqctl":          {all: verbs("-qs -p: --quiet --silent --formatter=", "status", "cluster_status", "list_queues *", "list_connections *", "list_consumers *", "list_channels *", "list_vhosts", "node_health_check")},
	"rabbitmq-diagnostics": {all: verbs("-qs --quiet --silent", "ping", "status", "check_running", "check_local_alarms", "check_port_connectivity", "alarms", "memory_breakdown", "listeners")},
	"nodetool":             {all: verbs("", "status *", "info", "tpstats", "compactionstats", "netstats", "describecluster", "ring", "version")},
	"postqueue":            {options: "-p", check: needs("-p")},
	"mailq":                {},
	"openssl":              {all: openssl},
	"supervisorctl":        {all: verbs("", "status *", "version", "avail")},
	"pm2":                  {all: verbs("", "list", "ls", "status")},
	"monit":                {all: verbs("", "status *", "summary *")},
	"pcs":                  {all: verbs("", "status *", "resource status *", "quorum status")},
	"crm_mon":              {options: "-1rnA", check: needs("-1")},
	"drbdadm":              {all: verbs("", "status *", "cstate *", "dstate *", "role *")},
	"ceph":                 {all: ceph},
	"consul":               {all: verbs("", "members")},
	"squeue":               {options: "-lah -u: -p: -j: -o:"},
	"sinfo":                {options: "-lNRs -p: -n: -o:"},
}

// Shapes of operands.
const (
	sockets     = `[46]?([A-Za-z]{3,6})?(@(` + address + `|` + label + `))?(:[A-Za-z0-9,-]+)?`
	free        = `^[^-].*$|^$`
	word_       = `^[A-Za-z0-9_+][A-Za-z0-9_.:@+-]*$`
	packageName = `^[A-Za-z0-9_+/*][A-Za-z0-9_.:@+*/-]*$`
	digits      = `^[0-9]+$`
	device      = `^/dev/[A-Za-z0-9/_.-]+$`
	address     = `([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*)`
	label       = `[A-Za-z0-9_][A-Za-z0-9_-]{0,62}`
	private     = `((127|10)(\.[0-9]{1,3}){3}|192\.168(\.[0-9]{1,3}){2}|172\.(1[6-9]|2[0-9]|3[01])(\.[0-9]{1,3}){2}|::1|(f[cd][0-9a-fA-F]{2}|fe80):[0-9a-fA-F:]+)`
	// ownHost is an address, or a name that no resolver outside is asked for: a
	// name can carry data to whoever answers for its domain.
	ownHost = `^(` + address + `|` + label + `|` + label + `(\.` + label + `){0,6}\.(local|localdomain|localhost|internal|intranet|lan|home|corp|svc))$`
)

// each wants every operand known and of a shape.
func each(shape string) func(argv) string {
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?s)` + shape) })
	return func(operands argv) string {
		for _, w := range operands {
			if w.unknown || !re().MatchString(w.text) {
				return "not with " + quoted(argv{w})
			}
		}
		return ""
	}
}

// some wants operands.
func some(_ []option, operands argv) string {
	if len(operands) == 0 {
		return "not without an argument"
	}
	return ""
}

// upTo limits how many operands there are. A pattern stands for any number.
func upTo(n int, then func(argv) string) func(argv) string {
	return func(operands argv) string {
		if len(operands) > n || slices.ContainsFunc(operands, func(w word) bool { return w.glob }) {
			return "too many arguments"
		}
		return then(operands)
	}
}

// anyOf lets operands of a shape pass and gives the others to then.
func anyOf(shape string, then func(argv) string) func(argv) string {
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(shape) })
	return func(operands argv) string {
		return then(slices.DeleteFunc(slices.Clone(operands), func(w word) bool { return !w.unknown && re().MatchString(w.text) }))
	}
}

// anyPath is for programs that show names and sizes and no content.
func anyPath(operands argv) string {
	for _, w := range operands {
		if w.unknown && !w.glob {
			return "on which files is not known"
		}
	}
	return ""
}

// below is anyPath for programs that may take another name for that of a host.
func below(operands argv) string {
	for _, w := range operands {
		if !strings.HasPrefix(w.text, "/") {
			return "not with " + quoted(argv{w})
		}
	}
	return anyPath(operands)
}

// settings are names of the kernel's, but of those that hold a key.
func settings(operands argv) string {
	if slices.ContainsFunc(operands, func(w word) bool { return secretState.MatchString(w.text) }) {
		return "this setting holds a key"
	}
	return each(`^[a-z][A-Za-z0-9_*-]*([./][A-Za-z0-9_*-]+)*$`)(operands)
}

// secretState is how names below /sys and /proc/sys look whose content is secret.
var secretState = regexp.MustCompile(`passw|secret|key`)

var numeric = regexp.MustCompile(`^[0-9.]+$`)

// files is for programs that show content. They read only what [readable] lets.
func files(operands argv) string {
	for _, w := range operands {
		switch {
		case w.unknown && !w.glob:
			return "which files it reads is not known"
		case w.text == "-":
		default:
			if why := readable(w.text); why != "" {
				return why
			}
		}
	}
	return ""
}

// rounds are the interval and count of a program that would not end without.
func rounds(operands argv) string {
	var numbers []int
	for _, w := range operands {
		if w.unknown || strings.HasPrefix(w.text, "/") {
			return "not with " + quoted(argv{w})
		}
		n, err := strconv.Atoi(w.text)
		if err == nil {
			numbers = append(numbers, n)
		}
	}
	switch {
	case len(numbers) == 0, len(numbers) == 2 && numbers[0] > 0 && numbers[0]*numbers[1] <= 600 && numbers[1] > 0:
		return ""
	case len(numbers) == 1:
		return "an interval needs a count"
	}
	return "it would run for too long"
}

// values of all options that have one of the names, "-a|--all". If there are
// several, each must be fit to be the one that counts.
func values(given []option, names string) (all []string) {
	for _, o := range given {
		if slices.Contains(strings.Split(names, "|"), o.name) {
			all = append(all, o.value)
		}
	}
	return all
}

func has(given []option, names string) bool { return len(values(given, names)) > 0 }

// needs wants one of each group of options, "-a|--all".
func needs(groups ...string) func([]option, argv) string {
	return func(given []option, _ argv) string {
		for _, g := range groups {
			if !has(given, g) {
				return "only with " + strings.ReplaceAll(g, "|", " or ")
			}
		}
		return ""
	}
}

// together wants both options or none.
func together(a, b string) func([]option, argv) string {
	return func(given []option, _ argv) string {
		if has(given, a) && !has(given, b) {
			return a + " only with " + b
		}
		return ""
	}
}

// likeThis wants all values of options to have a shape.
func likeThis(names, shape string) func([]option, argv) string {
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(shape) })
	return func(given []option, _ argv) string {
		for _, v := range values(given, names) {
			if !re().MatchString(v) {
				return "not with " + quoted(argv{{text: v}})
			}
		}
		return ""
	}
}

// noValue refuses parts in the value of an option.
func noValue(name string, parts ...string) func([]option, argv) string {
	return func(given []option, _ argv) string {
		for _, o := range given {
			for _, p := range parts {
				if o.name == name && strings.Contains(o.value, p) {
					return name + " with " + p
				}
			}
		}
		return ""
	}
}

func all(checks ...func([]option, argv) string) func([]option, argv) string {
	return func(given []option, operands argv) string {
		for _, c := range checks {
			if why := c(given, operands); why != "" {
				return why
			}
		}
		return ""
	}
}

func bounded(given []option, name string, most int) string {
	wrong := func(v string) bool {
		n, err := strconv.Atoi(v)
		return err != nil || n < 1 || n > most
	}
	if all := values(given, name); len(all) == 0 || slices.ContainsFunc(all, wrong) {
		return "only with " + name + " and a number up to " + strconv.Itoa(most)
	}
	return ""
}

func fileOptions(given []option, name string) string {
	for _, o := range given {
		if o.name == name {
			if why := readable(o.value); why != "" {
				return why
			}
		}
	}
	return ""
}
