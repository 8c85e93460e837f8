package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
)

// pushIndex writes an image index over manifests, or other indexes, that the repository has already.
func pushIndex(ctx context.Context, args []string) (string, error) {
	set := newOptions("index")
	if err := set.parse(args, 1, -1); err != nil {
		return "", err
	}
	repository, _, err := set.repository(set.Arg(0))
	if err != nil {
		return "", err
	}
	index := ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageIndex,
		Manifests:   []ocispec.Descriptor{},
		Annotations: set.annotations,
	}
	for _, argument := range set.Args()[1:] {
		entry, err := indexEntry(ctx, repository, argument)
		if err != nil {
			return "", fmt.Errorf("%s: %w", argument, err)
		}
		index.Manifests = append(index.Manifests, entry)
	}
	encoded, err := json.Marshal(index)
	if err != nil {
		return "", err
	}
	return set.pushManifest(ctx, index.MediaType, encoded)
}

// indexEntry describes [OS/ARCH[/VARIANT]=]TAG|DIGEST[,KEY=VALUE]...; without a platform the entry has none.
func indexEntry(ctx context.Context, repository *remote.Repository, argument string) (ocispec.Descriptor, error) {
	spec, annotations, err := splitAnnotations(argument)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	platform, reference, found := strings.Cut(spec, "=")
	if !found {
		platform, reference = "", spec
	}
	entry, err := repository.Resolve(ctx, reference)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	entry.Annotations = annotations
	if found {
		entry.Platform, err = parsePlatform(platform)
	}
	return entry, err
}

func parsePlatform(text string) (*ocispec.Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return nil, fmt.Errorf("%q is not os/arch or os/arch/variant", text)
	}
	platform := &ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		platform.Variant = parts[2]
	}
	return platform, nil
}
