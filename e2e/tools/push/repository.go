package main

import (
	"context"
	"fmt"
	"net/http"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// The registry's access log tells our own requests from those under test by this name.
const userAgent = "supercargo-e2e-publish"

// repository opens host/name[:tag|@digest] and answers it with the part behind the name.
func (o *options) repository(reference string) (*remote.Repository, string, error) {
	parsed, err := registry.ParseReference(reference)
	if err != nil {
		return nil, "", err
	}
	repository, err := remote.NewRepository(parsed.Registry + "/" + parsed.Repository)
	if err != nil {
		return nil, "", err
	}
	transport, err := o.transport()
	if err != nil {
		return nil, "", err
	}
	repository.PlainHTTP = o.authority == ""
	client := &auth.Client{Client: &http.Client{Transport: retry.NewTransport(transport)}, Cache: auth.NewCache()}
	client.SetUserAgent(userAgent)
	if o.username != "" {
		credential := auth.Credential{Username: o.username, Password: o.password}
		client.Credential = auth.StaticCredential(parsed.Registry, credential)
	}
	repository.Client = client
	return repository, parsed.Reference, nil
}

// onReference runs a command whose only argument, or first of many, is a reference.
func onReference(name string, args []string, least, most int,
	run func(set *options, repository *remote.Repository, reference string) (string, error),
) (string, error) {
	set := newOptions(name)
	if err := set.parse(args, least, most); err != nil {
		return "", err
	}
	repository, reference, err := set.repository(set.Arg(0))
	if err != nil {
		return "", err
	}
	return run(set, repository, reference)
}

// moveTag points other tags at what a reference names, as `oras tag` does.
func moveTag(ctx context.Context, args []string) (string, error) {
	return onReference("tag", args, 2, -1, func(set *options, repository *remote.Repository, reference string) (string, error) {
		descriptor, err := oras.TagN(ctx, repository, reference, set.Args()[1:], oras.DefaultTagNOptions)
		return descriptor.Digest.String(), err
	})
}

func resolveReference(ctx context.Context, args []string) (string, error) {
	return onReference("resolve", args, 1, 1, func(_ *options, repository *remote.Repository, reference string) (string, error) {
		descriptor, err := repository.Resolve(ctx, reference)
		return descriptor.Digest.String(), err
	})
}

// deleteManifest removes the manifest, and with it every tag that names it.
func deleteManifest(ctx context.Context, args []string) (string, error) {
	return onReference("delete", args, 1, 1, func(_ *options, repository *remote.Repository, reference string) (string, error) {
		descriptor, err := repository.Resolve(ctx, reference)
		if err != nil {
			return "", err
		}
		if err := repository.Manifests().Delete(ctx, descriptor); err != nil {
			return "", fmt.Errorf("deleting %s: %w", descriptor.Digest, err)
		}
		return descriptor.Digest.String(), nil
	})
}

// printManifest answers a manifest byte for byte; the line feed that main adds is the only byte that is not of it.
func printManifest(ctx context.Context, args []string) (string, error) {
	return onReference("manifest", args, 1, 1, func(_ *options, repository *remote.Repository, reference string) (string, error) {
		_, encoded, err := oras.FetchBytes(ctx, repository, reference, oras.DefaultFetchBytesOptions)
		return string(encoded), err
	})
}
