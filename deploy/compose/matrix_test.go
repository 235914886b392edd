//go:build compose

package compose_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
)

// listeners is every port that a service may have, with the network that it is
// on; "" is loopback. A port that is not here fails the test.
var listeners = map[string]map[string]string{
	"akmatori-agent":   {"9090": ""},
	"akmatori-api":     {"8080": "frontend", "8081": "codex-network", "9090": ""},
	"mcp-gateway":      {"8082": "codex-network", "9090": ""},
	"credential-proxy": {"8083": "codex-network", "9090": ""},
	"postgres":         {"5432": "api-internal"},
	"demo-world":       {"8000": "egress", "2222": "egress", "2223": "", "9090": ""},
}

// matrix says who may open what. What is not listed for a destination is closed;
// a destination that exists and has no row fails the test.
var matrix = []struct {
	to   string
	open []string
}{
	{"akmatori-agent:9090", nil},
	{"akmatori-api:8080", nil}, // the published port leads here, and nothing else
	{"akmatori-api:8081", []string{"akmatori-agent", "mcp-gateway", "credential-proxy"}},
	{"akmatori-api:9090", nil},
	{"mcp-gateway:8082", []string{"akmatori-agent", "akmatori-api", "credential-proxy"}},
	{"mcp-gateway:9090", nil},
	{"credential-proxy:8083", []string{"akmatori-agent", "akmatori-api", "mcp-gateway"}},
	{"credential-proxy:9090", nil},
	{"postgres:5432", []string{"akmatori-api", "mcp-gateway", "credential-proxy"}},
	{"demo-world:8000", []string{"mcp-gateway", "credential-proxy"}},
	{"demo-world:2222", []string{"mcp-gateway", "credential-proxy"}},
	{"demo-world:2223", nil},
	{"demo-world:9090", nil},
	// Postgres and the agent are on internal networks alone, where the host has
	// no address. The others have a way out, and the host is on it.
	{docker, []string{"akmatori-api", "mcp-gateway", "credential-proxy", "demo-world"}},
	{host, []string{"akmatori-api", "mcp-gateway", "credential-proxy", "demo-world"}},
	{hostUDP, []string{"akmatori-api", "mcp-gateway", "credential-proxy", "demo-world"}},
	{published, nil},
	{outside, []string{"akmatori-api", "mcp-gateway", "credential-proxy", "demo-world"}},
	{outsideDNS, []string{"akmatori-api", "mcp-gateway", "credential-proxy", "demo-world"}},
	{ipv6, nil},
}

// Destinations that are no service.
const (
	docker     = "the Docker gateway addresses"
	host       = "the host"
	hostUDP    = "the host, UDP"
	published  = "the published port"
	outside    = "outside"
	outsideDNS = "outside names"
	ipv6       = "IPv6: host, outside"
)

// destinations gives, for each row, the addresses that stand for it.
func (d *deployment) destinations(all map[string]container) map[string][]string {
	t := d.t
	to := map[string][]string{outside: {at(outsideAddress, canaryPort)}, published: {at(hostAddress, 8080)}}
	for _, s := range services {
		c := all[s]
		ports := map[string]bool{}
		for _, l := range d.ask(c, question{}).Listeners {
			udp := strings.HasPrefix(l, "udp ")
			address, port, err := net.SplitHostPort(strings.TrimPrefix(l, "udp "))
			require.NoError(t, err)
			network, known := listeners[s][port]
			require.True(t, known && !udp, "%s listens on %s, which is not in the table", s, l)
			ports[port] = true
			want := "127.0.0.1"
			if network != "" {
				want = c.NetworkSettings.Networks[project+"_"+network].IPAddress
			}
			if ip := net.ParseIP(address); !ip.IsUnspecified() || len(c.NetworkSettings.Networks) > 1 {
				require.Equal(t, want, address, "%s listens on port %s", s, port)
			}
		}
		require.Equal(t, slices.Sorted(maps.Keys(listeners[s])), slices.Sorted(maps.Keys(ports)), "ports of %s", s)
		for port := range ports {
			for _, n := range c.NetworkSettings.Networks {
				to[s+":"+port] = append(to[s+":"+port], net.JoinHostPort(n.IPAddress, port))
			}
		}
	}
	// Every address that an engine gives itself, whether or not it has it, and
	// all that the host has.
	var networks []struct {
		Name string
		IPAM struct{ Config []struct{ Gateway string } }
	}
	ids := strings.Fields(d.run("docker", "network", "ls", "-q", "--filter", "driver=bridge"))
	require.NoError(t, json.Unmarshal([]byte(d.run("docker", append([]string{"network", "inspect"}, ids...)...)), &networks))
	for _, n := range networks {
		for _, c := range n.IPAM.Config {
			if c.Gateway != "" {
				to[docker] = append(to[docker], at(c.Gateway, canaryPort))
				to[hostUDP] = append(to[hostUDP], at(c.Gateway, canaryPort))
			}
		}
	}
	to[host] = []string{at(hostAddress, canaryPort)}
	to[hostUDP] = append(to[hostUDP], at(hostAddress, canaryPort))
	to[ipv6] = []string{at(outsideAddress6, canaryPort), at("2001:db8:51::1", canaryPort)}
	links, err := in(d.netns, func() ([]string, error) {
		var local []string
		interfaces, err := net.Interfaces()
		for _, i := range interfaces {
			addresses, _ := i.Addrs()
			for _, a := range addresses {
				if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.IsLinkLocalUnicast() && strings.HasPrefix(i.Name, "br-") {
					local = append(local, ip.String())
				}
			}
		}
		return local, err
	})
	require.NoError(t, err)
	for _, l := range links {
		for n := range 3 {
			to[ipv6] = append(to[ipv6], at(fmt.Sprintf("%s%%eth%d", l, n), canaryPort))
		}
	}
	return to
}

