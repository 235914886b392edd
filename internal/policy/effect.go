package policy

import (
	"regexp"
	"slices"
	"strings"
)

// Effect is what a call does at worst, as far as its text says.
type Effect string

// The effects, the one that counts most last.
const (
	Reads     Effect = "reads"     // shows something and changes nothing
	Changes   Effect = "changes"   // starts, stops or configures something, and can be undone
	Exposure  Effect = "exposure"  // opens or uses the network, or shows what may be a secret
	Privilege Effect = "privilege" // runs as somebody else, or changes who may do what
	Destroys  Effect = "destroys"  // what was there cannot be had back
	Unknown   Effect = "unknown"   // it may do anything
)

// Effects are all of them, the one that counts most last.
var Effects = []Effect{Reads, Changes, Exposure, Privilege, Destroys, Unknown}

// Impact is the effect of a call and how much harm it may do: low, medium, high
// or critical, as ops.Risk has them.
type Impact struct {
	Effect Effect
	Risk   string
	// Why names the part of the call that makes it so, for people.
	Why string
}

var risks = []string{"low", "medium", "high", "critical"}

// over says whether i counts more than o.
func (i Impact) over(o Impact) bool {
	a, b := slices.Index(risks, i.Risk), slices.Index(risks, o.Risk)
	return a > b || a == b && slices.Index(Effects, i.Effect) > slices.Index(Effects, o.Effect)
}

// Impact says what a call would do. It is unknown, which is of high risk, unless
// every part of it is in the tables of this file: it never allows anything, but
// it says who may approve.
func (ts Tools) Impact(c Call) Impact {
	read := ts.read(c)
	if read.refused != "" || read.doubt != "" {
		return Impact{Unknown, "high", read.refused + read.doubt}
	}
	out := Impact{Reads, "low", ""}
	for _, u := range read.units {
		if more := besides(u, nil); more != "" {
			return Impact{Unknown, "high", "what its argument " + more + " does is not known here"}
		}
		if one := impactOf(u, 0); out.Why == "" || one.over(out) {
			out = one
		}
	}
	return out
}

func impactOf(u unit, depth int) (i Impact) {
	defer func() { i.Why = u.String() + ": " + i.Why }()
	switch u.tool.Subject {
	case Command:
		return impactOfCommand(u, depth)
	case Path:
		return impactOfFile(u)
	}
	if i, ok := toolImpacts[u.tool.Name]; ok {
		return i
	}
	if u.tool.Name == "zabbix_api" {
		return impactOfZabbix(strings.ToLower(u.text))
	}
	if u.tool.ReadOnly {
		return Impact{Reads, "medium", "it reads"}
	}
	return Impact{Unknown, "high", "what it does is not known here"}
}

// toolImpacts are the tools that do one kind of thing whatever their arguments.
var toolImpacts = map[string]Impact{
	"ssh_hosts":          {Reads, "low", "it lists the inventory"},
	"zabbix_problems":    {Reads, "low", "it reads Zabbix"},
	"zabbix_hosts":       {Reads, "low", "it reads Zabbix"},
	"zabbix_items":       {Reads, "low", "it reads Zabbix"},
	"zabbix_history":     {Reads, "low", "it reads Zabbix"},
	"zabbix_triggers":    {Reads, "low", "it reads Zabbix"},
	"zabbix_events":      {Reads, "low", "it reads Zabbix"},
	"zabbix_acknowledge": {Changes, "low", "it marks a problem as seen"},
	"evidence_read":      {Reads, "low", "it reads what was collected"},
	"evidence_search":    {Reads, "low", "it reads what was collected"},
	"ask_agent":          {Changes, "medium", "it starts another agent"},
	"http_request":       {Exposure, "high", "it sends a request to another host"},
}

