package main

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
)

const (
	kubaraArtifact = "application/vnd.kubara.catalog.v1"
	kubaraLayer    = "application/vnd.kubara.catalog.layer.v1.tar+gzip"
	kubaraCreated  = "1970-01-01T00:00:00Z"
)

// pushKubara writes a catalog in kubara's format: one reproducible archive titled with the catalog's name, annotations
// that the author cannot override, and the version as tag. The same directory gives the same digest every time.
func pushKubara(ctx context.Context, args []string) (string, error) {
	set := newOptions("kubara")
	name := set.String("name", "", "metadata.name of the catalog")
	version := set.String("version", "", "spec.version of the catalog, x.y.z")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	if *name == "" || *version == "" {
		return "", errors.New("--name and --version are needed")
	}
	store, err := file.New("")
	if err != nil {
		return "", err
	}
	defer store.Close()
	store.TarReproducible = true

	layer, err := store.Add(ctx, *name, kubaraLayer, set.Arg(1))
	if err != nil {
		return "", err
	}
	annotations := map[string]string(set.annotations)
	annotations["io.kubara.catalog.name"] = *name
	annotations["io.kubara.catalog.version"] = *version
	annotations[ocispec.AnnotationCreated] = kubaraCreated
	manifest, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, kubaraArtifact, oras.PackManifestOptions{
		Layers:              []ocispec.Descriptor{layer},
		ManifestAnnotations: annotations,
	})
	if err != nil {
		return "", err
	}
	return set.copyTo(ctx, store, manifest, set.Arg(0)+"/"+*name+":"+*version)
}
