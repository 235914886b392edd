package api

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The page's types are generated from this file.
const openapiFile = "../../web/openapi.json"

func TestDocument(t *testing.T) {
	t.Parallel()
	got, err := Document()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(openapiFile, got, 0o644))
	}
	want, err := os.ReadFile(openapiFile)
	require.NoError(t, err)
	if !bytes.Equal(want, got) {
		t.Fatalf("%s is not what the api does; run: go test ./internal/api -run TestDocument -update\n%s",
			openapiFile, cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
	}
}
