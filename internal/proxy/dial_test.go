package proxy

import (
	"net/http"
	"testing"

	"github.com/akmatori/akmatori/internal/reach"
	"github.com/stretchr/testify/require"
)

// Upstreams are dialled by what judges addresses, and by nothing else.
func TestTransportJudges(t *testing.T) {
	t.Parallel()
	for address, public := range map[string]bool{"http://127.0.0.1:1": false, "http://localhost:1": false, "http://2130706433:1": false, "http://169.254.169.254": true, "http://[fd00:ec2::254]": true} {
		for _, private := range []bool{false, true} {
			if private && !public {
				continue // what an admin allows is dialled
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
			require.NoError(t, err)
			_, err = newTransport(reach.Any(private), nil).RoundTrip(req)
			require.ErrorIs(t, err, reach.ErrAddress, address)
		}
	}
}