func at(ip string, port int) string { return net.JoinHostPort(ip, fmt.Sprint(port)) }

// testMatrix tries every cell and compares it with the table.
func testMatrix(t *testing.T, d *deployment) {
	all := d.containers(false)
	require.Equal(t, slices.Sorted(slices.Values(services)), slices.Sorted(maps.Keys(all)), "services that run and services of the table")
	to := d.destinations(all)
	rows := []string{outsideDNS}
	for row := range to {
		rows = append(rows, row)
	}
	var known []string
	for _, row := range matrix {
		known = append(known, row.to)
	}
	require.ElementsMatch(t, known, rows, "rows of the table and what there is")

	open := map[string]map[string]bool{} // from, to
	for _, from := range services {
		var q question
		for row, addresses := range to {
			if row == hostUDP {
				q.UDP = append(q.UDP, addresses...)
			} else {
				q.TCP = append(q.TCP, addresses...)
			}
		}
		q.Names = []string{outsideName}
		a := d.ask(all[from], q)
		open[from] = map[string]bool{outsideDNS: len(a.Resolved) > 0}
		for row, addresses := range to {
			for _, address := range addresses {
				// What both protocols are asked at counts in the row of its protocol.
				if slices.Contains(a.Open, address) {
					open[from][row] = true
				}
			}
		}
	}

	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	short := strings.NewReplacer("akmatori-", "", "mcp-", "", "credential-", "")
	_, _ = fmt.Fprint(w, "to \\ from")
	for _, from := range services {
		_, _ = fmt.Fprint(w, "\t"+short.Replace(from))
	}
	_, _ = fmt.Fprintln(w)
	for _, row := range matrix {
		_, _ = fmt.Fprint(w, row.to)
		for _, from := range services {
			cell := "closed"
			switch is, want := open[from][row.to], slices.Contains(row.open, from); {
			case strings.HasPrefix(row.to, from+":"):
				cell = "-" // itself
			case is != want:
				cell = fmt.Sprintf("WRONG (open: %v)", is)
				t.Errorf("from %s to %s: open is %v, and must be %v", from, row.to, is, want)
			case is:
				cell = "OPEN"
			}
			_, _ = fmt.Fprint(w, "\t"+cell)
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	t.Log("\n" + b.String())
}

// testUselessWithoutToken: the three doors of the agent open to a token only.
func testUselessWithoutToken(t *testing.T, d *deployment) {
	urls := []string{"http://akmatori-api-agents:8081/agents", "http://mcp-gateway-agents:8082/mcp",
		"http://credential-proxy-agents:8083/llm/00000000-0000-0000-0000-000000000000/v1/chat/completions"}
	a := d.ask(d.containers(false)["akmatori-agent"], question{Post: append(urls,
		"http://akmatori-api-agents:8081/api/v1/incidents", "http://akmatori-api-agents:8081/metrics")})
	for _, u := range urls {
		require.Equal(t, 401, a.Status[u], u)
	}
	require.Equal(t, 404, a.Status["http://akmatori-api-agents:8081/api/v1/incidents"], "the agents' listener has only their path")
	require.Equal(t, 404, a.Status["http://akmatori-api-agents:8081/metrics"])
}
