package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"carvel.dev/imgpkg/pkg/imgpkg/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// crane answers what the libraries that are made of go-containerregistry want to know of the registry.
func (o *options) crane(ctx context.Context) ([]crane.Option, error) {
	transport, err := o.transport()
	if err != nil {
		return nil, err
	}
	// TLS is tried first, Insecure or not.
	connection := []crane.Option{crane.WithContext(ctx), crane.Insecure, crane.WithTransport(transport), crane.WithUserAgent(userAgent)}
	if o.username != "" {
		connection = append(connection, crane.WithAuth(&authn.Basic{Username: o.username, Password: o.password}))
	}
	return connection, nil
}

// pushImage appends layers to an empty image, as `crane append`, Kyverno, Tekton and Timoni do; Docker schema 2 unless
// --oci is given. An archive that is not compressed yet is compressed as its type says.
func pushImage(ctx context.Context, args []string) (string, error) {
	set := newOptions("image")
	var layers list
	oci := set.Bool("oci", false, "an OCI image")
	config := set.String("config-type", "", "media type of the config, which stays that of an image")
	platform := set.String("platform", "", "OS/ARCH[/VARIANT] in the config")
	set.Var(&layers, "layer", "FILE:TYPE[,KEY=VALUE]...; may be repeated")
	if err := set.parse(args, 1, 1); err != nil {
		return "", err
	}
	img := empty.Image
	if *oci {
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	if *config != "" {
		img = mutate.ConfigMediaType(img, types.MediaType(*config))
	}
	for _, argument := range layers {
		spec, annotations, err := splitAnnotations(argument)
		if err != nil {
			return "", err
		}
		layer, err := imageLayer(spec)
		if err != nil {
			return "", err
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, Annotations: annotations})
		if err != nil {
			return "", err
		}
	}
	if *platform != "" {
		var err error
		if img, err = withPlatform(img, *platform); err != nil {
			return "", err
		}
	}
	if len(set.annotations) > 0 {
		img = mutate.Annotations(img, set.annotations).(v1.Image)
	}
	return set.pushImage(ctx, img)
}

// imageLayer reads FILE:TYPE.
func imageLayer(spec string) (v1.Layer, error) {
	path, mediaType := splitType(spec)
	if mediaType == "" {
		return nil, errors.New(spec + " names no media type")
	}
	kind := tarball.WithMediaType(types.MediaType(mediaType))
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return tarball.LayerFromFile(path, kind)
	case strings.HasSuffix(mediaType, "zstd"):
		return tarball.LayerFromFile(path, kind, tarball.WithCompression(compression.ZStd))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return static.NewLayer(data, types.MediaType(mediaType)), nil
}

func withPlatform(img v1.Image, text string) (v1.Image, error) {
	platform, err := parsePlatform(text)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	return mutate.ConfigFile(img, config)
}

func (o *options) pushImage(ctx context.Context, img v1.Image) (string, error) {
	connection, err := o.crane(ctx)
	if err != nil {
		return "", err
	}
	if err := crane.Push(img, o.Arg(0), connection...); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return digest.String(), err
}

// exportImage writes the flattened filesystem of an image to a tar, as `crane export` does.
func exportImage(ctx context.Context, args []string) (string, error) {
	return onImage(ctx, "export", args, func(img v1.Image, path string) error {
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		return errors.Join(crane.Export(img, out), out.Close())
	})
}

// pushImgpkg writes what `imgpkg push -i` writes, through the package that command is made of; with --bundle, what
// `imgpkg push -b` writes.
func pushImgpkg(ctx context.Context, args []string) (string, error) {
	set := newOptions("imgpkg")
	bundle := set.Bool("bundle", false, "a bundle: the directory has .imgpkg/images.yml")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	labels := map[string]string{}
	if *bundle {
		labels["dev.carvel.imgpkg.bundle"] = "true"
	}
	img, err := image.NewTarImage([]string{set.Arg(1)}, []string{".git"}, silent{}, false).AsFileImage(labels)
	if err != nil {
		return "", err
	}
	defer img.Remove()
	return set.pushImage(ctx, img)
}

// pullImgpkg makes of an image in a registry what `imgpkg pull -i` makes of it.
func pullImgpkg(ctx context.Context, args []string) (string, error) {
	return onImage(ctx, "imgpkg-pull", args, func(img v1.Image, path string) error {
		return image.NewDirImage(path, img, silent{}).AsDirectory()
	})
}

// onImage runs a command whose arguments are an image and a path.
func onImage(ctx context.Context, name string, args []string, run func(img v1.Image, path string) error) (string, error) {
	set := newOptions(name)
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	connection, err := set.crane(ctx)
	if err != nil {
		return "", err
	}
	img, err := crane.Pull(set.Arg(0), connection...)
	if err != nil {
		return "", err
	}
	if err := run(img, set.Arg(1)); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return digest.String(), err
}

// silent logs nothing.
type silent struct{}

func (silent) Logf(string, ...any) {}
