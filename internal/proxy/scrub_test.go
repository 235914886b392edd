package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

const testKey = "sk-te$t/+\"<key>&0123456789"

func scrub(t *testing.T, secret string, chunks ...string) string {
	t.Helper()
	var out bytes.Buffer
	s := newScrubber(&out, ops.NewSecret(secret))
	for _, c := range chunks {
		n, err := s.Write([]byte(c))
		require.NoError(t, err)
		require.Equal(t, len(c), n)
	}
	require.NoError(t, s.Close())
	return out.String()
}

func TestScrubberFindsEveryEncodingAcrossEveryBorder(t *testing.T) {
	t.Parallel()
	forms := map[string]string{
		"plain":       testKey,
		"hex":         hex.EncodeToString([]byte(testKey)),
		"HEX":         strings.ToUpper(hex.EncodeToString([]byte(testKey))),
		"query":       url.QueryEscape(testKey),
		"path":        url.PathEscape(testKey),
		"JSON":        `sk-te$t/+\"<key>&0123456789`,
		"JSON, HTML":  `sk-te$t/+\"\u003ckey\u003e\u00260123456789`,
		"base64":      base64.StdEncoding.EncodeToString([]byte(testKey)),
		"base64, url": base64.URLEncoding.EncodeToString([]byte(testKey)),
		"basic auth":  base64.StdEncoding.EncodeToString([]byte("user:" + testKey + "x")),
		"shifted":     base64.StdEncoding.EncodeToString([]byte("ab" + testKey)),
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "before " + form + " between " + form + form + " after"
			whole := scrub(t, testKey, text)
			require.Equal(t, 3, strings.Count(whole, ops.Redacted), whole)
			require.True(t, strings.HasPrefix(whole, "before ") && strings.HasSuffix(whole, " after"))
			for i := range text {
				require.Equal(t, whole, scrub(t, testKey, text[:i], text[i:]), "cut at %d", i)
			}
			require.Equal(t, whole, scrub(t, testKey, strings.Split(text, "")...))
			require.NotContains(t, newScrubber(nil, ops.NewSecret(testKey)).String(text), form)
		})
	}
}

func TestScrubberHoldsOnlyWhatCouldMatch(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newScrubber(&out, ops.NewSecret("sk-0123456789"))
	_, err := s.Write([]byte("data: {\"text\":\"s\"}\n\n"))
	require.NoError(t, err)
	require.Equal(t, "data: {\"text\":\"s\"}\n\n", out.String(), "a whole event goes out at once")
	_, err = s.Write([]byte("x sk-01234"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out.String(), "\n\nx "))
	_, err = s.Write([]byte("!"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out.String(), "x sk-01234!"))
}

func TestScrubberLeavesPlaceholdersAlone(t *testing.T) {
	t.Parallel()
	require.Equal(t, "EMPTY none", scrub(t, "EMPTY", "EMPTY none"))
	require.Equal(t, "x", scrub(t, "", "x"))
}

func FuzzScrubber(f *testing.F) {
	f.Add("aaaaaaaab", "aaaaaaaaaaaaaaab", 3)
	f.Add(testKey, "x"+testKey+"y", 7)
	f.Fuzz(func(t *testing.T, secret, text string, cut int) {
		mark := ops.Redacted
		if len(secret) < minScrubbed || strings.Contains(mark, secret) {
			return
		}
		cut = max(0, min(cut, len(text)))
		whole := scrub(t, secret, text)
		require.Equal(t, whole, scrub(t, secret, text[:cut], text[cut:]))
		for _, part := range strings.Split(whole, ops.Redacted) {
			require.NotContains(t, part, secret)
		}
	})
}

func BenchmarkScrubber(b *testing.B) {
	const key = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
	for name, chunk := range map[string][]byte{
		"stream":   []byte(strings.Repeat(`data: {"choices":[{"delta":{"content":"word "}}]}`+"\n\n", 20)),
		"all keys": []byte(strings.Repeat(key, 800)),
	} {
		b.Run(name, func(b *testing.B) {
			s := newScrubber(io.Discard, ops.NewSecret(key))
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				_, _ = s.Write(chunk)
			}
		})
	}
}
