package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// pushRaw writes layers byte for byte with any media type and annotations: for formats without a client at hand, and
// for artifacts that no honest client would make.
func pushRaw(ctx context.Context, args []string) (string, error) {
	set := newOptions("raw")
	var layers list
	config := set.String("config", "", "FILE:TYPE of the config blob; default is the empty descriptor")
	artifactType := set.String("artifact-type", "", "artifact type of the manifest")
	set.Var(&layers, "layer", "FILE:TYPE[,KEY=VALUE]...; may be repeated")
	if err := set.parse(args, 1, 1); err != nil {
		return "", err
	}
	repository, _, err := set.repository(set.Arg(0))
	if err != nil {
		return "", err
	}
	manifest := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: *artifactType,
		Layers:       []ocispec.Descriptor{},
		Annotations:  set.annotations,
	}
	manifest.Config = ocispec.DescriptorEmptyJSON
	if *config == "" {
		err = pushBlob(ctx, repository, manifest.Config, manifest.Config.Data)
	} else {
		manifest.Config, err = pushFile(ctx, repository, *config)
	}
	if err != nil {
		return "", err
	}
	for _, argument := range layers {
		spec, annotations, err := splitAnnotations(argument)
		if err != nil {
			return "", err
		}
		layer, err := pushFile(ctx, repository, spec)
		if err != nil {
			return "", err
		}
		layer.Annotations = annotations
		manifest.Layers = append(manifest.Layers, layer)
	}
	encoded, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	return set.pushManifest(ctx, manifest.MediaType, encoded)
}

// putManifest writes a manifest exactly as it stands in a file; its blobs may be given, or be missing on purpose.
func putManifest(ctx context.Context, args []string) (string, error) {
	set := newOptions("put")
	var blobs list
	path := set.String("manifest", "", "file that holds the manifest")
	mediaType := set.String("type", ocispec.MediaTypeImageManifest, "media type of the manifest")
	set.Var(&blobs, "blob", "file to push as a blob; may be repeated")
	if err := set.parse(args, 1, 1); err != nil {
		return "", err
	}
	repository, _, err := set.repository(set.Arg(0))
	if err != nil {
		return "", err
	}
	for _, blob := range blobs {
		if _, err := pushFile(ctx, repository, blob+":application/octet-stream"); err != nil {
			return "", err
		}
	}
	encoded, err := os.ReadFile(*path)
	if err != nil {
		return "", err
	}
	return set.pushManifest(ctx, *mediaType, encoded)
}

func (o *options) pushManifest(ctx context.Context, mediaType string, encoded []byte) (string, error) {
	repository, reference, err := o.repository(o.Arg(0))
	if err != nil {
		return "", err
	}
	descriptor := content.NewDescriptorFromBytes(mediaType, encoded)
	if reference == "" {
		reference = descriptor.Digest.String()
	}
	if err := repository.PushReference(ctx, descriptor, bytes.NewReader(encoded), reference); err != nil {
		return "", err
	}
	return descriptor.Digest.String(), nil
}

// splitAnnotations cuts FILE:TYPE,KEY=VALUE,... into the file part and the annotations.
func splitAnnotations(argument string) (string, pairs, error) {
	parts := strings.Split(argument, ",")
	var annotations pairs
	for _, pair := range parts[1:] {
		if annotations == nil {
			annotations = pairs{}
		}
		if err := annotations.Set(pair); err != nil {
			return "", nil, err
		}
	}
	return parts[0], annotations, nil
}

func pushFile(ctx context.Context, repository *remote.Repository, argument string) (ocispec.Descriptor, error) {
	path, mediaType := splitType(argument)
	if mediaType == "" {
		return ocispec.Descriptor{}, errors.New(argument + " names no media type")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	descriptor := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return descriptor, pushBlob(ctx, repository, descriptor, data)
}

func pushBlob(ctx context.Context, repository *remote.Repository, descriptor ocispec.Descriptor, data []byte) error {
	exists, err := repository.Blobs().Exists(ctx, descriptor)
	if err != nil || exists {
		return err
	}
	return repository.Blobs().Push(ctx, descriptor, bytes.NewReader(data))
}