// impactOfZabbix is by the method of the Zabbix API: object.verb.
func impactOfZabbix(method string) Impact {
	object, verb, _ := strings.Cut(method, ".")
	switch {
	case slices.Contains([]string{"user", "usergroup", "role", "token", "userdirectory", "authentication", "mfa"}, object) && verb != "get":
		return Impact{Privilege, "high", "it changes who may do what in Zabbix"}
	case slices.Contains([]string{"usermacro", "mediatype", "token", "script", "connector", "userdirectory", "httptest", "configuration"}, object) && (verb == "get" || verb == "export"):
		return Impact{Exposure, "high", "such objects hold passwords"}
	case verb == "get":
		return Impact{Reads, "medium", "it reads Zabbix"}
	case strings.Contains(verb, "delete") || verb == "clear" || verb == "replacehostinterfaces" || verb == "massremove":
		return Impact{Destroys, "high", "it removes objects of Zabbix"}
	case method == "event.acknowledge":
		return Impact{Changes, "low", "it marks a problem as seen"}
	case object != "script" && (verb == "create" || verb == "update" || verb == "massadd" || verb == "massupdate"):
		return Impact{Changes, "medium", "it changes Zabbix"}
	}
	return Impact{Unknown, "high", "what the method does is not known here"}
}

// secret is how the names of files look that may hold a secret.
var secret = regexp.MustCompile(`(?i)(^|/)(g?shadow-?|sudoers(\.d)?|\.ssh|ssl/private|\.aws|\.kube|\.docker|\.gnupg|environ|kcore|mem|authorized_keys|\.?(netrc|pgpass|my\.cnf|htpasswd|git-credentials|bash_history|env)(\..*)?)(/|$)` +
	`|(^|/)(root|home/[^/]*)(/|$)|id_(rsa|dsa|ecdsa|ed25519)|\.(pem|key|p12|pfx|jks|keytab|kdbx|env)$|passw|secret|credential|token|private`)

// impactOfFile is of a file that is read or, if the tool writes, written.
func impactOfFile(u unit) Impact {
	if !u.tool.ReadOnly {
		switch {
		case secret.MatchString(u.path.written), strings.HasPrefix(u.path.written, "/etc/"), strings.HasPrefix(u.path.written, "/usr/"),
			strings.HasPrefix(u.path.written, "/boot/"), strings.HasPrefix(u.path.written, "/dev/"), strings.Contains(u.path.written, "cron"):
			return Impact{Privilege, "high", "it writes where the system is configured"}
		}
		return Impact{Changes, "medium", "it writes a file"}
	}
	switch {
	case class{Path}.matches(u, false):
		return Impact{Reads, "low", "it reads logs or the system's state"}
	case secret.MatchString(u.path.written):
		return Impact{Exposure, "high", "the file may hold a secret"}
	}
	return Impact{Reads, "medium", "it reads a file"}
}

