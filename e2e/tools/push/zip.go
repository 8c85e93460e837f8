package main

import (
	"archive/zip"
	"context"
	"os"

	"github.com/opencontainers/go-digest"
)

// packZip packs a directory, with modes and links, and answers the digest of the file.
func packZip(_ context.Context, args []string) (string, error) {
	set := newOptions("zip")
	if err := set.parse(args, 2, 2); err != nil {
		return "", err
	}
	out, err := os.Create(set.Arg(0))
	if err != nil {
		return "", err
	}
	defer out.Close()
	writer := zip.NewWriter(out)
	if err := writer.AddFS(os.DirFS(set.Arg(1))); err != nil {
		return "", err
	}
	if err := writer.Close(); err != nil {
		return "", err
	}
	data, err := os.ReadFile(set.Arg(0))
	return digest.FromBytes(data).String(), err
}
