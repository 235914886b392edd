package casefile

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatHostsAreLikeCanBeRead(t *testing.T) {
	t.Parallel()
	for name, like := range likes {
		if name != "" {
			require.NotEmpty(t, like(), name)
		}
	}
	h := Host{Name: "web-1", Like: "linux"}
	require.Contains(t, h.Answer("uname  -a").Output, "Linux web-1 6.1")
	require.Contains(t, h.Answer("df -hT /var").Output, "/dev/sda1        79G")
	require.Contains(t, h.Answer("free -m").Output, "               total        used        free      shared")
	require.Equal(t, Command{Run: "frob -x", Output: "bash: line 1: frob: command not found\n", Exit: 127}, h.Answer("frob -x"))
}