// impactOfCommand looks through wrappers. A command that is not in the tables is
// unknown, above all one that stands in a file: what that does now, and whether
// an earlier call has written it, its name does not say.
func impactOfCommand(u unit, depth int) Impact {
	unknown := func(why string) Impact { return Impact{Unknown, "high", why} }
	if len(u.words) == 0 || u.words[0].unknown {
		return unknown("which program it runs is not known")
	}
	if class := (class{Command}); class.matches(u, false) {
		return Impact{Reads, "low", "it is one of the diagnostics"}
	}
	if depth >= maxDepth {
		return unknown("it is nested too deeply")
	}
	if !systemProgram(u.words[0]) {
		return unknown("it runs a file, whose content is not known")
	}
	for _, w := range u.words {
		if w.unknown && !w.glob {
			return unknown("a word of it is only known when it runs")
		}
	}
	if inner, ok := unwrap(u); ok {
		out := Impact{Reads, "low", "it runs nothing"}
		for _, in := range inner {
			if one := impactOfCommand(in, depth+1); one.over(out) || out.Why == "it runs nothing" {
				out = one
			}
			if root := (Impact{Privilege, "high", "it runs as another user"}); in.root && root.over(out) {
				out = root
			}
		}
		return out
	}
	name := program(u.words)
	if strings.HasPrefix(name, "mkfs") {
		name = "mkfs"
	}
	words := u.words
	if name == "uniq" && len(slices.DeleteFunc(slices.Clone(words[1:]), func(w word) bool { return len(w.text) > 1 && w.text[0] == '-' })) > 1 {
		name = "tee" // the second file is written
	}
	if name == "service" && len(words) == 3 { // service NAME VERB
		name, words = "systemctl", argv{words[0], words[2], words[1]}
	}
	if table, ok := verbImpacts[name]; ok {
		return table.of(words)
	}
	for _, row := range commandImpacts {
		if !slices.Contains(strings.Fields(row.programs), name) {
			continue
		}
		i := row.impact
		for _, more := range row.worse {
			if more.arg.MatchString(joined(u.words[1:])) && more.impact.over(i) {
				i = more.impact
			}
		}
		if (i.Effect == Reads || i.Effect == Changes) && slices.ContainsFunc(u.words, func(w word) bool { return w.glob }) {
			return unknown("which files it names is only known when it runs")
		}
		if i.Effect == Reads {
			if odd := danger(u.words, nil); odd != "" {
				return unknown(odd)
			}
		}
		if (i.Effect == Reads || i.Effect == Changes) && slices.ContainsFunc(u.words[1:], func(w word) bool { return secret.MatchString(w.text) }) {
			return Impact{Exposure, "high", "a file that it names may hold a secret"}
		}
		return i
	}
	return unknown(name + " is not in the tables of what commands do")
}

// joined gives arguments with a blank around each.
func joined(words argv) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(" " + w.text)
	}
	return b.String() + " "
}

// worse is what an argument makes of a command. Arguments are matched with a
// blank around each.
type worse struct {
	arg    *regexp.Regexp
	impact Impact
}

func when(arg string, e Effect, risk, why string) worse {
	return worse{regexp.MustCompile(arg), Impact{e, risk, why}}
}

