//go:build tools

// Package tools names the programs that the tests install.
package tools

import (
	_ "github.com/envoyproxy/go-control-plane/pkg/test/main"
)
