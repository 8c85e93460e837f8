// Command containers-copy copies an artifact between layouts with the code by which skopeo reads and writes them:
// skopeo itself cannot be built as a Go tool. It prints the digest of the manifest.
//
//	containers-copy oci-archive:app.tar:1 oci:layout:1
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("expected two references, such as oci-archive:FILE:TAG and oci:DIRECTORY:TAG")
	}
	from, err := parse(arguments[0])
	if err != nil {
		return err
	}
	to, err := parse(arguments[1])
	if err != nil {
		return err
	}
	source, err := from.NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer source.Close()
	destination, err := to.NewImageDestination(ctx, nil)
	if err != nil {
		return err
	}
	defer destination.Close()
	manifest, _, err := source.GetManifest(ctx, nil)
	if err != nil {
		return err
	}
	var listed imgspec.Manifest
	if err := json.Unmarshal(manifest, &listed); err != nil {
		return err
	}
	for _, blob := range append([]imgspec.Descriptor{listed.Config}, listed.Layers...) {
		if err := copyBlob(ctx, source, destination, blob); err != nil {
			return err
		}
	}
	if err := destination.PutManifest(ctx, manifest, nil); err != nil {
		return err
	}
	if err := destination.Commit(ctx, nil); err != nil {
		return err
	}
	fmt.Println(digest.FromBytes(manifest))
	return nil
}

func copyBlob(ctx context.Context, source types.ImageSource, destination types.ImageDestination, blob imgspec.Descriptor) error {
	info := types.BlobInfo{Digest: blob.Digest, Size: blob.Size}
	stream, size, err := source.GetBlob(ctx, info, none.NoCache)
	if err != nil {
		return err
	}
	defer stream.Close()
	if size != blob.Size {
		return fmt.Errorf("%s has %d bytes, not %d", blob.Digest, size, blob.Size)
	}
	stored, err := destination.PutBlob(ctx, stream, types.BlobInfo{Size: blob.Size}, none.NoCache, false)
	if err != nil {
		return err
	}
	if stored.Digest != blob.Digest {
		return fmt.Errorf("the bytes of %s have the digest %s", blob.Digest, stored.Digest)
	}
	return nil
}

func parse(text string) (types.ImageReference, error) {
	for _, transport := range []types.ImageTransport{archive.Transport, layout.Transport} {
		if rest, ok := strings.CutPrefix(text, transport.Name()+":"); ok {
			return transport.ParseReference(rest)
		}
	}
	return nil, fmt.Errorf("%s: expected oci: or oci-archive:", text)
}