// commandImpacts are programs that do one kind of thing.
var commandImpacts = []struct {
	programs string
	impact   Impact
	worse    []worse
}{
	{"echo printf true false test [ sleep pwd basename dirname seq expr yes tty", Impact{Reads, "low", "it prints what it was given"}, nil},
	{"date", Impact{Changes, "high", "it may set the clock, and is not one of the diagnostics"}, nil},
	{"cat tac head tail cut tr sort uniq wc nl paste column comm diff cmp md5sum sha1sum sha256sum sha512sum cksum file stat strings hexdump od readlink realpath namei zcat bzcat xzcat zstdcat grep egrep fgrep zgrep " +
		"find locate getfacl lsattr getcap jq blkid lvs vgs pvs getent", Impact{Reads, "medium", "it reads and is not one of the diagnostics"}, []worse{
		when(` -delete `, Destroys, "high", "it deletes what it finds")}},
	{"journalctl", Impact{Reads, "medium", "it reads logs"}, []worse{
		when(` --(vacuum|rotate|flush|relinquish)`, Destroys, "high", "it removes logs")}},
	{"nginx apachectl apache2ctl", Impact{Changes, "medium", "it controls a server"}, []worse{
		when(` -[cgpf] `, Unknown, "high", "it takes another configuration")}},
	{"touch mkdir ln cp mv install tee logger kill pkill killall renice swapon swapoff mount umount sync udevadm timedatectl hostnamectl localectl logrotate ldconfig update-alternatives gzip gunzip bzip2 xz zstd tar unzip zip cpio patch split", Impact{Changes, "medium", "it changes files or processes"}, []worse{
		when(` /(etc|usr|boot|bin|sbin|lib|lib64)/`, Privilege, "high", "it changes where the system is configured"),
		when(` /dev/(sd|vd|xvd|nvme|hd|dm-|mapper|md|disk)`, Destroys, "critical", "it writes to a disk"),
		when(` -(-|[A-Z0-9]+) -1 $`, Destroys, "high", "it ends every process")}},
	{"sysctl dmesg", Impact{Changes, "high", "it changes the kernel's settings"}, nil},
	{"apt apt-get aptitude dpkg yum dnf rpm zypper apk pacman snap flatpak pip pip3 npm gem", Impact{Changes, "high", "it changes what is installed"}, []worse{
		when(` (remove|purge|autoremove|erase|uninstall|del|-e|-R[a-z]*|--remove|--purge) `, Destroys, "high", "it removes what is installed")}},
	{"rm rmdir unlink truncate shred", Impact{Destroys, "high", "it deletes files"}, []worse{
		when(` (-[a-zA-Z]*[rR][a-zA-Z]*|--recursive) (.* )?/(etc|usr|var|home|boot|opt|srv|root|lib|bin|data)?/?\*? `, Destroys, "critical", "it deletes a whole tree")}},
	{"dd wipefs blkdiscard mkfs mkswap lvremove vgremove pvremove lvreduce fdisk sfdisk gdisk sgdisk parted partprobe cryptsetup mdadm dropdb dropuser fsck e2fsck xfs_repair resize2fs tune2fs", Impact{Destroys, "critical", "it changes disks or databases as a whole"}, nil},
	{"zfs zpool btrfs", Impact{Destroys, "critical", "it changes file systems as a whole"}, nil},
	{"su runuser pkexec chroot nsenter unshare setpriv capsh machinectl systemd-run", Impact{Privilege, "high", "it runs something as somebody else or elsewhere"}, nil},
	{"chmod chown chgrp chattr setfacl setcap useradd usermod userdel adduser deluser groupadd groupmod groupdel addgroup delgroup gpasswd passwd chpasswd chage visudo vipw newusers ssh-keygen ssh-copy-id ssh-add " +
		"setenforce semanage setsebool restorecon chcon aa-disable aa-enforce apparmor_parser auditctl insmod modprobe rmmod depmod kexec crontab at batch login newgrp pam-auth-update authconfig", Impact{Privilege, "high", "it changes who may do what, or what runs by itself"}, nil},
	{"iptables ip6tables iptables-restore ip6tables-restore nft ufw firewall-cmd ipset ebtables ip ifconfig route tc bridge brctl ethtool iw wg wg-quick nmcli netplan ifup ifdown resolvectl arp conntrack", Impact{Exposure, "high", "it changes the network or who may reach what"}, nil},
	{"dig host nslookup ping ping6 tracepath traceroute mtr nc ncat netcat socat telnet ssh scp sftp rsync ftp tftp lftp curl wget aria2c tcpdump tshark dumpcap nmap masscan ngrok openssl mail mailx sendmail smbclient rclone aws gcloud az", Impact{Exposure, "high", "it sends to or takes from other hosts"}, nil},
}

// verbTable is of a program whose first argument that is no option says what is
// done. A verb that is not named is unknown.
type verbTable struct {
	reads, changes, destroys, exposure, privilege string
	// operands are options before the verb that take the next word, flags those
	// that take none. Behind another it is not known which word is the verb.
	operands, flags string
}

func (v verbTable) of(words argv) Impact {
	verb, rest := "", words[1:]
	for len(rest) > 0 && verb == "" {
		w := rest[0].text
		switch rest = rest[1:]; {
		case slices.Contains(strings.Fields(v.operands), w) && len(rest) > 0 && !mayBeOption(rest[0].text):
			rest = rest[1:]
		case !strings.HasPrefix(w, "-"):
			verb = w
		case !slices.Contains(strings.Fields(v.flags), w) && !(strings.HasPrefix(w, "--") && strings.Contains(w, "=")):
			return Impact{Unknown, "high", "whether " + w + " takes the next word is not known here"}
		}
	}
	if len(rest) > 0 { // docker container rm, kubectl rollout restart
		if i, ok := v.one(verb + "." + rest[0].text); ok {
			return i
		}
	}
	i, ok := v.one(verb)
	if !ok {
		return Impact{Unknown, "high", program(words) + " " + verb + " is not in the tables of what commands do"}
	}
	for _, w := range rest { // kubectl get -o yaml pods,secret/x
		for _, part := range strings.FieldsFunc(w.text, func(r rune) bool { return r == ',' || r == '/' }) {
			if more, ok := v.one(verb + "." + part); ok && more.over(i) {
				i = more
			}
		}
	}
	return i
}

