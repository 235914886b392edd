package ingest

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

func kindOf(t *testing.T, kind string) Source {
	t.Helper()
	src, ok := Lookup(kind)
	require.True(t, ok)
	return src
}

func TestSharedSecret(t *testing.T) {
	t.Parallel()
	src := kindOf(t, "alertmanager")
	old, now := ops.NewSecret("before"), ops.NewSecret("s3cret")
	secrets := Secrets{Hashes: [][]byte{ops.HashToken(now), ops.HashToken(old)}}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, tc := range []struct {
		name   string
		header http.Header
		want   bool
	}{
		{"nothing", http.Header{}, false},
		{"bearer", http.Header{"Authorization": {"Bearer s3cret"}}, true},
		{"the secret before it", http.Header{"Authorization": {"Bearer before"}}, true},
		{"bearer in lower case", http.Header{"Authorization": {"bearer s3cret"}}, true},
		{"wrong bearer", http.Header{"Authorization": {"Bearer s3cret2"}}, false},
		{"no scheme", http.Header{"Authorization": {"s3cret"}}, false},
		{"basic", http.Header{"Authorization": {basic("anyone", "s3cret")}}, true},
		{"secret as the user", http.Header{"Authorization": {basic("s3cret", "")}}, false},
		{"broken basic", http.Header{"Authorization": {"Basic !!"}}, false},
		{"header", http.Header{SecretHeader: {"s3cret"}}, true},
		{"header and a wrong bearer", http.Header{SecretHeader: {"s3cret"}, "Authorization": {"Bearer x"}}, false},
	} {
		require.Equal(t, tc.want, src.Authenticate(Request{Header: tc.header}, secrets), tc.name)
	}
	empty := Secrets{Hashes: [][]byte{ops.HashToken(ops.NewSecret("")), nil, {}}}
	require.False(t, src.Authenticate(Request{Header: http.Header{}}, empty), "an empty secret opens nothing")
	require.False(t, src.Authenticate(Request{Header: http.Header{"Authorization": {"Bearer s3cret"}}}, Secrets{}))
	signing := Secrets{Keys: []ops.Secret{now}, Hashes: secrets.Hashes}
	require.False(t, src.Authenticate(Request{Header: http.Header{"Authorization": {"Bearer s3cret"}}}, signing), "a kind that cannot sign")
	require.False(t, kindOf(t, "grafana").Authenticate(Request{Header: http.Header{"Authorization": {"Bearer s3cret"}}}, signing), "a signature is wanted")
}

func TestPagerDutySignature(t *testing.T) {
	t.Parallel()
	src := kindOf(t, "pagerduty")
	body := []byte(`{"event":{"id":"1"}}` + "\n")
	sign := func(secret string) string { return "v1=" + hex.EncodeToString(digest(ops.NewSecret(secret), body)) }
	// Made by `printf '{"event":{"id":"1"}}\n' | openssl dgst -sha256 -hmac new`.
	require.Equal(t, "v1=fa301117630fd7fc80c04828c0c02c93470e1532d163d4002ca422a1170d9f86", sign("new"))
	keys := Secrets{Keys: []ops.Secret{ops.NewSecret("new"), ops.NewSecret("old")}}
	for _, tc := range []struct {
		name   string
		values []string
		want   bool
	}{
		{"one", []string{sign("new")}, true},
		{"of the secret before", []string{sign("old")}, true},
		{"rotation at PagerDuty", []string{sign("another") + "," + sign("new")}, true},
		{"rotation, with a blank", []string{sign("another") + ", " + sign("new")}, true},
		{"two headers", []string{sign("another"), sign("new")}, true},
		{"upper case", []string{"v1=" + strings.ToUpper(sign("new")[3:])}, true},
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"another secret", []string{sign("another")}, false},
		{"another version", []string{"v0=" + sign("new")[3:]}, false},
		{"without a version", []string{sign("new")[3:]}, false},
		{"cut", []string{sign("new")[:60]}, false},
		{"no hex", []string{"v1=zz"}, false},
		{"behind very many", []string{strings.Repeat("v1=00,", 1000) + sign("new")}, false},
	} {
		r := Request{Header: http.Header{http.CanonicalHeaderKey(pagerDutySignature): tc.values}, Body: body}
		require.Equal(t, tc.want, src.Authenticate(r, keys), tc.name)
	}
	r := Request{Header: http.Header{http.CanonicalHeaderKey(pagerDutySignature): {sign("new")}}, Body: body[:len(body)-1]}
	require.False(t, src.Authenticate(r, keys), "a body that is another by one byte")
	require.False(t, src.Authenticate(Request{Header: http.Header{http.CanonicalHeaderKey(pagerDutySignature): {
		"v1=" + hex.EncodeToString(digest(ops.Secret{}, nil))}}}, Secrets{Keys: []ops.Secret{{}}}), "an empty key")
}

func TestGrafanaSignature(t *testing.T) {
	t.Parallel()
	src := kindOf(t, "grafana")
	body := []byte(`{"alerts":[]}`)
	key := ops.NewSecret("grafana-secret")
	at := func(d time.Duration) string { return strconv.FormatInt(received.Add(d).Unix(), 10) }
	sign := func(message string) string { return hex.EncodeToString(digest(key, []byte(message))) }
	for _, tc := range []struct {
		name, stamp, signature string
		want                   bool
	}{
		{"the body", "", sign(string(body)), true},
		{"with a timestamp", at(0), sign(at(0) + ":" + string(body)), true},
		{"5 minutes old", at(-maxSkew), sign(at(-maxSkew) + ":" + string(body)), true},
		{"5 minutes ahead", at(maxSkew), sign(at(maxSkew) + ":" + string(body)), true},
		{"too old", at(-maxSkew - time.Second), sign(at(-maxSkew-time.Second) + ":" + string(body)), false},
		{"too far ahead", at(maxSkew + time.Second), sign(at(maxSkew+time.Second) + ":" + string(body)), false},
		{"another timestamp than the signed one", at(time.Second), sign(at(0) + ":" + string(body)), false},
		{"a timestamp that is not signed", at(0), sign(string(body)), false},
		{"the signed timestamp left out", "", sign(at(0) + ":" + string(body)), false},
		{"no number", "now", sign("now:" + string(body)), false},
		{"very far ahead", "9223372036854775807", sign("9223372036854775807:" + string(body)), false},
		{"nothing", "", "", false},
		{"with a prefix", "", "sha256=" + sign(string(body)), false},
	} {
		r := Request{Header: http.Header{}, Body: body, ReceivedAt: received}
		if tc.stamp != "" {
			r.Header.Set(grafanaTimestamp, tc.stamp)
		}
		if tc.signature != "" {
			r.Header.Set(grafanaSignature, tc.signature)
		}
		require.Equal(t, tc.want, src.Authenticate(r, Secrets{Keys: []ops.Secret{key}}), tc.name)
	}
}
