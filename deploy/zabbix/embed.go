// Package zabbix holds the media type that Zabbix imports, so that the api can
// show it. It does nothing.
package zabbix

import _ "embed" // for MediaType

// MediaType is media_akmatori.yaml.
//
//go:embed media_akmatori.yaml
var MediaType string
