// Package web holds the built page, so that the api is one file to deploy.
// It serves nothing itself and knows no paths: whoever serves [Dist] answers
// index.html for every path of the page and sets the Content-Security-Policy.
//
// The page needs no inline script and no inline style: `script-src 'self';
// style-src 'self'` is enough, without a nonce.
package web

import "embed"

// Dist is the content of dist, as `npm run build` writes it. Before the first
// build it holds only dist/.keep, so that Go compiles without Node; there is
// then no dist/index.html, which is how a server can tell.
//
// Files under dist/assets are named by their content and may be cached for
// ever; everything else must be revalidated.
//
//go:embed all:dist
var Dist embed.FS
