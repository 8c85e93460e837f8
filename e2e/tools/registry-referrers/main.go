// Command registry-referrers is a registry in memory that has the referrers API of distribution-spec 1.1: it answers a
// manifest with a subject with OCI-Subject, and lists it under its own artifactType, filtered if that is asked for.
//
// With -quirky it is another one, which lists every manifest under the type of its config, filters nothing, and does not
// answer with OCI-Subject. With -page N no list of referrers has more than N, and says where the rest is.
//
// It serves plain HTTP to everybody, and prints an access log.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	quirky := flag.Bool("quirky", false, "list referrers under the type of their config")
	page := flag.Int("page", 0, "how many referrers to list at once; 0 for all")
	flag.Parse()
	server := &http.Server{
		Addr:              *address,
		Handler:           logged(os.Stdout, paged(*page, handler(*quirky))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "registry-referrers:", err)
		os.Exit(1)
	}
}

func handler(quirky bool) http.Handler {
	if quirky {
		return registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	}
	return ociserver.New(ocimem.New(), nil)
}
