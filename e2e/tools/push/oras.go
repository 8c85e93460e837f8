package main

import (
	"context"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
)

// The file store keeps names apart by string; a path can not have this one by accident.
const configName = "$config"

// pushOras writes what `oras push` writes: files as raw titled layers, directories as gzip'd tars to unpack.
func pushOras(ctx context.Context, args []string) (string, error) {
	set := newOptions("oras")
	config := set.String("config", "", "FILE:TYPE of the config blob")
	artifactType := set.String("artifact-type", "", "artifact type of the manifest")
	if err := set.parse(args, 1, -1); err != nil {
		return "", err
	}
	store, err := file.New("")
	if err != nil {
		return "", err
	}
	defer store.Close()

	pack := oras.PackManifestOptions{ManifestAnnotations: set.annotations}
	if *config != "" {
		path, mediaType := splitType(*config)
		if mediaType == "" {
			mediaType = oras.MediaTypeUnknownConfig
		}
		descriptor, err := store.Add(ctx, configName, mediaType, path)
		if err != nil {
			return "", err
		}
		descriptor.Annotations = nil
		pack.ConfigDescriptor = &descriptor
	} else if *artifactType == "" {
		*artifactType = oras.MediaTypeUnknownArtifact
	}
	for _, argument := range set.Args()[1:] {
		path, mediaType := splitType(argument)
		title := filepath.ToSlash(filepath.Clean(path))
		descriptor, err := store.Add(ctx, title, mediaType, path)
		if err != nil {
			return "", err
		}
		pack.Layers = append(pack.Layers, descriptor)
	}
	manifest, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, *artifactType, pack)
	if err != nil {
		return "", err
	}
	return set.copyTo(ctx, store, manifest, set.Arg(0))
}

// copyTo sends a packed manifest and all below it to the registry, tag last.
func (o *options) copyTo(ctx context.Context, store *file.Store, manifest ocispec.Descriptor, reference string) (string, error) {
	repository, tag, err := o.repository(reference)
	if err != nil {
		return "", err
	}
	name := manifest.Digest.String()
	if err := store.Tag(ctx, manifest, name); err != nil {
		return "", err
	}
	if tag == "" {
		tag = name
	}
	if _, err := oras.Copy(ctx, store, name, repository, tag, oras.DefaultCopyOptions); err != nil {
		return "", err
	}
	return name, nil
}
