// Command registry-referrers is a registry in memory that has the referrers API of distribution-spec 1.1: it answers a
// manifest with a subject with OCI-Subject, and lists it under its own artifactType, filtered if that is asked for.
//
// It serves plain HTTP to everybody, and prints an access log.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	flag.Parse()
	server := &http.Server{
		Addr:              *address,
		Handler:           logged(os.Stdout, ociserver.New(ocimem.New(), nil)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "registry-referrers:", err)
		os.Exit(1)
	}
}
