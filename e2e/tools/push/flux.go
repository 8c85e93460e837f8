package main

import (
	"context"
	"strings"

	"github.com/fluxcd/pkg/oci"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
)

// pushFlux writes what `flux push artifact` writes, through the client that command is made of.
func pushFlux(ctx context.Context, args []string) (string, error) {
	set := newOptions("flux")
	source := set.String("source", "https://git.example.com/team/app.git", "where the content comes from")
	revision := set.String("revision", "main@sha1:0000000000000000000000000000000000000000", "the revision of the source")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	transport, err := set.transport()
	if err != nil {
		return "", err
	}
	// TLS is tried first, Insecure or not.
	connection := append(oci.DefaultOptions(), crane.Insecure, crane.WithTransport(transport), crane.WithUserAgent(userAgent))
	if set.username != "" {
		connection = append(connection, crane.WithAuth(&authn.Basic{Username: set.username, Password: set.password}))
	}
	meta := oci.Metadata{Source: *source, Revision: *revision, Annotations: set.annotations}
	pushed, err := oci.NewClient(connection).Push(ctx, set.Arg(0), set.Arg(1), oci.WithPushMetadata(meta))
	if err != nil {
		return "", err
	}
	return pushed[strings.LastIndexByte(pushed, '@')+1:], nil
}
