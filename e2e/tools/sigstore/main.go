// Command timestamp-server is Sigstore's timestamp authority on a loopback port, with a key and a certificate chain in files.
//
// The program of that name always listens on port 2112 for metrics too, on all addresses, and ends if it cannot: there
// could be only one on a machine. What it serves otherwise is in a library, and this is the same.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

// policy is what the program has by default.
const policy = "1.3.6.1.4.1.57264.2"

func main() {
	port := flag.Int("port", 0, "where to listen on loopback")
	key := flag.String("key", "", "the PEM file of the private key")
	chain := flag.String("chain", "", "the PEM file of the certificates, the authority's own first")
	flag.Parse()
	for name, value := range map[string]any{
		"timestamp-signer":         "file",
		"timestamp-signer-hash":    "sha256",
		"file-signer-key-path":     *key,
		"certificate-chain-path":   *chain,
		"enforce-intermediate-eku": true,
		"default-policy-oid":       policy,
		"accepted-policy-oids":     []string{policy},
		"max-request-body-size":    1 << 20,
		"disable-ntp-monitoring":   true,
	} {
		viper.Set(name, value)
	}
	serving := server.NewRestAPIServer("127.0.0.1", *port, []string{"http"}, false, 10*time.Second, 10*time.Second)
	if err := serving.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, "timestamp-server:", err)
		os.Exit(1)
	}
}
