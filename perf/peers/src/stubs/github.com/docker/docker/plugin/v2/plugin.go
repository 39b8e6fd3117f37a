// Package v2 stands where Docker's package of that name would be, which Debian does not ship: here no driver is a plugin.
package v2

import (
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/pkg/plugingetter"
)

// Plugin is never made.
type Plugin struct {
	plugingetter.CompatPlugin
	PluginObj types.Plugin
}
