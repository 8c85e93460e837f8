package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net/http"
	"os"
)

// connection holds how to talk to the registry, and as whom.
type connection struct {
	username    string
	password    string
	authority   string
	certificate string
	key         string
}

func (c *connection) flags(set *flag.FlagSet) {
	set.StringVar(&c.username, "username", "", "user name for the registry")
	set.StringVar(&c.password, "password", "", "password for the registry")
	set.StringVar(&c.authority, "ca-file", "", "PEM file of the only authority to trust")
	set.StringVar(&c.certificate, "certificate", "", "PEM file of the client's certificate")
	set.StringVar(&c.key, "key", "", "PEM file of the client's key")
}

// transport is the default one, with nobody but the given authority trusted.
func (c *connection) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.authority == "" {
		return transport, nil
	}
	authority, err := os.ReadFile(c.authority)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s holds no certificate", c.authority)
	}
	if c.certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport.TLSClientConfig = config
	return transport, nil
}
