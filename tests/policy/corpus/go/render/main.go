// What Ignition makes of a config at the first boot, on standard output: the configs that it names merged into it, if it holds them.
//
// Ignition's own ConfigFetcher.RenderConfig is in internal/exec, which no other module may import; parsing, merging and validating
// are its packages'.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/coreos/ignition/v2/config"
	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/coreos/vcontext/validate"
	"github.com/vincent-petithory/dataurl"
)

func held(resource types.Resource) (types.Config, error) {
	if !strings.HasPrefix(*resource.Source, "data:") {
		return types.Config{}, fmt.Errorf("%s would be fetched", *resource.Source)
	}
	url, err := dataurl.DecodeString(*resource.Source)
	if err != nil {
		return types.Config{}, err
	}
	text := url.Data
	if resource.Compression != nil && *resource.Compression == "gzip" {
		reader, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return types.Config{}, err
		}
		if text, err = io.ReadAll(reader); err != nil {
			return types.Config{}, err
		}
	}
	return parsed(text)
}

func parsed(text []byte) (types.Config, error) {
	found, report, err := config.Parse(text)
	if err != nil {
		return found, fmt.Errorf("%w: %s", err, report.String())
	}
	return found, nil
}

func rendered(found types.Config) (types.Config, error) {
	if replacing := found.Ignition.Config.Replace; replacing.Source != nil {
		other, err := held(replacing)
		if err != nil {
			return other, err
		}
		return rendered(other)
	}
	merged := found
	for _, resource := range found.Ignition.Config.Merge {
		other, err := held(resource)
		if err == nil {
			other, err = rendered(other)
		}
		if err != nil {
			return other, err
		}
		merged = latest.Merge(merged, other)
	}
	return merged, nil
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	var found types.Config
	if err == nil {
		found, err = parsed(text)
	}
	if err == nil {
		found, err = rendered(found)
	}
	if report := validate.Validate(found, "json"); err == nil && report.IsFatal() {
		err = fmt.Errorf("merged: %s", report.String())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}