func (v verbTable) one(verb string) (Impact, bool) {
	for _, row := range []struct {
		verbs  string
		impact Impact
	}{
		{v.reads, Impact{Reads, "medium", "it shows something"}},
		{v.changes, Impact{Changes, "medium", "it changes a service"}},
		{v.destroys, Impact{Destroys, "high", "it removes something"}},
		{v.exposure, Impact{Exposure, "high", "it opens something to the network or shows what may be a secret"}},
		{v.privilege, Impact{Privilege, "high", "it changes who may do what, or what runs by itself"}},
	} {
		if verb != "" && slices.Contains(strings.Fields(row.verbs), verb) {
			return row.impact, true
		}
	}
	return Impact{}, false
}

var verbImpacts = map[string]verbTable{
	"systemctl": {
		reads:     "status show cat list-units list-unit-files list-timers list-sockets list-jobs list-dependencies is-active is-enabled is-failed is-system-running get-default help",
		changes:   "start stop restart try-restart reload reload-or-restart try-reload-or-restart kill reset-failed daemon-reload daemon-reexec cancel freeze thaw set-property",
		privilege: "enable disable reenable preset preset-all mask unmask link revert edit add-wants add-requires set-default isolate set-environment unset-environment import-environment",
		destroys:  "clean", operands: "-t --type -p --property -n --lines -o --output -s --signal --kill-whom --state",
		flags: "-a -l -q -f --all --full --quiet --force --now --no-block --no-pager --no-legend --no-wall --plain --failed --system --user --wait --value",
	},
	"supervisorctl": {reads: "status tail avail pid", changes: "start stop restart reload signal update reread", destroys: "clear remove"},
	"pm2":           {reads: "list ls status show describe logs", changes: "start stop restart reload scale", destroys: "delete kill flush"},
	"docker":        container, "podman": container, "nerdctl": container,
	"docker-compose": {reads: "ps logs top images config ls version", changes: "start stop restart pause unpause up scale kill", destroys: "down rm"},
	"kubectl": {
		reads:     "get describe logs top explain version cluster-info api-resources api-versions events rollout.status rollout.history auth.can-i",
		changes:   "scale cordon uncordon annotate label autoscale rollout.restart rollout.undo rollout.pause rollout.resume set.image set.resources taint",
		destroys:  "delete drain",
		exposure:  "expose port-forward proxy get.secret get.secrets describe.secret describe.secrets",
		privilege: "certificate.approve certificate.deny create.token auth.reconcile", operands: "-n --namespace --context -l --selector -o --output -c --container --tail --since",
	},
	"helm": {reads: "list ls status history version", changes: "rollback upgrade install test", destroys: "uninstall delete", exposure: "get", operands: "-n --namespace --kube-context"},
}

var container = verbTable{
	reads:    "ps logs inspect images stats top info version port diff history events container.ls container.logs container.inspect image.ls network.ls network.inspect volume.ls volume.inspect system.df compose.ps compose.logs",
	changes:  "start stop restart pause unpause kill rename update wait container.start container.stop container.restart compose.start compose.stop compose.restart compose.up",
	destroys: "rm rmi container.rm image.rm volume.rm network.rm system.prune volume.prune image.prune container.prune network.prune compose.down compose.rm",
	exposure: "network.connect network.create login push pull",
}
