package main

import (
	"context"
	"strings"

	"github.com/fluxcd/pkg/oci"
)

// pushFlux writes what `flux push artifact` writes, through the client that command is made of.
func pushFlux(ctx context.Context, args []string) (string, error) {
	set := newOptions("flux")
	source := set.String("source", "https://git.example.com/team/app.git", "where the content comes from")
	revision := set.String("revision", "main@sha1:0000000000000000000000000000000000000000", "the revision of the source")
	static := set.Bool("static", false, "push a file as it is, which the library can and the command cannot")
	extension := set.String("extension", "", "with --static: the end of the layer's media type")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	connection, err := set.crane(ctx)
	if err != nil {
		return "", err
	}
	connection = append(oci.DefaultOptions(), connection...)
	meta := oci.Metadata{Source: *source, Revision: *revision, Annotations: set.annotations}
	choices := []oci.PushOption{oci.WithPushMetadata(meta), oci.WithPushMediaTypeExt(*extension)}
	if *static {
		choices = append(choices, oci.WithPushLayerType(oci.LayerTypeStatic))
	}
	pushed, err := oci.NewClient(connection).Push(ctx, set.Arg(0), set.Arg(1), choices...)
	if err != nil {
		return "", err
	}
	return pushed[strings.LastIndexByte(pushed, '@')+1:], nil
}

// pullFlux makes of an artifact in a registry what `flux pull artifact` makes of it: its first layer, in a directory
// that has to exist, or in a file that must not.
func pullFlux(ctx context.Context, args []string) (string, error) {
	set := newOptions("flux-pull")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	connection, err := set.crane(ctx)
	if err != nil {
		return "", err
	}
	pulled, err := oci.NewClient(connection).Pull(ctx, set.Arg(0), set.Arg(1))
	if err != nil {
		return "", err
	}
	return pulled.Digest[strings.LastIndexByte(pulled.Digest, '@')+1:], nil
}
